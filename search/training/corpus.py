"""The clips of a study: read by coqui's formatters, checked, and prepared once for all trials.

Prepared are what no searched hyperparameter changes: waveforms, tokens, and the DVAE's codes of each clip. Codes are
made clip by clip: coqui makes them of the padded batch, whose padding leaks into the last few codes of the shorter
clips, and an evaluation of those would depend on the batch size (docs/parity.md).
"""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.configs.shared_configs import BaseTTSConfig
from TTS.tts.datasets import load_tts_samples
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer
from TTS.tts.models.xtts import load_audio

from search.errors import UserError
from search.sections import Data
from search.training.tokenizer import UNKNOWN_ID, Tokenizer

SHORTEST_SECONDS = 0.5  # XTTSDataset.load_item drops shorter clips


@dataclass(frozen=True)
class Clip:
    """One row of the metadata, with its place in the concatenated arrays of `Corpus`."""

    audio_file: str
    text: str
    speaker: str
    language: str
    tokens: list[int]
    first_sample: int
    samples: int
    first_code: int
    codes: int


@dataclass(frozen=True)
class Corpus:
    """Prepared clips. Arrays are memory-mapped, so that children share them."""

    train: list[Clip]
    eval: list[Clip]
    waveforms: np.ndarray  # float32 (samples of all clips,), in [-1, 1]
    audio_codes: np.ndarray  # int32 (codes of all clips,)

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


