"""The evaluation against its definition, computed here from the model's logits."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from search.training.batches import PreparedDataset, evaluation_batches
from search.training.run import build
from search.trial import TrialSpec


@torch.no_grad()
def test_losses_are_means_over_tokens(make_spec: Callable[..., TrialSpec]) -> None:
    """Every clip on its own: its codes and four stop tokens are the targets, nats summed over all, by their number."""
    run = build(make_spec(2))
    model, corpus = run.trainer.model, run.corpus
    found = run.evaluator(0, 0.0)
    dataset = PreparedDataset(model.config, corpus.eval, corpus, model.xtts.tokenizer, is_eval=True)
    model.eval()
    nats, tokens = 0.0, 0
    for clip, batch in zip(corpus.eval, evaluation_batches(dataset, 1), strict=True):
        count = -(-clip.samples // 1024)
        formatted = model.format_batch_on_device(batch)
        _, _, logits = model(
            formatted["text_inputs"], formatted["text_lengths"], formatted["audio_codes"], formatted["wav_lengths"],
            formatted["cond_mels"], None, None,
        )  # fmt: skip
        stop = model.config.model_args.gpt_stop_audio_token
        targets = torch.cat([corpus.codes(clip)[:count], torch.full((4,), stop)])
        nats += F.cross_entropy(logits[0, :, : count + 4].T, targets, reduction="sum").item()
        tokens += count + 4
    assert found.mel_ce == pytest.approx(nats / tokens, rel=1e-5)


def test_the_probe_is_fixed_and_of_the_training_clips(make_spec: Callable[..., TrialSpec]) -> None:
    corpus = build(make_spec(2)).corpus
    probe = corpus.probe(10, seed=1)
    assert len(probe) == 10
    assert all(clip in corpus.train for clip in probe)
    assert probe == corpus.probe(10, seed=1)
    assert probe != corpus.probe(10, seed=2)
    assert len(corpus.probe(10_000, seed=1)) == len(corpus.train)
