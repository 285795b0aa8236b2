"""Clips: what is dropped and why, the split, and fingerprints by content."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile

from search.errors import UserError
from search.preparation import encoding, recordings
from search.preparation.surveying import encoded
from search.preparation.tables import read_rows
from search.settings.sections import Data
from search.settings.settings import load
from search.study import storage
from search.study.clips import Clip, pack
from search.training.tokenizer import STOP_ID, Tokenizer
from tests.stub import PREPARED

RATE = 22_050


@pytest.fixture(scope="module")
def tokenizer(miniature: Path) -> Tokenizer:
    return Tokenizer(miniature / "vocab.json")


def write_corpus(folder: Path, rows: list[tuple[str, str, str]], table: str = "train.csv") -> None:
    lines = ["audio_file|text|speaker_name", *("|".join(row) for row in rows)]
    (folder / table).write_text("\n".join(lines) + "\n", encoding="utf-8")


def tone(folder: Path, name: str, seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> str:
    wave = 0.3 * np.sin(np.arange(int(seconds * rate)) / 20)
    soundfile.write(folder / name, np.stack([wave] * channels, 1), rate)
    return name


def row(path: Path, text: str | None = "hello") -> dict[str, Any]:
    return {"audio_file": str(path), "text": text, "speaker_name": "a", "language": "en"}


def fault(row: dict[str, Any], data: Data, tokenizer: Tokenizer) -> str | None:
    """Why a clip is left out."""
    recording, _ = recordings.decode(row["audio_file"], RATE)
    return encoded(row, data, tokenizer)[1] or recordings.usable(recording, data.max_audio_seconds)


@pytest.mark.parametrize(
    ("seconds", "text", "reason"),
    [
        (1.0, None, "no text in the table"),  # stock trains on the word "None"
        (1.0, "  ", "empty text"),
        (1.0, "ሰላም", "a letter that the vocabulary lacks"),
        (1.0, "hello " * 30, "more than data.max_text_tokens 40: "),
        (0.4999, "hello", "shorter than 0.5 s: 0.50 s"),
        (2.001, "hello", "longer than data.max_audio_seconds 2.0: 2.00 s"),
        (0.5, "hello", None),
        (2.0, "hello", None),
    ],
)
def test_reasons_to_drop_a_clip(
    tmp_path: Path, tokenizer: Tokenizer, seconds: float, text: str | None, reason: str | None
) -> None:
    tone(tmp_path, "a.wav", seconds)
    found = fault(row(tmp_path / "a.wav", text), Data(max_audio_seconds=2.0, max_text_tokens=40), tokenizer)
    assert found is None if reason is None else reason in str(found)


def test_unreadable_and_not_finite_audio_is_dropped(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "b.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "c.wav", np.full(RATE, np.inf), RATE, subtype="FLOAT")
    reasons = [fault(row(tmp_path / name), Data(), tokenizer) for name in ("a.wav", "b.wav", "c.wav")]
    assert str(reasons[0]).startswith("audio cannot be read: ")
    assert str(tmp_path) not in str(reasons[0])  # the file is named beside it
    assert reasons[1:] == ["audio holds NaN or infinite samples"] * 2

    def fail(*_: str) -> list[int]:
        raise NotImplementedError("no rules\nfor it")

    for encode, reason in (
        (fail, "the text cannot be tokenised: no rules"),
        (lambda *_: [5, STOP_ID], "the text holds [STOP]"),
    ):
        assert encoded(row(Path("a.wav")), Data(), cast(Tokenizer, SimpleNamespace(encode=encode)))[1] == reason


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write_corpus(tmp_path / "one", [(tone(tmp_path / "one", f"{i}.wav"), "hello", "a") for i in range(10)])
    shutil.copytree(tmp_path / "one", tmp_path / "two")

    def fingerprint(name: str, **values: object) -> str:
        data = Data(path=tmp_path / name, **values)
        rows = read_rows(data, tmp_path / name, 1)
        known = recordings.digests([row["audio_file"] for part in rows.parts for row in part])
        return encoding.fingerprint(rows.parts, data, known)

    reference = fingerprint("one")
    assert fingerprint("two") == reference
    assert fingerprint("two", max_text_tokens=150) != reference
    table = tmp_path / "two" / "train.csv"
    content = table.read_text()
    for changed in (content.replace("3.wav|hello|a", "3.wav|hello|b"), content.replace("3.wav|hello", "3.wav|hallo")):
        table.write_text(changed)
        assert fingerprint("two") != reference
    table.write_text(content)
    assert fingerprint("two") == reference
    assert fingerprint("two", eval_share=0.3) != reference  # the same clips in other parts
    tone(tmp_path / "two", "3.wav", 1.1)
    assert fingerprint("two") != reference


CLIPS = [(f"wavs/{i}.wav", "eval" if i > 7 else "train", f"text {i}", "a", f"{i:064x}"[::-1]) for i in range(10)]


@pytest.mark.parametrize(
    ("clips", "language", "line"),
    [
        (CLIPS[1:], "en", "1 clip of the study gone (wavs/0.wav)"),
        ([*CLIPS, ("new.wav", "train", "x", "a", "ff")], "en", "1 clip not in the study (new.wav)"),
        ([(*CLIPS[0][:2], "x", *CLIPS[0][3:]), *CLIPS[1:]], "en", "1 clip with another text or speaker (wavs/0.wav)"),
        (
            [*CLIPS[:8], *((*clip[:4], "ffff") for clip in CLIPS[8:])],
            "en",
            "2 clips with other audio (wavs/8.wav, wavs/9",
        ),
        (
            [*CLIPS[:9], ("wavs/9.wav", "train", *CLIPS[9][2:])],
            "en",
            "1 clip moved between train and eval (wavs/9.wav)",
        ),
        ([*CLIPS, CLIPS[0]], "en", "1 clip in another number of rows (wavs/0.wav)"),
        (CLIPS[::-1], "en", "the same clips in another order"),
        (CLIPS, "de", "data.language is de, en there"),
        ([("\x1b[31m.wav", *clip[1:]) if i == 9 else clip for i, clip in enumerate(CLIPS)], "en", r"\x1b[31m.wav"),
    ],
)
def test_a_study_names_the_clips_that_differ(tmp_path: Path, clips: list[Clip], language: str, line: str) -> None:
    given = load(None, {"study.directory": str(tmp_path), "study.storage": f"sqlite:///{tmp_path}/study.db"})
    database = storage.open_storage(given.storage_url)
    storage.open_study(given, replace(PREPARED, clips=pack(CLIPS, {"language": "en"})), database)
    other = replace(PREPARED, data_fingerprint="data-2", clips=pack(clips, {"language": language}))
    with pytest.raises(UserError, match="was made with other settings") as refused:
        storage.open_study(given, other, database)
    (told,) = refused.value.details
    assert told.startswith("data: ") and line in told and told.isprintable()