def read_samples(data: Data, root: Path, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(training, evaluation) rows as coqui's formatter gives them; without an eval file a seeded split of them.

    The split takes a clip's speaker into account: of each speaker the same share is held out. Raises UserError for
    metadata that cannot be read, or that names no clip.
    """
    rows = _format(data, root, data.train, "data.train")
    if data.eval:
        return rows, _format(data, root, data.eval, "data.eval")
    by_speaker: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_speaker.setdefault(row["speaker_name"], []).append(row)
    held_out: list[dict[str, Any]] = []
    for speaker in sorted(by_speaker):
        clips = sorted(by_speaker[speaker], key=lambda row: row["audio_file"])
        random.Random(f"{seed}/{speaker}").shuffle(clips)
        held_out += clips[: round(data.eval_share * len(clips))]
    if not held_out:
        raise UserError(
            f"data.eval_share is {data.eval_share}: no clip of {len(rows)} is held out; raise it or name a file by"
            " data.eval"
        )
    names = {row["audio_file"] for row in held_out}
    return [row for row in rows if row["audio_file"] not in names], held_out


def dataset_config(data: Data, root: Path, train: str, held_out: str = "") -> BaseDatasetConfig:
    """coqui's description of the data."""
    return BaseDatasetConfig(
        formatter=data.formatter,
        dataset_name="study",
        path=str(root),
        meta_file_train=train,
        meta_file_val=held_out,
        language=data.language,
    )


def _format(data: Data, root: Path, table: str, field: str) -> list[dict[str, Any]]:
    dataset = dataset_config(data, root, table)
    try:
        rows: list[dict[str, Any]] = load_tts_samples(BaseTTSConfig(datasets=[dataset]), eval_split=False)[0]
    except Exception as error:  # formatters are 30 small parsers, each failing in its own way on a malformed table
        raise UserError(
            f"{field} is {table!r}: the {data.formatter!r} formatter finds no clips in {root} ({_reason(error)}); check"
            " the table, that its audio files exist, and data.formatter"
        ) from error
    return rows


def _reason(error: Exception) -> str:
    """The first line of an error, or its kind when it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_row(row: dict[str, Any], data: Data, tokenizer: Tokenizer, rate: int) -> tuple[torch.Tensor, list[int]] | str:
    """The (waveform, tokens) of a row, or why training would drop it: the stock dataset's rules, and finite samples."""
    text = str(row["text"])
    if not text.strip():
        return "empty text"
    tokens = tokenizer.encode(text, row["language"])
    if UNKNOWN_ID in tokens:
        return "a letter that the vocabulary lacks"
    if 0 in tokens:
        return "the text holds [STOP]"
    if len(tokens) > data.max_text_tokens:
        return f"{len(tokens)} text tokens, more than data.max_text_tokens {data.max_text_tokens}"
    try:
        wav = load_audio(row["audio_file"], rate)
    except Exception as error:  # decoders raise their own kinds; the reason goes into the report
        return f"audio cannot be read: {_reason(error)}"
    if not torch.isfinite(wav).all():
        return "audio holds NaN or infinite samples"
    if wav.shape[-1] < SHORTEST_SECONDS * rate:
        return f"{wav.shape[-1] / rate:.2f} s, shorter than {SHORTEST_SECONDS} s"
    if wav.shape[-1] > data.max_audio_seconds * rate:
        return f"{wav.shape[-1] / rate:.2f} s, longer than data.max_audio_seconds {data.max_audio_seconds}"
    return wav, tokens


def prepare(
    data: Data,
    samples: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    model: GPTTrainer,
    tokenizer: Tokenizer,
    target: Path,
    progress: Callable[[int, int], None],
) -> list[list[str]]:
    """Writes the corpus into the folder `target`; returns [file, reason] of each clip left out.

    Raises UserError when no clip is left for training or evaluation.
    """
    rate = model.config.audio.sample_rate
    waveforms: list[np.ndarray] = []
    codes: list[np.ndarray] = []
    dropped: list[list[str]] = []
    parts: dict[str, list[Clip]] = {"train": [], "eval": []}
    first_sample = first_code = done = 0
    total = sum(map(len, samples))
    for part, rows in zip(parts, samples, strict=True):
        for row in rows:
            found = check_row(row, data, tokenizer, rate)
            done += 1
            progress(done, total)
            if isinstance(found, str):
                dropped.append([row["audio_file"], found])
                continue
            wav, tokens = found
            made = clip_codes(model, wav).to(torch.int32).numpy()
            clip = Clip(
                row["audio_file"], str(row["text"]), row["speaker_name"], row["language"], tokens,
                first_sample, wav.shape[-1], first_code, len(made),
            )  # fmt: skip
            first_sample, first_code = first_sample + clip.samples, first_code + clip.codes
            waveforms.append(wav[0].numpy())
            codes.append(made)
            parts[part].append(clip)
    for part, clips in parts.items():
        if not clips:
            count = len(samples[part == "eval"])
            reason = f"; the first: {dropped[0][0]}: {dropped[0][1]}" if dropped else ""
            raise UserError(f"data: no clip of {count} is left for the {part} set{reason}")
    np.save(target / "waveforms.npy", np.concatenate(waveforms))
    np.save(target / "codes.npy", np.concatenate(codes))
    clips_json = {part: [asdict(clip) for clip in clips] for part, clips in parts.items()}
    (target / "clips.json").write_text(json.dumps(clips_json, ensure_ascii=False), encoding="utf-8")
    return dropped


@torch.no_grad()
def clip_codes(model: GPTTrainer, wav: torch.Tensor) -> torch.Tensor:
    """DVAE codes (codes,) of one clip (1, samples): stock's computation on a batch of one, that is, without padding."""
    device = next(model.dvae.parameters()).device
    batch = {
        "text_lengths": None, "wav_lengths": None, "padded_text": None, "cond_idxs": None,
        "conditioning": torch.zeros(1, 1, 1, model.args.min_conditioning_length), "wav": wav[None],
    }  # fmt: skip
    batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    codes: torch.Tensor = GPTTrainer.format_batch_on_device(model, batch)["audio_codes"][0]
    return codes.cpu()


def load(directory: Path) -> Corpus:
    """The corpus that `prepare` wrote."""
    clips = json.loads((directory / "clips.json").read_text(encoding="utf-8"))
    return Corpus(
        [Clip(**clip) for clip in clips["train"]],
        [Clip(**clip) for clip in clips["eval"]],
        np.load(directory / "waveforms.npy", mmap_mode="r"),
        np.load(directory / "codes.npy", mmap_mode="r"),
    )


def fingerprint(samples: tuple[list[dict[str, Any]], list[dict[str, Any]]], data: Data) -> str:
    """SHA-256 over texts, speakers, audio bytes and limits, in order; the same files elsewhere agree."""
    digest = hashlib.sha256()
    digest.update(f"{data.language} {data.max_audio_seconds} {data.max_text_tokens} {data.probe_clips}".encode())
    for part in samples:
        digest.update(b"\0part")
        for row in part:
            digest.update(f"\0{row['text']}\0{row['speaker_name']}\0".encode())
            digest.update(file_digest(Path(row["audio_file"])))
    return digest.hexdigest()[:16]


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's bytes; of nothing where it cannot be read, which `check_row` reports."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""
