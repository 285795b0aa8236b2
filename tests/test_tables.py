"""Tables as people write them: each is read as it is meant, or refused in one line; what coqui reads of them, too."""

import csv
import io
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from TTS.tts.configs.shared_configs import BaseTTSConfig
from TTS.tts.datasets import load_tts_samples

from search.errors import UserError
from search.preparation import tables
from search.preparation.table_reader import NAMES, SEPARATORS, read_table
from search.preparation.tables import Rows, hold_out, read_rows
from search.settings.sections import Data

HEADER = "audio_file|text|speaker_name\n"
QUOTED = re.compile(r' *"((?:[^"]|"")*)" *')


def read(root: Path, content: str, eval_share: float = 0.5, **given: Any) -> Rows:
    (root / "train.csv").write_text(content, encoding="utf-8")
    return read_rows(Data(path=root, eval_share=eval_share, **given), root, 1)


def touch(root: Path, *names: str) -> None:
    """Tables are read without a look into the audio."""
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")


Clip = tuple[str, str, str]  # file, text, speaker
TEXTS = st.text("aé ሰ.,;|\t\"'\n", min_size=1, max_size=12).map(str.strip).filter(bool)
CLIPS = st.lists(st.tuples(TEXTS, st.sampled_from(["anna", "ben", "Carl Orff"])), min_size=1, max_size=8)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32), CLIPS)
def test_any_table_is_read_as_meant_or_refused_in_one_line(seed: int, rows: list[tuple[str, str]]) -> None:
    chance = random.Random(seed)
    clips = [(f"wavs/{i}.wav", text, speaker) for i, (text, speaker) in enumerate(rows)]
    separator = chance.choice(list(SEPARATORS))
    roles = chance.choice(["audio text speaker", "audio text", "speaker audio text", "text audio"])
    has_header = chance.random() < 0.5 or roles not in ("audio text speaker", "audio text")
    is_csv = chance.random() < 0.5  # written by a library
    if not is_csv:  # texts that no reader can tell from CSV's own marks
        assume(not any("\n" in text or QUOTED.fullmatch(text) for _, text, _ in clips))
        assume(has_header or not any(separator in text for _, text, _ in clips))
    header = [chance.choice(NAMES[role]) for role in roles.split()] if has_header else []
    header = [
        chance.choice([name, name.title(), f" {name} ", name.replace("_", " "), name.replace("_", "")])
        for name in header
    ]
    cells = [[{"audio": f, "text": t, "speaker": s}[role] for role in roles.split()] for f, t, s in clips]
    content = written([*([header] if header else []), *cells], separator, is_csv, chance)
    meant = [(f, " ".join(t.split("\n")), s if "speaker" in roles else None) for f, t, s in clips]
    found = outcome(content)
    if isinstance(found, str):
        assert "\n" not in found and "Error" not in found and found.startswith("train.csv")
        assert not is_csv or not header, found  # with these two there is only one meaning
    else:
        assert found == meant


def outcome(content: bytes) -> list[tuple[str, str | None, str | None]] | str:
    """The rows, or why they are refused."""
    try:
        return [(row.file, row.text, row.speaker) for row in read_table(content, "train.csv", [], [])]
    except UserError as error:
        return str(error)


