"""How an audio file's header or name differs from its content. Most decoders do not tell."""

from pathlib import Path
from typing import BinaryIO

_KINDS = {
    b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "OGG", b"ID3": "MP3", b"\xff\xfb": "MP3", b"\xff\xf3": "MP3",
    b"\xff\xf2": "MP3",
}  # fmt: skip
_NAMES = {"wav": "WAV", "wave": "WAV", "flac": "FLAC", "ogg": "OGG", "oga": "OGG", "opus": "OGG", "mp3": "MP3"}
_ENOUGH = 0.99  # share of the promised length that is accepted without a remark
_NOISE = 1024  # bytes after the audio that a trailing chunk may take without a remark


def remark(path: Path, frames: int) -> str | None:
    """What is odd about a file of which `frames` (of all channels) were decoded; None for nothing.

    Raises OSError for a file that cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(64)
        kind = next((name for start, name in _KINDS.items() if head.startswith(start)), None)
        named = _NAMES.get(path.suffix[1:].lower())
        if kind and named and kind != named:
            return f"is {kind}, and is named {path.suffix}"
        if kind == "WAV":
            return _wav_remark(file, path.stat().st_size)
    if kind == "FLAC" and (promised := _flac_frames(head)) and frames < _ENOUGH * promised:
        return f"is cut short: its header promises {promised:,} samples, {frames:,} are there"
    return None


def _wav_remark(file: BinaryIO, size: int) -> str | None:
    """By the length that the chunk "data" claims; streams that were never closed claim 0 or all that fits."""
    place = 12
    while (chunk := _chunk(file, place)) is not None:
        name, length = chunk
        after = place + 8 + length + length % 2
        if name != b"data":
            place = after
            continue
        there = size - place - 8
        if there < _ENOUGH * length:
            return f"is cut short: its header promises {length:,} bytes of audio, {there:,} are there"
        following = _chunk(file, after)
        named = following is not None and following[0].isascii() and following[0].decode().isprintable()
        if size - after <= max(_NOISE, length // 100) or (named and following and following[1] <= size - after):
            return None
        return f"says that it holds {length:,} bytes of audio, and {size - after:,} more follow, which no player reads"
    return None


def _chunk(file: BinaryIO, place: int) -> tuple[bytes, int] | None:
    """(name, length of the content) of the RIFF chunk at `place`; None at the end of the file."""
    file.seek(place)
    head = file.read(8)
    return (head[:4], int.from_bytes(head[4:], "little")) if len(head) == 8 else None


def _flac_frames(head: bytes) -> int:
    """The total of STREAMINFO, 0 where it is not told: the last 36 of the 64 bits that begin with the sample rate."""
    return int.from_bytes(head[18:26], "big") & (2**36 - 1) if len(head) >= 26 and head[4] & 0x7F == 0 else 0
