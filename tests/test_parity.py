"""Our trainer against coqui's own, from one seed, on the same batches: what docs/parity.md calls equal."""

import copy
import dataclasses
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainer import Trainer, TrainerArgs
from trainer.logging import DummyLogger
from TTS.tts.layers.xtts.trainer.dataset import XTTSDataset
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

from search.preparation import encoding
from search.training import base, corpus
from search.training.batches import PreparedDataset, training_batches
from search.training.run import build, run_config, seed_everything
from search.trial import Prepared, TrialSpec

LENGTH = 18_000  # samples; clips of one length need no padding, so that stock makes the same codes of the batch


class RecordingTrainer(Trainer):
    """Stock, with the logged losses kept."""

    def detach_loss_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        detached: dict[str, Any] = super().detach_loss_dict(*args, **kwargs)
        self.__dict__.setdefault("logged", []).append(detached)
        return detached

    def save_training_script(self) -> None:
        """Stock would copy pytest."""


@pytest.fixture(scope="module")
def equal_length(prepared: Prepared) -> corpus.Corpus:
    """The training clips of at least LENGTH samples, cut to it."""
    clips = corpus.load(Path(prepared.directory) / "corpus")
    model = base.load_model(base.config_from_dict(prepared.coqui_config))
    waveforms = [clips.wav(clip)[:, :LENGTH] for clip in clips.train if clip.samples >= LENGTH]
    codes = [encoding.clip_codes(model, wav).numpy() for wav in waveforms]
    kept = [clip for clip in clips.train if clip.samples >= LENGTH]
    cut = [
        dataclasses.replace(
            clip, first_sample=i * LENGTH, samples=LENGTH, first_code=i * len(codes[0]), codes=len(codes[0])
        )
        for i, clip in enumerate(kept)
    ]
    return dataclasses.replace(
        clips,
        train=cut,
        eval=cut[:2],
        waveforms=torch.cat(waveforms, 1)[0].numpy(),
        audio_codes=np.concatenate(codes).astype(np.int32),
    )


