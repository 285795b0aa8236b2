"""Batches of the prepared corpus: the stock dataset's sampling law and layout."""

import random
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from TTS.tts.layers.xtts.trainer.dataset import XTTSDataset
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainerConfig

from search.training.corpus import Clip, Corpus
from search.training.tokenizer import Tokenizer


class PreparedDataset(XTTSDataset):
    """`XTTSDataset` that reads no file: items come from the corpus, and a batch brings its clips' codes.

    Draws are the stock ones (a language, a clip with replacement, a slice of it to condition on), from the global
    `random`, in the stock order: with the same state it gives the stock batches.
    """

    def __init__(
        self, config: GPTTrainerConfig, clips: list[Clip], corpus: Corpus, tokenizer: Tokenizer, *, is_eval: bool
    ) -> None:
        self.corpus = corpus
        samples = [{"clip": clip, "audio_file": clip.audio_file, "language": clip.language} for clip in clips]
        super().__init__(config, samples, tokenizer, config.audio.sample_rate, is_eval)

    def load_item(self, sample: dict[str, Any]) -> tuple[Any, ...]:
        """As the stock method, and `get_prompt_slice` within it, without decoding."""
        clip = sample["clip"]
        wav = self.corpus.wav(clip)
        low, high = self.min_conditioning_length, self.max_conditioning_length
        length = (low + high) // 2 if self.is_eval else random.randint(low, high)
        if wav.shape[-1] < length:
            length = wav.shape[-1] // 2
        first = 0 if self.is_eval else random.randint(0, wav.shape[-1] - length)
        conditioning = F.pad(wav[:, first : first + length], (0, high - length))
        tokens = self.corpus.tokens(clip)
        if self.use_masking_gt_prompt_approach:
            return tokens, clip, wav, conditioning, torch.nan, [first, first + length]
        return tokens, clip, wav, conditioning, conditioning.shape[-1], torch.nan

    def collate_fn(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        """The stock layout, with `audio_codes` (clips, codes) int64, zero-padded as the model pads."""
        collated: dict[str, Any] = super().collate_fn(batch)
        codes = [self.corpus.codes(clip) for clip in collated["filenames"]]
        collated["filenames"] = [clip.audio_file for clip in collated["filenames"]]
        collated["audio_codes"] = torch.nn.utils.rnn.pad_sequence(codes, batch_first=True)
        return collated


def training_batches(dataset: PreparedDataset, batch_size: int) -> Iterator[dict[str, Any]]:
    """Batches without end. Clips are drawn with replacement, so an epoch's end would mean nothing."""
    while True:
        yield dataset.collate_fn([dataset[0] for _ in range(batch_size)])


def evaluation_batches(dataset: PreparedDataset, batch_size: int) -> Iterator[dict[str, Any]]:
    """All clips once, in order; the last batch may be smaller."""
    count = len(dataset)
    for start in range(0, count, batch_size):
        yield dataset.collate_fn([dataset[i] for i in range(start, min(start + batch_size, count))])
