"""The evaluation: token-weighted cross-entropy over frozen clips, the same whatever the batch size."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

from search.training.batches import PreparedDataset, evaluation_batches
from search.training.corpus import Clip, Corpus
from search.training.numerics import without_tf32
from search.training.tensor_file import write_tensors
from search.trial import Evaluation

Batch = dict[str, Any]

# What the model is called with, in its order; a mask would come before the last.
_USED = ("text_inputs", "text_lengths", "audio_codes", "wav_lengths", "cond_mels", "cond_lens")


@dataclass(frozen=True)
class Sets:
    """Batches as the model takes them: the same at every evaluation."""

    eval: list[Batch]
    probe: list[Batch]


def evaluation_sets(model: GPTTrainer, corpus: Corpus, probe_clips: int, seed: int, batch_size: int) -> Sets:
    """The eval set and the train probe, in the machine's memory.

    Conditioning is stock's for evaluation: the start of the clip, of the middle length, no prompt mask.
    """

    def batches(clips: list[Clip]) -> list[Batch]:
        dataset = PreparedDataset(model.config, clips, corpus, model.xtts.tokenizer, is_eval=True)
        return [_formatted(model, batch) for batch in evaluation_batches(dataset, batch_size)]

    return Sets(batches(corpus.eval), batches(corpus.probe(probe_clips, seed)))


def write_sets(sets: Sets, directory: Path, batch_size: int) -> None:
    """Keeps the batches for all runs of a machine."""
    write_tensors(vars(sets), directory / _name(batch_size))  # `asdict` would copy every tensor


def read_sets(directory: Path, batch_size: int) -> Sets | None:
    """What `write_sets` wrote, memory-mapped; None if there is no file for this batch size."""
    path = directory / _name(batch_size)
    return Sets(**torch.load(path, weights_only=True, mmap=True)) if path.exists() else None


def _name(batch_size: int) -> str:
    return f"evaluation-{batch_size}.pth"


class Evaluator:
    """Evaluates a model on the eval set and the train probe. fp32 in every run: outside autocast, as in stock, and
    without TF32.
    """

    def __init__(self, model: GPTTrainer, sets: Sets) -> None:
        self.model, self._sets = model, sets

    def __call__(
        self, step: int, started: float, train_loss: float | None = None, lr: float | None = None
    ) -> Evaluation:
        """`started` is the run's start on the monotonic clock. Leaves the model in eval mode."""
        found = (*self.losses(self._sets.eval), *self.losses(self._sets.probe), train_loss, lr)
        return Evaluation(step, *found, seconds=round(time.monotonic() - started, 3))

    @torch.inference_mode()
    @without_tf32()
    def losses(self, batches: list[Batch]) -> tuple[float, float]:
        """(mel, text) cross-entropy in nats per token.

        Stock's forward gives a batch's mean over its tokens; weighting by their number undoes the batching.
        """
        self.model.eval()
        mel_sum = text_sum = 0.0
        mel_tokens = text_tokens = 0
        for batch in batches:
            on_device = _moved(batch, next(self.model.parameters()).device)
            *inputs, cond_lens = (on_device[name] for name in _USED)
            text, mel, _ = self.model(*inputs, None, cond_lens)  # GPTTrainer.eval_step: no masking in evaluation
            mel_count, text_count = target_tokens(self.model, batch)
            mel_sum += mel.item() * mel_count
            text_sum += text.item() * text_count
            mel_tokens += mel_count
            text_tokens += text_count
        return mel_sum / mel_tokens, text_sum / text_tokens


def target_tokens(model: GPTTrainer, batch: Batch) -> tuple[int, int]:
    """(audio, text) tokens that the stock loss averages over in evaluation (`GPT.forward`).

    A clip of n codes has the targets n codes and 4 stop tokens (`code_lengths` adds 3, the shift one more); a text of
    n tokens n and one stop.
    """
    codes = torch.ceil(batch["wav_lengths"] / model.xtts.gpt.code_stride_len).long() + 3
    return int((codes + 1).sum()), int((batch["text_lengths"] + 1).sum())


@without_tf32()  # the filter bank of the conditioning mels is a product, too
def _formatted(model: GPTTrainer, batch: Batch) -> Batch:
    """The batch as the model takes it, computed once and kept in the machine's memory."""
    formatted = model.format_batch_on_device(_moved(batch, next(model.parameters()).device))
    return _moved({name: formatted[name] for name in _USED}, torch.device("cpu"))


def _moved(batch: Batch, device: torch.device) -> Batch:
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