def written(rows: list[list[str]], separator: str, is_csv: bool, chance: random.Random) -> bytes:
    """The table's bytes: quoted by a library or not at all, with any line ends, encoding and blank lines between."""
    blanks = ["", "", "\n", "  \n\n"]
    parts = []
    for row in rows:
        line = io.StringIO()
        quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]) if is_csv else None
        if quoting is None:
            line.write(separator.join(row) + "\n")
        else:
            csv.writer(line, delimiter=separator, quoting=quoting, lineterminator="\n").writerow(row)
        parts.append(chance.choice(blanks) + line.getvalue())
    text = ("".join(parts) + chance.choice(blanks)).replace("\n", chance.choice(["\n", "\r\n", "\r"]))
    return text.encode(chance.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "data.train train.csv is empty; write a line audio_file"),
        (HEADER, "names no clip"),
        (
            "audio_file|speaker_name\na.wav|x\n",
            "line 1: 'audio_file|speaker_name': a header whose names are not known; write",
        ),
        (
            "id|text|speaker\n1|hello|x\n",
            "line 1: 'id|text|speaker': neither a header like audio_file|text|speaker_name",
        ),
        ("what|ever|this\na.wav|hello|x\n", "line 1: 'what|ever|this': a header whose names are not known"),
        ("LJ1|one|one\nLJ2|two|two\n", "for lines like LJ001-0001|text|text set data.formatter to ljspeech"),
        ("a.wav|6 June|the sixth of June\nb.wav|7|the seventh\n", "3 columns and no header that says which they are"),
        (
            "a.wav,one\nb.wav,two\n",
            "line 1: 'a.wav,one': neither a header like audio_file|text|speaker_name nor a clip",
        ),
        ("a.wav|one\nb.wav|two|x\nc.wav|three\n", "line 2: 'b.wav|two|x': 3 columns instead of 2"),
        (HEADER + "a.wav|one|x\nb.wav|two|three|y\n", "line 3: 'b.wav|two|three|y': 4 columns instead of 3; put the"),
        (HEADER + "a.wav|one\nand more|x\nb.wav|two|x\n", "line 3: 'and more|x': 'and more' is no audio file; a row"),
        ("audio_file|text\na.wav|one|x\nb.wav|two|x\n", "line 2: 'a.wav|one|x': 3 columns, and 2 in the header, as in"),
        (HEADER + "gone.wav|one|x\n", "none of its 1 audio files exists"),
        ("PK\x03\x04 a workbook", "train.csv is a spreadsheet or an archive, not a table of text"),
        ("\ufeff\n<!DOCTYPE html>", "train.csv is a web page, not a table of text"),
        ("version https://git-lfs.github.com/spec/v1\n", "train.csv is a Git LFS pointer, not a table of text; run"),
    ],
)
def test_what_has_two_meanings_is_refused(tmp_path: Path, content: str, message: str) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    with pytest.raises(UserError, match=re.escape(message)):
        read(tmp_path, content)
    with pytest.raises(UserError, match=r"data.formatter is 'nothing'; coqui has .*ljspeech"):
        read(tmp_path, content, formatter="nothing")


@pytest.mark.parametrize("content", [b"caf\xe9", b"\xef\xbb\xbfcaf\xe9"])
def test_another_encoding_is_named_with_its_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.csv").write_bytes(HEADER.encode() + b"a.wav|" + content + b"|x\n")
    with pytest.raises(UserError, match=r"line 2: byte 0xe9 is not UTF-8; save the table as UTF-8"):
        read_rows(Data(path=tmp_path), tmp_path, 1)


@pytest.mark.parametrize(
    ("content", "assumed"),
    [
        ("file_name,transcription\na.wav,one\nb.wav,two\n", "separated by commas; file_name is read as audio_file; tr"),
        ("a.wav|one|x\nb.wav|two|x\n", "it has no header and is read as audio and text and speaker"),
        ("audio,text,speaker\na.wav,one, two,x\nb.wav,two, one,x\n", "a text that contains ',' is read whole"),
        (
            HEADER + 'a.wav|"one|x\nb.wav|two|x\n',
            "a quotation mark that does not enclose the whole text is read as a part of it",
        ),
        (HEADER + "a.wav|one|two|x\nb.wav|two|x\n", "a text that contains '|' is read whole (line 2)"),
        (HEADER + "c|one|x\nd|two|x\n", "its files lie in wavs/ and are named without .wav"),
        (HEADER + "wavs\\c.wav|one|x\nwavs\\d.wav|two|x\n", "backslashes in the names of files are read as slashes"),
        (HEADER + "/gone/c.wav|one|x\n/gone/d.wav|two|x\n", "are not there, and wavs/ is read"),
        ("path\tsentence_id\tsentence\ne.mp3\t1\tone\nf.mp3\t2\ttwo\n", "its files lie in clips/ as .wav"),
        ("audio,text,speaker\na.wav,one,x,\nb.wav,two,x,\n", "separated by commas; audio is"),
        (HEADER + "a.wav|one|x\nb.wav|two|x\n|three|x\n", None),
    ],
)
def test_what_was_assumed_is_told_and_reaches_coquis_training(
    tmp_path: Path, content: str, assumed: str | None
) -> None:
    touch(tmp_path, "a.wav", "b.wav", "wavs/c.wav", "wavs/d.wav", "clips/e.wav", "clips/f.wav")
    rows = read(tmp_path, content)
    assert len(rows.train) == len(rows.eval) == 1
    if assumed is None:
        assert rows.remarks == ["data.train train.csv, line 4: it names no audio file"]
    else:
        assert assumed in " ".join(rows.assumed)
    (tmp_path / "kept").mkdir()
    dataset = tables.for_coqui(rows, Data(path=tmp_path), tmp_path, tmp_path / "kept", tmp_path / "kept")
    made = load_tts_samples(BaseTTSConfig(datasets=[dataset]), eval_split=True)
    for ours, theirs in zip((rows.eval, rows.train), reversed(made), strict=True):
        keys = ("audio_file", "text", "speaker_name")
        assert [tuple(row[key] for key in keys) for row in theirs] == [tuple(row[key] for key in keys) for row in ours]


