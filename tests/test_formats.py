"""Data as people have it: coqui's formatters by name, in the layout that it is for."""

import codecs
from dataclasses import dataclass
from pathlib import Path

import pytest

from search.errors import UserError
from search.preparation.tables import Rows, read_rows
from search.settings.sections import Data

SPEAKERS = ("1001", "1002")
CLIPS = 8


@dataclass(frozen=True)
class Layout:
    """Where a corpus keeps its tables and audio; `{id}`, `{speaker}` and `{text}` are of a clip.

    A table that differs by speaker or clip becomes several files.
    """

    train: str  # data.train
    table: str
    line: str
    audio: str
    header: str = ""
    footer: str = ""
    speaker: str = "{speaker}"  # as the formatter calls it
    encoding: str = "utf-8"

    @property
    def is_one_table(self) -> bool:
        return "{" not in self.table and self.train == self.table


# Those that are read or prepared here in a way of their own, and one of each kind that is not.
LAYOUTS = {
    "coqui": Layout("t.csv", "t.csv", "w/{id}.wav|{text}|{speaker}", "w/{id}.wav", "audio_file|text|speaker_name\n"),
    "cml_tts": Layout(
        "t.csv", "t.csv", "a/{id}.wav|{text}|{speaker}", "a/{id}.wav", "wav_filename|transcript|client_id\n"
    ),
    "common_voice": Layout(
        "validated.tsv", "validated.tsv", "{speaker}\t{id}.mp3\t{text}\t2", "clips/{id}.mp3",
        "client_id\tpath\tsentence\tup_votes\n",
    ),
    "ljspeech": Layout("metadata.csv", "metadata.csv", "{id}|raw|{text}", "wavs/{id}.wav", speaker="ljspeech"),
    "mozilla_de": Layout(
        "m.csv", "m.csv", "1_{id}.wav|{text}", "BATCH_1_FINAL/1_{id}.wav", speaker="mozilla", encoding="latin-1"
    ),
    "sam_accenture": Layout(
        "script.xml", "voice_over_recordings/script.xml", '<fileid id="{id}">{text}</fileid>',
        "vo_voice_quality_transformation/{id}.wav", "<recording>\n", "</recording>\n", speaker="sam_accenture",
    ),
    # An empty data.train: every metadata.csv below the folder.
    "mailabs": Layout(
        "", "by_book/female/{speaker}/book/metadata.csv", "{id}|{text}|{text}",
        "by_book/female/{speaker}/book/wavs/{id}.wav",
    ),
    "mls": Layout(
        "train/transcripts.txt", "train/transcripts.txt", "{speaker}_9_{id}\t{text}",
        "train/audio/{speaker}/9/{speaker}_9_{id}.wav", speaker="MLS_{speaker}",
    ),
    "tweb": Layout("t.txt", "t.txt", "{id}\t{text}", "{id}.wav", speaker="tweb"),
}  # fmt: skip


def write_corpus(
    root: Path, layout: Layout, end: str = "\n", mark: bytes = b"", word: str = "fährt"
) -> dict[Path, tuple[str, str]]:
    """Writes `CLIPS` clips; (speaker, text) as expected by audio file."""
    tables: dict[Path, str] = {}
    expected = {}
    for number in range(CLIPS):
        text = f"Clip {'abcdefgh'[number]} {word}."
        clip = {"id": f"{number:06}", "speaker": SPEAKERS[number % 2], "text": text}
        table = root / layout.table.format(**clip)
        tables[table] = tables.get(table, layout.header) + layout.line.format(**clip) + "\n"
        audio = root / layout.audio.format(**clip)
        audio.parent.mkdir(parents=True, exist_ok=True)
        audio.touch()  # tables are read without a look into the audio
        expected[audio] = (layout.speaker.format(**clip), text)
    for table, content in tables.items():
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_bytes(mark + (content + layout.footer).replace("\n", end).encode(layout.encoding))
    return expected


def read(root: Path, formatter: str, train: str) -> Rows:
    return read_rows(Data(path=root, formatter=formatter, train=train, language="de", eval_share=0.5), root, 1)


def found(rows: Rows) -> dict[Path, tuple[str, str]]:
    """As `write_corpus`; white space at the ends, which some formatters leave, is not compared."""
    return {Path(r["audio_file"]): (r["speaker_name"].strip(), r["text"].strip()) for part in rows.parts for r in part}


@pytest.mark.parametrize("formatter", LAYOUTS)
def test_each_formatter_reads_its_own_layout(tmp_path: Path, formatter: str) -> None:
    expected = write_corpus(tmp_path, LAYOUTS[formatter])
    rows = read(tmp_path, formatter, LAYOUTS[formatter].train)
    assert found(rows) == expected
    assert len(rows.eval) == len(rows.train) == CLIPS / 2
    assert {row["language"] for part in rows.parts for row in part} == {"de"}


@pytest.mark.parametrize(
    ("formatter", "mark"),
    [
        (name, mark)
        for name, layout in LAYOUTS.items()
        for mark in ("", "UTF-8", "UTF-16")
        if layout.is_one_table and (not mark or (layout.encoding == "utf-8" and name != "mls"))
    ],
)
def test_tables_of_a_spreadsheet_are_read(tmp_path: Path, formatter: str, mark: str) -> None:
    """CRLF, and a byte order mark with UTF-8 or in UTF-16; paths and text in other scripts."""
    layout = LAYOUTS[formatter]
    root = tmp_path / "ድምፅ und Wörter"
    expected = write_corpus(root, layout, "\r\n", codecs.BOM_UTF8 if mark == "UTF-8" else b"", word="größer")
    if mark == "UTF-16":
        table = root / layout.table
        table.write_bytes(table.read_bytes().decode().encode("utf-16"))
    assert found(read(root, formatter, layout.train)) == expected


@pytest.mark.parametrize("formatter", ["emotion", "voxceleb1", "voxceleb2"])
def test_data_without_texts_is_refused(tmp_path: Path, formatter: str) -> None:
    (tmp_path / "t.csv").write_text("file_path,speaker_id,emotion_id\n" + "id1/a/x.wav,1,happy\n" * CLIPS)
    with pytest.raises(UserError):
        read(tmp_path, formatter, "t.csv")
