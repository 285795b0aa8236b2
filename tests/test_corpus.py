"""Clips: what is dropped and why, the split, and fingerprints by content."""

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import soundfile
import torch
from TTS.tts.models.xtts import load_audio

from search.errors import UserError
from search.preparation import encoding, recordings
from search.preparation.places import locate
from search.preparation.surveying import encoded
from search.preparation.tables import read_rows
from search.settings.sections import Data
from search.settings.settings import load
from search.training import corpus
from search.training.tokenizer import STOP_ID, UNKNOWN_ID, Tokenizer

RATE = 22_050


@pytest.fixture(scope="module")
def tokenizer(cache: Path) -> Tokenizer:
    return Tokenizer(locate(load(None, {}), cache, lambda _: None)[1] / "vocab.json")


def write_corpus(folder: Path, rows: list[tuple[str, str, str]], table: str = "train.csv") -> None:
    lines = ["audio_file|text|speaker_name", *("|".join(row) for row in rows)]
    (folder / table).write_text("\n".join(lines) + "\n", encoding="utf-8")


def tone(folder: Path, name: str, seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> str:
    wave = 0.3 * np.sin(np.arange(int(seconds * rate)) / 20)
    soundfile.write(folder / name, np.stack([wave] * channels, 1), rate)
    return name


def row(path: Path, text: str = "hello") -> dict[str, str]:
    return {"audio_file": str(path), "text": text, "speaker_name": "a", "language": "en"}


def fault(row: dict[str, str], data: Data, tokenizer: Tokenizer) -> str | None:
    """Why a clip is left out."""
    recording, _ = recordings.decode(row["audio_file"], RATE)
    return encoded(row, data, tokenizer)[1] or recordings.usable(recording, data.max_audio_seconds)


@pytest.mark.parametrize(
    ("seconds", "text", "reason"),
    [
        (1.0, "  ", "empty text"),
        (1.0, "ሰላም", "a letter that the vocabulary lacks"),
        (1.0, "hello " * 30, "text tokens, more than data.max_text_tokens 40"),
        (0.3, "hello", "0.30 s, shorter than 0.5 s"),
        (3.0, "hello", "3.00 s, longer than data.max_audio_seconds 2.0"),
    ],
)
def test_reasons_to_drop_a_clip(tmp_path: Path, tokenizer: Tokenizer, seconds: float, text: str, reason: str) -> None:
    tone(tmp_path, "a.wav", seconds)
    data = Data(max_audio_seconds=2.0, max_text_tokens=40)
    assert reason in str(fault(row(tmp_path / "a.wav", text), data, tokenizer))


def test_unreadable_and_not_finite_audio_is_dropped(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "b.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "c.wav", np.full(RATE, np.inf), RATE, subtype="FLOAT")
    reasons = [fault(row(tmp_path / name), Data(), tokenizer) for name in ("a.wav", "b.wav", "c.wav")]
    assert str(reasons[0]).startswith("audio cannot be read: ")
    assert str(tmp_path) not in str(reasons[0])  # the file is named beside it
    assert reasons[1:] == ["audio holds NaN or infinite samples"] * 2


def test_any_rate_and_stereo_become_one_channel(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tone(tmp_path, "a.flac", 1.0, rate=16_000, channels=2)
    recording, wav = recordings.decode(str(tmp_path / "a.flac"), RATE)
    assert wav.shape == (1, RATE)
    assert torch.equal(wav, load_audio(str(tmp_path / "a.flac"), RATE))
    assert (recording.sample_rate, recording.channels, recording.seconds) == (16_000, 2, 1.0)
    assert encoded(row(tmp_path / "a.flac"), Data(), tokenizer) == (tokenizer.encode("hello", "en"), None)


def test_the_split_is_seeded_and_by_speaker(tmp_path: Path) -> None:
    names = [tone(tmp_path, f"{i}.wav", 0.1) for i in range(40)]
    write_corpus(tmp_path, [(name, "hello", "ab"[i % 4 == 0]) for i, name in enumerate(names)])
    data = Data(path=tmp_path, eval_share=0.2)
    train, held_out = read_rows(data, tmp_path, 1).parts
    assert len(train) == 32
    assert sorted(r["speaker_name"] for r in held_out) == ["a"] * 6 + ["b"] * 2
    assert not {r["audio_file"] for r in train} & {r["audio_file"] for r in held_out}
    assert read_rows(data, tmp_path, 1).eval == held_out
    assert read_rows(data, tmp_path, 2).eval != held_out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "data.train is 'train.csv'"),
        ("audio_file|text|speaker_name\n", "finds no clips"),
        ("audio_file|text|speaker_name\nmissing.wav|hello|a\n", "finds no clips"),
        ("file,words\na.wav,hello\n", "finds no clips"),
    ],
)
def test_an_empty_or_strange_table_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        read_rows(Data(path=tmp_path), tmp_path, 1)


def test_an_unknown_formatter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="formatter"):
        read_rows(Data(path=tmp_path, formatter="nothing"), tmp_path, 1)


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
    tone(tmp_path / "two", "3.wav", 1.1)
    assert fingerprint("two") != reference


def test_the_fingerprint_tells_training_from_evaluation() -> None:
    rows = [{"audio_file": str(i), "text": "hello", "speaker_name": "a"} for i in range(4)]
    known = {str(i): f"{i}{i}" for i in range(4)}
    parts = [encoding.fingerprint((rows[:cut], rows[cut:]), Data(), known) for cut in (1, 2, 3)]
    assert len(set(parts)) == 3


def test_waveforms_have_two_names_or_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"audio")
    encoding.link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").samefile(tmp_path / "b")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(corpus.os, "link", refuse)
    encoding.link(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"audio"
    assert not (tmp_path / "a").samefile(tmp_path / "c")


@pytest.mark.parametrize(("seconds", "fits"), [(0.5, True), (0.4999, False), (2.0, True), (2.001, False)])
def test_the_limits_of_a_clips_length_are_allowed(tmp_path: Path, seconds: float, fits: bool) -> None:
    tone(tmp_path, "a.wav", seconds)
    recording, _ = recordings.decode(str(tmp_path / "a.wav"), RATE)
    assert (recordings.usable(recording, 2.0) is None) == fits


@pytest.mark.parametrize(
    ("text", "tokens", "reason"),
    [
        (None, [], "no text in the table"),  # stock trains on the word "None"
        ("hello", [5, STOP_ID], "the text holds [STOP]"),
        ("hello", [5, UNKNOWN_ID], "a letter that the vocabulary lacks"),
        ("hello", [5, 6], None),
    ],
)
def test_texts_that_training_cannot_use(text: str | None, tokens: list[int], reason: str | None) -> None:
    tokenizer = cast(Tokenizer, SimpleNamespace(encode=lambda *_: tokens))
    assert encoded({"text": text, "language": "en"}, Data(), tokenizer) == (tokens, reason)


def test_a_text_that_the_tokenizer_fails_on_is_left_out() -> None:
    def fail(*_: str) -> list[int]:
        raise NotImplementedError("no rules\nfor it")

    tokenizer = cast(Tokenizer, SimpleNamespace(encode=fail))
    assert encoded(row(Path("a.wav")), Data(), tokenizer)[1] == "the text cannot be tokenised: no rules"