@pytest.mark.parametrize(
    ("formatter", "content", "assumed"),
    [
        ("ljspeech", "c|one|one\nd|two|two\n", ""),
        ("ljspeech", "c|one\nd|two\n", "where the third column is empty, the text of the second is read"),
        ("ljspeech", "c.wav|one|one\nd.wav|two|two\n", "so it is not added again"),
        ("thorsten", "c|one\nd|two\n\n", ""),
        ("kss", "wavs/c.wav|1|one\nwavs/d.wav|2|two\n", ""),
        ("common_voice", "path\tsentence_id\tsentence\nc.wav\t1\tone\nd.wav\t2\ttwo\n", "sentence is read as text"),
    ],
)
def test_named_formatters_give_clean_rows_and_name_absent_files(
    tmp_path: Path, formatter: str, content: str, assumed: str
) -> None:
    touch(tmp_path, "wavs/c.wav")
    (tmp_path / "wavs" / "d.wav").symlink_to("c.wav")
    (tmp_path / "wavs" / "gone.wav").symlink_to("nowhere")
    gone = next(line for line in content.splitlines() if "one" in line)
    gone = gone.replace("c.wav", "gone.wav") if "c.wav" in gone else gone.replace("c|", "gone|")
    rows = read(tmp_path, content + gone + "\n", formatter=formatter)
    assert sorted((Path(row["audio_file"]).name, row["text"]) for part in rows.parts for row in part) == [
        ("c.wav", "one"), ("d.wav", "two")
    ]  # fmt: skip
    absent = [row for row in tables.read(Data(path=tmp_path, formatter=formatter), tmp_path).train if row["fault"]]
    assert [Path(row["audio_file"]).name.partition(".")[0] for row in absent] == ["gone"]
    assert assumed in " ".join(rows.assumed)


def test_a_line_that_a_formatter_fails_on_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "wavs/c.wav")
    with pytest.raises(
        UserError,
        match=r"line 2: 'no second column' has 1 columns instead of 2; the layout of data.formatter 'thor",
    ):
        read(tmp_path, "c|one\nno second column\nc|one\n", formatter="thorsten")
    with pytest.raises(
        UserError, match=r"line 2: 'c\|one\|two\|three' has 4 columns instead of 3; .* no separator in a text"
    ):
        read(tmp_path, "c|one|one\nc|one|two|three\nc|one|one\n", formatter="ljspeech")
    with pytest.raises(UserError, match=r"data.train: .* cannot be read \(Is a directory\); name a table"):
        read_rows(Data(path=tmp_path, train="wavs"), tmp_path, 1)
    with pytest.raises(UserError, match=r"does not exist; tables in this folder: train.csv"):
        read_rows(Data(path=tmp_path, train="metadata.csv"), tmp_path, 1)


def test_the_split_is_seeded_by_speaker_and_of_usable_clips(tmp_path: Path) -> None:
    names = [f"{i}.wav" for i in range(40)]
    touch(tmp_path, *names)
    lines = [f"{name}|hello|{'ab'[i % 4 == 0]}\n" for i, name in enumerate(names)]
    rows = read(tmp_path, HEADER + "".join(lines), 0.2)
    assert sorted(row["speaker_name"] for row in rows.eval) == ["a"] * 6 + ["b"] * 2
    assert len(rows.train) == 32
    assert read_rows(Data(path=tmp_path, eval_share=0.2), tmp_path, 2).eval != rows.eval  # another seed
    files = {row["audio_file"] for row in rows.eval}
    back = read(tmp_path, HEADER + "".join(reversed(lines)), 0.2)
    assert {row["audio_file"] for row in back.eval} == files  # in any order
    twice = read(tmp_path, HEADER + "".join(lines + [f"{name}|again|y\n" for name in names]), 0.2)
    assert not {row["audio_file"] for row in twice.train} & {row["audio_file"] for row in twice.eval}

    data, whole = Data(path=tmp_path, eval_share=0.2), tables.read(Data(path=tmp_path), tmp_path)
    bad = {row["audio_file"] for row in whole.train[:40] if row["speaker_name"] == "a"}
    for row in whole.train:
        row["fault"] = "bad" if row["audio_file"] in bad else None
    usable = hold_out(whole, data, 1)
    assert {row["audio_file"] for row in usable.eval}.isdisjoint(bad)
    assert len(usable.train) + len(usable.eval) == len(whole.train) or len(usable.eval) > 0  # bad ones are in train
    assert bad <= {row["audio_file"] for row in usable.train}


def test_a_share_that_holds_out_nothing_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    with pytest.raises(UserError, match=r"data.eval_share is 0.1: no clip of 2 is held out; raise it, or name a table"):
        read(tmp_path, HEADER + "a.wav|one|x\nb.wav|two|x\n", eval_share=0.1)
