"""Plants a data set with every defect that people's data has: `plant(folder)`."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 22_050
GOOD = 40  # clips of training without a fault
HOSTILE = "<script>alert(1)</script>[red]x.wav"
ETHIOPIC = "ስም ያለው ክፍል/ድምፅ አንድ.wav"
WORDS = "the quick brown fox jumps over lazy dogs while seven grey geese watch from far behind old mossy walls".split()


@dataclass(frozen=True)
class Planted:
    """A defect: the file that must be named, and what must be said of it, in the finding or beside the file."""

    kind: str
    file: str
    said: str
    level: str = "warning"


DEFECTS = (
    Planted("missing file", "missing.wav", "does not exist"),
    Planted("dangling link", "dangling.wav", "does not exist"),
    Planted("truncated WAV", "truncated.wav", "is cut short"),
    Planted("truncated FLAC", "truncated.flac", "cannot be read|is cut short"),
    Planted("empty file", "empty.wav", "cannot be read"),
    Planted("no samples", "no_samples.wav", "shorter than|cannot be read"),
    Planted("text named .wav", "text.wav", "cannot be read"),
    Planted("a folder named .wav", "folder.wav", "cannot be read"),
    Planted("silence", "silent.wav", "nothing but silence"),
    Planted("NaN", "nan.wav", "NaN"),
    Planted("infinite", "infinite.wav", "infinite"),
    Planted("8 kHz", "phone.wav", "sample rate below"),
    Planted("5.1 channels", "surround.wav", "6 channels"),
    Planted("MP3 named .wav", "mp3.wav", "is MP3"),
    Planted("a header that claims too little", "lying.wav", "audio after the end"),
    Planted("the same audio in eval", "eval/leak.wav", "same audio as a clip of training"),
    Planted("the same text in eval", "eval/same_text.wav", "the text of a clip of training"),
    Planted("unknown letters", "letters.wav", "ETHIOPIC SYLLABLE SA", "info"),
    Planted("a text of 1,000 characters", "long_text.wav", "more than data.max_text_tokens"),
    Planted("an empty text", "empty_text.wav", "empty text"),
    Planted("[STOP] in the text", "stop.wav", "special token"),
    Planted("too short", "short.wav", "shorter than"),
    Planted("too long", "long.wav", "longer than"),
    Planted("clipping", "clipped.wav", "full scale"),
    Planted("a DC offset", "offset.wav", "DC offset"),
    Planted("a very low level", "quiet.wav", "very low level"),
    Planted("a row that lacks a column", "short_row.wav", "no text in the table"),
    Planted("no speaker", "no_speaker.wav", "without a speaker"),
    Planted("a path that leaves the folder", "../outside.wav", "outside data.path"),
    Planted("cannot be read", "locked.wav", "cannot be read"),
    Planted("a pipe", "pipe.wav", "cannot be read"),
    Planted("a device that never ends", "device.wav", "cannot be read"),
    Planted("a speaker only of eval", "eval/stranger.wav", "not in training"),
)


def plant(root: Path) -> Path:
    """Makes the folder `root`/data and returns it. Its eval table has a byte order mark and CRLF."""
    folder = root / "data"
    (folder / "eval").mkdir(parents=True)
    rows = [(f"good_{i:02}.wav", sentence(i), f"{'ab'[i % 2]}") for i in range(GOOD)]
    for i, (name, _, _) in enumerate(rows):
        write(folder / name, wave(i))
    rows += [*_broken(folder), *_odd(folder)]
    lines = ["audio_file|text|speaker_name", *("|".join(row) for row in rows), "short_row.wav"]
    lines += [f'good_quote.wav|"{sentence(96)}|a']
    for name in ("short_row.wav", "good_quote.wav"):
        write(folder / name, wave(len(name) + 600))
    (folder / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    held_out = ["audio_file|text|speaker_name", *("|".join(row) for row in _eval(folder))]
    (folder / "eval.csv").write_bytes(("\ufeff" + "\r\n".join(held_out) + "\r\n").encode())
    return folder


def _broken(folder: Path) -> list[tuple[str, str, str]]:
    """Files that no decoder reads whole."""
    whole = _bytes(folder, wave(100, 2.0), "whole.wav")
    (folder / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    flac = _bytes(folder, wave(101, 2.0), "whole.flac")
    (folder / "truncated.flac").write_bytes(flac[: len(flac) // 2])
    (folder / "empty.wav").touch()
    write(folder / "no_samples.wav", wave(102)[:0])
    (folder / "text.wav").write_text("no sound at all, only words\n" * 50)
    (folder / "folder.wav").mkdir()
    os.symlink(folder / "nowhere.wav", folder / "dangling.wav")
    # 44 bytes of header, of which the last four are the length of the audio: half a second and a bit more of 2 s.
    (folder / "lying.wav").write_bytes(whole[:40] + struct.pack("<I", 2 * 14_000) + whole[44:])
    os.mkfifo(folder / "pipe.wav")
    (folder / "device.wav").symlink_to("/dev/zero")
    (folder / "locked.wav").symlink_to("/proc/self/mem")  # root may read everything else
    names: tuple[str, ...] = (
        "missing.wav",
        "truncated.wav",
        "truncated.flac",
        "empty.wav",
        "no_samples.wav",
        "text.wav",
        "folder.wav",
    )
    names += ("dangling.wav", "lying.wav", "locked.wav", "pipe.wav", "device.wav")
    return [(name, sentence(50 + i), "a") for i, name in enumerate(names)]


def _odd(folder: Path) -> list[tuple[str, str, str]]:
    """Files that can be decoded, and texts that can be read, all the same."""
    made = {
        "silent.wav": np.zeros(RATE),
        "nan.wav": np.where(np.arange(RATE) == 5_000, np.nan, wave(200, 1.0)),
        "infinite.wav": np.where(np.arange(RATE) == 5_000, np.inf, wave(201, 1.0)),
        "surround.wav": np.stack([wave(202)] * 6, 1),
        "short.wav": wave(203, 0.3),
        "long.wav": wave(204, 13.0),
        "clipped.wav": np.clip(8 * wave(205), -1, 1),
        "offset.wav": wave(206) + 0.2,
        "quiet.wav": wave(207) / 55,
        **{f"{name}.wav": wave(210 + i) for i, name in enumerate(_TEXTS)},
        "no_speaker.wav": wave(240),
        "../outside.wav": wave(241),
        ETHIOPIC: wave(242),
        HOSTILE: wave(243),
    }
    for name, samples in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, samples)
    soundfile.write(folder / "phone.wav", wave(208)[::2], 8_000)
    with open(folder / "mp3.wav", "wb") as file:
        soundfile.write(file, wave(209), RATE, format="MP3")
    rows = [(name, sentence(60 + i), "a") for i, name in enumerate((*made, "phone.wav", "mp3.wav"))]
    texts = {f"{name}.wav": text for name, text in _TEXTS.items()}
    return [(name, texts.get(name, text), "" if name == "no_speaker.wav" else "a") for name, text, _ in rows]


_TEXTS = {
    "letters": "ሰላም is a greeting",
    "long_text": "a long story " * 77,
    "empty_text": "  ",
    "stop": "do not [STOP] here",
}


def _eval(folder: Path) -> list[tuple[str, str, str]]:
    rows = [(f"eval/good_{i}.wav", sentence(120 + i), "ab"[i % 2]) for i in range(5)]
    rows += [("eval/leak.wav", sentence(130), "a"), ("eval/same_text.wav", sentence(1), "a")]
    rows += [("eval/stranger.wav", sentence(131), "stranger"), ("eval/short.wav", sentence(132), "a")]
    for i, (name, _, _) in enumerate(rows):
        write(folder / name, wave(0 if name == "eval/leak.wav" else 500 + i))
    write(folder / "eval/short.wav", wave(0, 0.2))
    return rows


def sentence(number: int) -> str:
    """Some words, others for each number."""
    return (
        " ".join(WORDS[(number * step + step) % len(WORDS)] for step in (1, 3, 7, 11))
        + f" {WORDS[number % 19]} {WORDS[number // 19]}"
    )


def wave(number: int, seconds: float = 1.6) -> np.ndarray:
    """A tone that differs by `number`; float (samples,)."""
    time = np.arange(int(seconds * RATE)) / RATE
    return 0.3 * np.sin(2 * np.pi * (150 + number) * time) * (1 + 0.3 * np.sin(2 * np.pi * 4 * time))


def write(path: Path, samples: np.ndarray) -> None:
    subtype = "PCM_16" if np.isfinite(samples).all() else "FLOAT"
    soundfile.write(path, samples, RATE, subtype=subtype)


def _bytes(folder: Path, samples: np.ndarray, name: str) -> bytes:
    write(folder / name, samples)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    return content
