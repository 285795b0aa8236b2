"""How an audio file's header or name differs from its content, by libsndfile's log. Decoders do not tell."""

import re
from pathlib import Path

import soundfile

_NAMES = {"wav": "WAV", "wave": "WAV", "flac": "FLAC", "ogg": "OGG", "oga": "OGG", "opus": "OGG", "mp3": "MP3"}
_ENOUGH = 0.99  # share of the promised length that is accepted without a remark


def remark(path: Path, frames: int) -> str | None:
    """What is odd about a file of which `frames` (of all channels) were decoded; None for nothing."""
    try:
        found = soundfile.info(path, verbose=True)
    except soundfile.LibsndfileError:  # another decoder reads it
        return None
    kind, named = found.format.removesuffix("EX"), _NAMES.get(path.suffix[1:].lower())
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
