"""Tables in the layouts of public corpora, read by coqui's formatters; around them, what these cannot deal with."""

import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.configs.shared_configs import BaseTTSConfig
from TTS.tts.datasets import load_tts_samples
from TTS.tts.datasets.formatters import _FORMATTER_REGISTRY

from search.errors import UserError
from search.preparation.table_cells import AUDIO, decoded
from search.settings.sections import Data

# As coqui's formatters give it: audio_file, text, speaker_name and language; with fault, why training cannot use the
# clip, which at first is only known of files that are not there. A survey adds tokens.
Row = dict[str, Any]

_THIRD = ("ljspeech", "ljspeech_test", "kokoro", "kss")  # read the third column, and fail where there are two
# Look for the audio next to the table, so that a copy elsewhere does not work; Latin-1; XML.
_IN_PLACE = ("mls", "mailabs", "mozilla_de", "sam_accenture")


@dataclass
class Rows:
    """The clips of a corpus, and what was found while reading its tables."""

    train: list[Row]
    eval: list[Row]
    remarks: list[str] = field(default_factory=list)  # lines that are left out, and warnings of the formatters
    assumed: list[str] = field(default_factory=list)  # what was assumed to read the tables

    @property
    def parts(self) -> tuple[list[Row], list[Row]]:
        return self.train, self.eval


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


def read_by_coqui(data: Data, root: Path, table: str, key: str, found: Rows) -> list[Row]:
    """As coqui's formatter reads it, without white space around texts and speakers."""
    with warnings_into(found.remarks), _plain_table(data, root / table, key, found) as path:
        try:
            config = BaseTTSConfig(datasets=[dataset_config(data, root, table if path == root / table else str(path))])
            rows: list[Row] = load_tts_samples(config, eval_split=False)[0]
        except Exception as error:  # formatters are 30 small parsers; each fails in its own way on a malformed table
            why = f"the {data.formatter} formatter finds no clip in {root}"
            raise UserError(f"{key} is {table!r}: {why}; {_wanted(data)}") from error
    if any("text" not in row for row in rows):
        raise UserError(
            f"data.formatter is {data.formatter!r}, whose data has no texts; use one for speech with transcripts"
        )
    return [{**row, "text": str(row["text"] or "").strip(), "speaker_name": str(row["speaker_name"]).strip()}
            for row in rows]  # fmt: skip


def located(file: str, found: Rows) -> str:
    """Without the ending or the folder that a formatter added to a name that has it."""
    if os.path.exists(file):
        return file
    stem = os.path.splitext(file)[0]
    ways = (stem if AUDIO.search(stem) else file, file.replace("wavs/wavs/", "wavs/"))
    for way in (*ways, ways[0].replace("wavs/wavs/", "wavs/")):
        if os.path.exists(way):
            said = "names of files have their ending or folder in the table, so it is not added again"
            found.assumed += [said] if said not in found.assumed else []
            return way
    return file


def _wanted(data: Data) -> str:
    """An example of the layout, from the formatter's documentation."""
    found = re.search(r"::\n\n\s*(.*)\n", _FORMATTER_REGISTRY[data.formatter.lower()].__doc__ or "")
    example = f", like {found[1]!r}" if found else ""
    return f"the layout of data.formatter {data.formatter!r} is wanted{example}"


def content_of(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{key}: {path} cannot be read ({error.strerror}); name a table") from error


@contextmanager
def _plain_table(data: Data, path: Path, key: str, found: Rows) -> Iterator[Path]:
    """A copy that coqui's formatter understands: UTF-8 without a byte order mark and blank lines; or `path` itself."""
    if not path.is_file() or data.formatter in _IN_PLACE:
        yield path
        return
    text = decoded(content_of(path, key), f"{key} {path.name}").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise UserError(f"{key} {path.name} is empty")
    lines = text.split("\n")
    if data.formatter in _THIRD:
        lines = _third_filled(lines, f"{key} {path.name}", found)
    if odd := _odd_line(lines):  # formatters take the columns that they want: a text with a separator would be cut
        raise UserError(f"{key} {path.name}, {odd}; {_wanted(data)}, and no separator in a text")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_text("".join(f"{line}\n" for line in lines if line.strip()), encoding="utf-8")
        yield copy


def _odd_line(lines: Sequence[str]) -> str | None:
    """The first line whose number of columns is not that of most lines, in words."""
    for separator in "|\t":
        counts = {i: line.count(separator) + 1 for i, line in enumerate(lines, 1) if line.strip()}
        usual, times = Counter(counts.values()).most_common(1)[0]
        odd = next((i for i, count in counts.items() if count != usual), None)
        if odd and usual > 1 and 2 * times > len(counts):
            return f"line {odd}: {lines[odd - 1][:60]!r} has {counts[odd]} columns instead of {usual}"
    return None


def _third_filled(lines: Sequence[str], where: str, found: Rows) -> list[str]:
    """Lines `id|text` and `id|text|` with the text in the third column, too."""
    filled = []
    for line in lines:
        row = line.split("|")
        has_two = len(row) in (2, 3) and not "".join(row[2:]).strip()
        filled.append("|".join([*row[:2], row[1]]) if has_two else line)
    if filled != list(lines):
        found.assumed.append(f"{where}: where the third column is empty, the text of the second is read")
    return filled


@contextmanager
def warnings_into(into: list[str]) -> Iterator[None]:
    """Collects what coqui's formatters only log."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: into.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("TTS.tts.datasets.formatters")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
