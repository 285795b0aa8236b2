"""Audio files, decoded once per machine: their waveforms at the model's rate, and their properties."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from search import sources
from search.check.survey import Recording
from search.errors import first_line
from search.preparation.parallel import on_all_cores

NOT_FINITE = "audio holds NaN or infinite samples"
SHORTEST_SECONDS = 0.5  # XTTSDataset.load_item drops shorter clips
SILENCE = 10 ** (-50 / 20)  # of full scale
_FRAME_SECONDS = 0.02
_FULL_SCALE = 0.999
_FORMATS = {"wav": "WAV", "wave": "WAV", "flac": "FLAC", "ogg": "OGG", "oga": "OGG", "opus": "OGG", "mp3": "MP3"}
_ENOUGH = 0.99  # share of the length that a header promises, which is accepted without a remark

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Recordings:
    """Decoded files. The waveforms that training can use are stored one after the other in one file."""

    found: dict[str, Recording]  # by path
    waveforms: Path


def digests(paths: Sequence[str]) -> dict[str, str]:
    """SHA-256 in hex of each file's bytes; "" for files that cannot be read, which decoding reports."""
    unique = list(dict.fromkeys(paths))
    made = on_all_cores(lambda path: file_digest(Path(path)).hex(), unique)
    return dict(zip(unique, made, strict=True))


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's bytes; empty if it cannot be read."""
    try:
        if is_endless(path):
            return b""
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def is_endless(path: Path) -> bool:
    """Whether reading may never end, as of a pipe or /dev/zero, which a stranger's table may name."""
    return path.exists() and not (path.is_file() or path.is_dir())


def decode(path: str, rate: int) -> tuple[Recording, torch.Tensor]:
    """The properties of a file, and its waveform: float32 (1, samples) at `rate`, as coqui's `load_audio` gives it.

    A file that cannot be decoded gives a Recording with the error, and no sample.
    """
    try:
        if is_endless(Path(path)):
            raise OSError("it is no file, but a pipe or a device")
        stored, stored_rate = torchaudio.load(path)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise their own kinds
        return Recording(path, "", first_line(error).replace(path, Path(path).name)), torch.zeros(1, 0)
    # As in `load_audio`, which does not tell the rate and the channels.
    mono = stored if stored.size(0) == 1 else torch.mean(stored, dim=0, keepdim=True)
    wav = mono if stored_rate == rate else torchaudio.functional.resample(mono, stored_rate, rate)
    wav = wav.clip(-1, 1)
    return _describe(path, stored, stored_rate, wav, rate), wav


def _describe(path: str, stored: torch.Tensor, stored_rate: int, wav: torch.Tensor, rate: int) -> Recording:
    samples, frame = wav.shape[-1], int(_FRAME_SECONDS * rate)
    recording = Recording(
        path, "", None, sample_rate=stored_rate, channels=stored.size(0),
        seconds=samples / rate, samples=samples, finite=bool(torch.isfinite(stored).all()),
        remark=remark(Path(path), stored.shape[-1]),
    )  # fmt: skip
    if not recording.finite or stored.numel() == 0 or samples == 0:
        return recording
    frames = wav[0].unfold(0, min(frame, samples), frame)
    return replace(
        recording,
        peak=float(stored.abs().max()),
        offset=float(wav.mean()),
        rms=float(wav.square().mean().sqrt()),
        clipped=float((stored.abs() >= _FULL_SCALE).float().mean()),
        silent=float((frames.square().mean(1).sqrt() < SILENCE).float().mean()),
    )


def remark(path: Path, frames: int) -> str | None:
    """How a file's header or name differs from the `frames` (of all channels) that were decoded; None for nothing.

    By libsndfile's log: decoders do not tell.
    """
    try:
        found = soundfile.info(path, verbose=True)
    except soundfile.LibsndfileError:  # another decoder reads it
        return None
    kind, named = found.format.removesuffix("EX"), _FORMATS.get(path.suffix[1:].lower())
    if named and named != kind:
        return f"is {kind}, and is named {path.suffix}"
    sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", found.extra_info, re.MULTILINE)  # of WAV
    promised, there = map(int, sizes.groups()) if sizes else (found.frames, frames)
    if there < _ENOUGH * promised:
        what = "bytes of audio" if sizes else "samples"
        return f"is cut short: its header promises {promised:,} {what}, {there:,} are there"
    if kind == "WAV" and "Unknown chunk marker" in found.extra_info:
        return "has audio after the end that its header names, which no player reads"
    return None


def expected_seconds(paths: Iterable[str], longest_seconds: float) -> float:
    """Approximate seconds of audio that would be kept, from the files' headers."""

    def look(path: str) -> float:
        try:
            seconds = 0.0 if is_endless(Path(path)) else float(soundfile.info(path).duration)
        except Exception:  # as in `decode`, which says why
            return 0.0
        return seconds if seconds <= longest_seconds else 0.0

    return sum(on_all_cores(look, list(paths)))


def usable(recording: Recording, longest_seconds: float) -> str | None:
    """Why training cannot use the audio, or None: the stock dataset's rules, and finite samples."""
    if recording.error is not None:
        return f"audio cannot be read: {recording.error}"
    if not recording.finite:
        return NOT_FINITE
    if recording.seconds < SHORTEST_SECONDS:
        return f"shorter than {SHORTEST_SECONDS} s: {recording.seconds:.2f} s"
    if recording.seconds > longest_seconds:
        return f"longer than data.max_audio_seconds {longest_seconds}: {recording.seconds:.2f} s"
    return None


def write(known: Mapping[str, str], rate: int, longest_seconds: float, target: Path, progress: Progress) -> None:
    """Decodes the files of `known` (path to digest) into the folder `target`, each content once."""
    by_content = {_content(path, digest): path for path, digest in known.items()}
    found: dict[str, dict[str, object]] = {}
    first = 0

    def make(path: str) -> tuple[Recording, np.ndarray | None]:
        recording, wav = decode(path, rate)
        return recording, wav[0].numpy() if usable(recording, longest_seconds) is None else None

    with open(target / "waveforms.f32", "wb") as file:
        made = on_all_cores(make, list(by_content.values()))
        for done, (key, (recording, wav)) in enumerate(zip(by_content, made, strict=True), 1):
            found[key] = asdict(recording) | {"first_sample": first}
            if wav is not None:
                file.write(np.ascontiguousarray(wav, np.float32).data)
                first += len(wav)
            progress(done, len(by_content))
    (target / "recordings.json").write_text(json.dumps(found), encoding="utf-8")


def read(known: Mapping[str, str], directory: Path) -> Recordings:
    """What `write` wrote for the same contents, under their current paths in `known`."""
    stored = json.loads((directory / "recordings.json").read_text(encoding="utf-8"))
    found = {
        path: Recording(**{**stored[_content(path, digest)], "path": path, "digest": digest})
        for path, digest in known.items()
    }
    return Recordings(found, directory / "waveforms.f32")


def _content(path: str, digest: str) -> str:
    """The properties depend on the bytes, and on the file name's extension (`remark`)."""
    return digest + Path(path).suffix.lower() if digest else path


def store_key(known: Mapping[str, str], rate: int, longest_seconds: float) -> str:
    """The key in the name of `write`'s folder, which depends on all of its content."""
    contents = sorted({_content(path, digest) for path, digest in known.items()})
    return hashlib.sha256(
        repr((contents, rate, longest_seconds, torchaudio.__version__, sources.digest(__name__))).encode()
    ).hexdigest()[:16]