@pytest.mark.parametrize(("accumulation", "horizon"), [(1, 54), (3, 18)])
def test_losses_equal_the_stock_trainers(
    make_spec: Callable[..., TrialSpec],
    prepared: Prepared,
    equal_length: corpus.Corpus,
    accumulation: int,
    horizon: int,
) -> None:
    """Optimizer steps under clip, decay and two milestones: every micro-batch's loss to 1e-5 relative."""
    spec = make_spec(
        horizon, lr=1e-3, weight_decay=0.3, milestones=(0.3, 0.6), gamma=0.3, clip_norm=0.8, accumulation=accumulation
    )
    run = build(spec)
    dataset = PreparedDataset(
        run.trainer.config, equal_length.train, equal_length, run.trainer.model.xtts.tokenizer, is_eval=False
    )
    source = training_batches(dataset, spec.batch_size)
    batches = [next(source) for _ in range(horizon * accumulation)]
    ours: list[dict[str, Any]] = []
    step = run.trainer.train_step

    def train_step(*args: Any) -> Any:
        outputs, logged = step(*args)
        ours.append(logged)
        return outputs, logged

    run.trainer.train_step = train_step
    torch.manual_seed(7)
    deque(run.trainer.steps(iter(copy.deepcopy(batches)), horizon), maxlen=0)

    stock = stock_trainer(spec, prepared, batches)
    torch.manual_seed(7)
    stock.train_epoch()

    assert len(ours) == len(stock.logged) == horizon * accumulation
    for mine, theirs in zip(ours, stock.logged, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"] * accumulation, rel=1e-5)
        assert mine["loss_mel_ce"] == pytest.approx(theirs["loss_mel_ce"], rel=1e-5)
    mine_state, stock_state = run.trainer.model.xtts.gpt.state_dict(), stock.model.xtts.gpt.state_dict()
    for name, value in mine_state.items():
        torch.testing.assert_close(value, stock_state[name], rtol=1e-4, atol=1e-6, msg=name)


def stock_trainer(spec: TrialSpec, prepared: Prepared, batches: list[dict[str, Any]]) -> RecordingTrainer:
    """coqui's Trainer and GPTTrainer with the same config, told to clip and to count optimizer steps."""
    seed_everything(spec.seed)
    config = run_config(spec, prepared)
    stock_batches = [{k: v for k, v in copy.deepcopy(batch).items() if k != "audio_codes"} for batch in batches]
    return RecordingTrainer(
        TrainerArgs(grad_accum_steps=spec.accumulation),
        config,
        output_path=str(Path(spec.directory) / "stock"),
        model=GPTTrainer(config),
        dashboard_logger=DummyLogger(),
        train_samples=[],
        eval_samples=[],
        train_loader=stock_batches,  # type: ignore[arg-type]
        parse_command_line_args=False,
    )


def test_batches_equal_the_stock_datasets(prepared: Prepared) -> None:
    """From one random state the same clips, waveforms, tokens and conditioning slices, bit for bit."""
    config = base.config_from_dict(prepared.coqui_config)
    clips = corpus.load(Path(prepared.directory) / "corpus")
    model = base.load_model(config)
    tokenizer = model.xtts.tokenizer
    samples = [
        {"audio_file": clip.audio_file, "text": clip.text, "language": clip.language, "speaker_name": clip.speaker}
        for clip in clips.train
    ]
    ours = PreparedDataset(config, clips.train, clips, tokenizer, is_eval=False)
    random.seed(3)
    mine = next(training_batches(ours, 4))
    stock = XTTSDataset(config, samples, tokenizer, config.audio.sample_rate)
    random.seed(3)
    theirs = stock.collate_fn([stock[0] for _ in range(4)])
    assert mine["filenames"] == theirs["filenames"]
    assert [clip.first_sample for clip in clips.train] == sorted(clip.first_sample for clip in clips.train), "shuffled"
    for name in ("wav", "wav_lengths", "padded_text", "text_lengths", "conditioning", "cond_idxs"):
        assert torch.equal(mine[name], theirs[name]), name


def test_codes_differ_from_stocks_only_where_padding_leaks_in(prepared: Prepared) -> None:
    """Stock encodes the padded batch: the codes of a shorter clip differ in its last 8 positions, at the most."""
    config = base.config_from_dict(prepared.coqui_config)
    clips = corpus.load(Path(prepared.directory) / "corpus")
    model = base.load_model(config)
    dataset = PreparedDataset(config, clips.train, clips, model.xtts.tokenizer, is_eval=True)
    batch = dataset.collate_fn([dataset[i] for i in range(8)])
    ours, lengths = batch["audio_codes"], batch["wav_lengths"]
    theirs = GPTTrainer.format_batch_on_device(model, batch)["audio_codes"]
    differing = 0
    for mine, stock, samples in zip(ours, theirs, lengths.tolist(), strict=True):
        used = -(-samples // 1024)  # codes that the loss looks at
        assert torch.equal(mine[: used - 8], stock[: used - 8])
        differing += int((mine[:used] != stock[:used]).sum())
    assert differing > 0  # or the deviation would not be worth its row in docs/parity.md


def test_a_batch_of_one_can_be_masked_whole(make_spec: Callable[..., TrialSpec]) -> None:
    """Why training.batch_size starts at 2: stock's mask, in the wrong unit, can leave no target. The loss is NaN."""
    run = build(make_spec(2))
    model = run.model
    dataset = PreparedDataset(model.config, run.corpus.train, run.corpus, model.xtts.tokenizer, is_eval=False)
    random.seed(1)
    batch = model.format_batch_on_device(next(training_batches(dataset, 1)))
    batch["cond_idxs"] = torch.tensor([[0, 22_050]])
    _, losses = model.train_step(batch, None)
    assert torch.isnan(losses["loss_mel_ce"])
