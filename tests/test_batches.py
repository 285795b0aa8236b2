"""What batches keep of stock, odd parts included."""

import random
from collections.abc import Callable
from pathlib import Path

import torch

from search.training import base, corpus
from search.training.batches import PreparedDataset, training_batches
from search.training.run import build
from search.trial import Prepared, TrialSpec


def make_dataset(prepared: Prepared) -> tuple[PreparedDataset, corpus.Corpus]:
    config = base.config_from_dict(prepared.coqui_config)
    clips = corpus.load(Path(prepared.directory) / "corpus")
    tokenizer = base.load_model(config).xtts.tokenizer
    return PreparedDataset(config, clips.train, clips, tokenizer, is_eval=False), clips


def test_the_corpus_keeps_its_order(prepared: Prepared) -> None:
    """Stock shuffles the caller's list in place."""
    _, clips = make_dataset(prepared)
    assert [clip.first_sample for clip in clips.train] == sorted(clip.first_sample for clip in clips.train)


def test_conditioning_is_a_slice_of_the_clip(prepared: Prepared) -> None:
    dataset, clips = make_dataset(prepared)
    random.seed(1)
    batch = next(training_batches(dataset, 6))
    by_file = {clip.audio_file: clip for clip in clips.train}
    for i, name in enumerate(batch["filenames"]):
        first, last = batch["cond_idxs"][i].tolist()
        wav = clips.wav(by_file[name])
        assert 0 <= first < last <= wav.shape[-1]
        assert torch.equal(batch["conditioning"][i, 0, 0, : last - first], wav[0, first:last])
        assert not batch["conditioning"][i, 0, 0, last - first :].any()


def test_a_batch_of_one_can_be_masked_whole(make_spec: Callable[..., TrialSpec]) -> None:
    """Why training.batch_size starts at 2: stock's mask, in the wrong unit, can leave no target. The loss is NaN."""
    run = build(make_spec(2))
    model = run.trainer.model
    dataset = PreparedDataset(model.config, run.corpus.train, run.corpus, model.xtts.tokenizer, is_eval=False)
    random.seed(1)
    batch = model.format_batch_on_device(next(training_batches(dataset, 1)))
    batch["cond_idxs"] = torch.tensor([[0, 22_050]])
    _, losses = model.train_step(batch, None)
    assert torch.isnan(losses["loss_mel_ce"])
