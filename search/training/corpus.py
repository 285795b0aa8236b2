"""The clips of a study as preparation wrote them: waveforms, tokens and audio codes, shared by all trials."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch


@dataclass(frozen=True)
class Clip:
    """One row of the metadata, with its place in the concatenated arrays of `Corpus`."""

    audio_file: str
    text: str
    speaker: str
    language: str
    first_token: int
    tokens: int
    first_sample: int
    samples: int
    first_code: int
    codes: int


@dataclass(frozen=True)
class Corpus:
    """Prepared clips. Arrays are memory-mapped, so that children share them."""

    train: list[Clip]
    eval: list[Clip]
    text_tokens: np.ndarray  # int32 (tokens of all clips,)
    waveforms: np.ndarray  # float32 (samples of all recordings,), in [-1, 1]
    audio_codes: np.ndarray  # int32 (codes of all clips,)

    def tokens(self, clip: Clip) -> torch.Tensor:
        """int32 (tokens,)."""
        return torch.from_numpy(np.array(self.text_tokens[clip.first_token : clip.first_token + clip.tokens]))

    def wav(self, clip: Clip) -> torch.Tensor:
        """float32 (1, samples)."""
        part = self.waveforms[clip.first_sample : clip.first_sample + clip.samples]
        return torch.from_numpy(np.array(part))[None]

    def codes(self, clip: Clip) -> torch.Tensor:
        """int64 (codes,)."""
        return torch.from_numpy(self.audio_codes[clip.first_code : clip.first_code + clip.codes].astype(np.int64))

    def probe(self, count: int, seed: int) -> list[Clip]:
        """A fixed, seeded subset of the training clips: what the train probe evaluates."""
        return random.Random(seed).sample(self.train, min(count, len(self.train)))


def load(directory: Path) -> Corpus:
    """The corpus that `search.preparation.encoding` wrote."""
    clips = json.loads((directory / "clips.json").read_text(encoding="utf-8"))
    return Corpus(
        [Clip(**clip) for clip in clips["train"]],
        [Clip(**clip) for clip in clips["eval"]],
        np.memmap(directory / "tokens.i32", np.int32, mode="r"),
        np.memmap(directory / "waveforms.f32", np.float32, mode="r"),
        np.memmap(directory / "codes.i32", np.int32, mode="r"),
    )


def longest_first(clips: Sequence[Clip], samples: float) -> list[Clip]:
    """The longest clip up to `samples` first, the shorter ones after it, and then those that are too long."""
    return sorted(clips, key=lambda clip: (clip.samples > samples, -clip.samples, clip.audio_file))
