"""The rows of a corpus: tables as people have them, read by coqui's formatters."""

import codecs
import csv
import logging
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.configs.shared_configs import BaseTTSConfig
from TTS.tts.datasets import load_tts_samples

from search.errors import UserError
from search.settings.sections import Data

# Formatters that leave out rows without an audio file, and the column that names the file.
_AUDIO_COLUMNS = {"coqui": "audio_file", "cml_tts": "wav_filename"}

_BY_THE_TABLES_FOLDER = (
    "mls",
)  # formatters that look for the audio next to the table, so a copy elsewhere does not work

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass
class Rows:
    """Rows as coqui's formatters give them: dicts with audio_file, text, speaker_name and language."""

    train: list[dict[str, Any]]
    eval: list[dict[str, Any]]
    absent: list[list[str]] = field(default_factory=list)  # [audio file, table] of each row without its file
    remarks: list[str] = field(default_factory=list)  # warnings of the formatters, and of this module

    @property
    def parts(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        return self.train, self.eval


def read_rows(data: Data, root: Path, seed: int) -> Rows:
    """The rows of a corpus. Without an eval table the seed decides which clips are held out.

    The same share of each speaker's clips is held out. Raises UserError for a table that cannot be read, or that names
    no clip.
    """
    rows = Rows([], [])
    with _warnings(rows.remarks):
        rows.train = _format(data, root, data.train, "data.train", rows)
        if data.eval:
            rows.eval = _format(data, root, data.eval, "data.eval", rows)
            return rows
    by_speaker: dict[str, list[dict[str, Any]]] = {}
    for row in rows.train:
        by_speaker.setdefault(str(row["speaker_name"]), []).append(row)
    for speaker in sorted(by_speaker):
        clips = sorted(by_speaker[speaker], key=lambda row: row["audio_file"])
        random.Random(f"{seed}/{speaker}").shuffle(clips)
        rows.eval += clips[: round(data.eval_share * len(clips))]
    if not rows.eval:
        raise UserError(
            f"data.eval_share is {data.eval_share}: no clip of {len(rows.train)} is held out; raise it, or"
            " name a table with data.eval"
        )
    names = {row["audio_file"] for row in rows.eval}
    rows.train = [row for row in rows.train if row["audio_file"] not in names]
    return rows


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


def _format(data: Data, root: Path, table: str, key: str, found: Rows) -> list[dict[str, Any]]:
    with _plain_table(root / table, data.formatter) as path:
        if data.formatter in _AUDIO_COLUMNS:
            _look_at_table(root, path, table, _AUDIO_COLUMNS[data.formatter], found)
        dataset = dataset_config(data, root, str(path) if path != root / table else table)
        try:
            rows: list[dict[str, Any]] = load_tts_samples(BaseTTSConfig(datasets=[dataset]), eval_split=False)[0]
        except Exception as error:  # formatters are 30 small parsers; each fails in its own way on a malformed table
            raise UserError(
                f"{key} is {table!r}: the {data.formatter!r} formatter finds no clips in {root} ({reason(error)});"
                " check the table, that its audio files exist, and data.formatter",
                [f"{file}: not there" for file, _ in found.absent[:20]],
            ) from error
    if any("text" not in row for row in rows):
        raise UserError(
            f"data.formatter is {data.formatter!r}, whose data has no texts; use one for speech with transcripts"
        )
    return rows


@contextmanager
def _plain_table(path: Path, formatter: str) -> Iterator[Path]:
    """`path`, or a copy in UTF-8 without the byte order mark that spreadsheets write."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError:  # a folder, or a formatter that takes no table; the formatter says what is wrong
        start = b""
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if encoding is None:
        yield path
        return
    if formatter in _BY_THE_TABLES_FOLDER:
        raise UserError(
            f"{path} begins with the mark of {encoding}, which the {formatter!r} formatter cannot read: save it as"
            " UTF-8 without a byte order mark"
        )
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        try:
            copy.write_text(path.read_text(encoding=encoding), encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} cannot be read as {encoding}: {reason(error)}; save it as UTF-8") from error
        yield copy


def _look_at_table(root: Path, path: Path, table: str, column: str, found: Rows) -> None:
    """Collects the rows that the formatter silently leaves out or joins."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, delimiter="|")
            for row in reader:
                name = row.get(column)
                if name and not (root / name).exists():
                    found.absent.append([str(root / name), table])
                if any("\n" in value for value in row.values() if isinstance(value, str)):
                    found.remarks.append(
                        f"{table}, line {reader.line_num}: a quotation mark joins several lines to one row,"
                        f" {name or 'without a file'}; double each mark of the text and put the text in quotation marks"
                    )
                if name is not None and None in row.values():
                    found.remarks.append(f"{table}, line {reader.line_num}: {name} has fewer columns than the header")
    except (OSError, UnicodeDecodeError, csv.Error):
        return  # the formatter refuses it, too


@contextmanager
def _warnings(into: list[str]) -> Iterator[None]:
    """Collects what coqui's formatters only log, like "5 files not found"."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: into.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("TTS.tts.datasets.formatters")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def reason(error: Exception) -> str:
    """The first line of an error, or its kind when it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
