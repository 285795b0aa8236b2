"""Tables that say less, or other, than they seem to: what is named, and what is refused."""

import logging
from pathlib import Path

import pytest

from search.errors import UserError
from search.preparation.tables import Rows, read_rows
from search.settings.sections import Data

HEADER = "audio_file|text|speaker_name\n"


def read(root: Path, content: str, eval_share: float = 0.5) -> Rows:
    (root / "train.csv").write_text(content, encoding="utf-8")
    return read_rows(Data(path=root, eval_share=eval_share), root, 1)


def touch(root: Path, *names: str) -> None:
    """Tables are read without a look into the audio."""
    for name in names:
        (root / name).write_bytes(b"")


def test_what_the_formatter_leaves_out_or_joins_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav", "c.wav", "d.wav")
    content = 'a.wav|one|x\ngone.wav|two|x\nb.wav|"three|x\nc.wav|four|x\nd.wav|five"|x\na.wav|six\n'
    rows = read(tmp_path, HEADER + content)
    assert rows.absent == [[str(tmp_path / "gone.wav"), "train.csv"]]
    remarks = "\n".join(rows.remarks)
    assert "train.csv, line 6: a quotation mark joins several lines to one row, b.wav; double each mark" in remarks
    assert "train.csv, line 7: a.wav has fewer columns than the header" in remarks
    assert "1 files not found" in remarks  # as the formatter itself says
    assert not logging.getLogger("TTS.tts.datasets.formatters").handlers


def test_the_rows_of_a_wholly_absent_corpus_are_details(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="check the table, that its audio files exist") as refused:
        read(tmp_path, HEADER + "".join(f"{i}.wav|hello|x\n" for i in range(30)))
    assert refused.value.details[0] == f"{tmp_path / '0.wav'}: not there"
    assert len(refused.value.details) == 20


def test_a_share_that_holds_out_nothing_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    with pytest.raises(UserError, match=r"data.eval_share is 0.1: no clip of 2 is held out; raise it, or name a table"):
        read(tmp_path, HEADER + "a.wav|one|x\nb.wav|two|x\n", eval_share=0.1)


def test_the_split_is_seeded_and_by_speaker(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("content", ["", HEADER, HEADER + "missing.wav|hello|a\n", "file,words\na.wav,hello\n"])
def test_an_empty_or_strange_table_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"data.train is 'train.csv': the 'coqui' formatter finds no clips"):
        read(tmp_path, content)
    with pytest.raises(UserError, match="the 'nothing' formatter"):
        read_rows(Data(path=tmp_path, formatter="nothing"), tmp_path, 1)


def test_a_table_that_belies_its_mark_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"a.wav|\xff\xfe|x\n")
    with pytest.raises(UserError, match=r"cannot be read as utf-8-sig: .*; save it as UTF-8"):
        read_rows(Data(path=tmp_path), tmp_path, 1)


def test_a_file_that_is_linked_is_there_and_a_broken_link_is_not(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    touch(tmp_path / "elsewhere", "a.wav", "b.wav")
    (tmp_path / "data").symlink_to("elsewhere")
    (tmp_path / "elsewhere" / "c.wav").symlink_to("nowhere")
    rows = read(tmp_path / "data", HEADER + "a.wav|one|x\nb.wav|two|x\nc.wav|three|x\n")
    assert len(rows.train) == len(rows.eval) == 1
    assert [Path(file).name for file, _ in rows.absent] == ["c.wav"]
