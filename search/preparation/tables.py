"""The rows of a corpus: tables in coqui's own layout by our reader, others by coqui's formatters."""

import csv
import logging
import os
import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.configs.shared_configs import BaseTTSConfig
from TTS.tts.datasets import load_tts_samples
from TTS.tts.datasets.formatters import _FORMATTER_REGISTRY

from search.check.survey import PARTS
from search.errors import UserError
from search.preparation.table_reader import AUDIO, decoded, read_table
from search.settings.sections import Data

Row = dict[str, Any]  # as coqui's formatters give it: audio_file, text, speaker_name and language

# Formatters whose layout is read here, and the speaker of a table that names none.
OURS = {"coqui": "coqui", "cml_tts": "default"}
_THIRD = ("ljspeech", "ljspeech_test", "kokoro", "kss")  # read the third column, and fail where there are two
_BY_THE_TABLES_FOLDER = ("mls", "mailabs")  # look for the audio next to the table, so a copy elsewhere does not work


@dataclass
class Rows:
    """The clips of a corpus, and what was found while reading its tables."""

    train: list[Row]
    eval: list[Row]
    absent: list[list[str]] = field(default_factory=list)  # [audio file, table] of each row without its file
    remarks: list[str] = field(default_factory=list)  # lines that are left out, and warnings of the formatters
    assumed: list[str] = field(default_factory=list)  # what was assumed to read the tables

    @property
    def parts(self) -> tuple[list[Row], list[Row]]:
        return self.train, self.eval


def read_rows(data: Data, root: Path, seed: int) -> Rows:
    """`read` and `hold_out`, as if every clip could be used."""
    return hold_out(read(data, root), data, seed, lambda _: True)


def read(data: Data, root: Path) -> Rows:
    """The rows of the tables; no eval rows without an eval table.

    Raises UserError for a table that cannot be read, or that names no clip.
    """
    rows = Rows([], [])
    rows.train = _read_table(data, root, data.train, "data.train", rows)
    if data.eval:
        rows.eval = _read_table(data, root, data.eval, "data.eval", rows)
    return rows


def hold_out(rows: Rows, data: Data, seed: int, is_usable: Callable[[Row], bool]) -> Rows:
    """With `data.eval_share` of each speaker's usable clips held out, unless a table names those.

    The seed decides which. Raises UserError if it is none.
    """
    if data.eval:
        return rows
    by_speaker: dict[str, list[Row]] = {}
    for row in filter(is_usable, rows.train):
        by_speaker.setdefault(str(row["speaker_name"]), []).append(row)
    held_out: list[Row] = []
    for speaker in sorted(by_speaker):
        clips = sorted(by_speaker[speaker], key=lambda row: row["audio_file"])
        random.Random(f"{seed}/{speaker}").shuffle(clips)
        held_out += clips[: round(data.eval_share * len(clips))]
    usable = sum(map(len, by_speaker.values()))
    if usable and not held_out:
        raise UserError(
            f"data.eval_share is {data.eval_share}: no clip of {usable} is held out; raise it, or"
            " name a table with data.eval"
        )
    names = {row["audio_file"] for row in held_out}
    return replace(rows, train=[row for row in rows.train if row["audio_file"] not in names], eval=held_out)


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


def for_coqui(rows: Rows, data: Data, root: Path, folder: Path, final: Path) -> BaseDatasetConfig:
    """`rows` as coqui's own trainer reads them: from the user's tables if it reads those as meant, or else from tables
    that are written into `folder`, which becomes `final`.
    """

    def content(found: Iterable[Row]) -> list[tuple[str, ...]]:
        return sorted((row["audio_file"], str(row["text"] or "").strip(), str(row["speaker_name"]).strip())
                      for row in found if os.path.exists(row["audio_file"]))  # fmt: skip

    config = dataset_config(data, root, data.train, data.eval or "")
    with suppress(Exception), _warnings([]):  # formatters fail in many ways; then their table is not read as meant
        train, held_out = load_tts_samples(BaseTTSConfig(datasets=[config]), eval_split=bool(data.eval))
        if content([*train, *held_out]) == content([*rows.train, *rows.eval]):
            return config
    for name, part in zip(PARTS, rows.parts, strict=True):
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="|", lineterminator="\n")
            writer.writerow(("audio_file", "text", "speaker_name"))
            writer.writerows((os.path.relpath(row["audio_file"], root), row["text"], row["speaker_name"])
                             for row in part)  # fmt: skip
    ours = data.model_copy(update={"formatter": "coqui"})
    return dataset_config(ours, root, *(str(final / f"{name}.csv") for name in PARTS))


def _read_table(data: Data, root: Path, table: str, key: str, found: Rows) -> list[Row]:
    if data.formatter.lower() not in _FORMATTER_REGISTRY:
        known = ", ".join(sorted(_FORMATTER_REGISTRY))
        raise UserError(f"data.formatter is {data.formatter!r}; coqui has {known}")
    path = root / table
    if table and not path.exists() and data.formatter != "sam_accenture":  # which adds a folder to the name
        tables = ", ".join(sorted(p.name for p in root.glob("*") if p.suffix in (".csv", ".tsv", ".txt"))[:10])
        raise UserError(f"{key} is {table!r}, and {path} does not exist; tables in this folder: {tables or 'none'}")
    reader = _ours if data.formatter in OURS else _coquis
    rows = reader(data, root, table, key, found)
    there = []
    for row in rows:
        row["audio_file"] = _located(row["audio_file"], found)
        if os.path.exists(row["audio_file"]):
            there.append(row)
        else:
            found.absent.append([row["audio_file"], table])
    if not there:
        absent = [f"{file}: not there" for file, _ in found.absent[:20]]
        what = (
            f"none of its {len(rows)} audio files exists" if rows else f"it names no clip that {data.formatter} finds"
        )
        raise UserError(f"{key} is {table!r}: {what}; correct the paths, data.path or data.formatter", absent)
    return there


def _ours(data: Data, root: Path, table: str, key: str, found: Rows) -> list[Row]:
    made = read_table(_content(root / table, key), f"{key} {table}")
    found.assumed += made.assumed
    found.remarks += made.left_out
    files, moved = _placed(root, Path(table).parent, [row.file for row in made.rows])
    if moved:
        found.assumed.append(f"{key} {table}: {moved}")
    default = OURS[data.formatter]
    return [
        {"audio_file": file, "text": row.text, "speaker_name": default if row.speaker is None else row.speaker,
         "language": data.language, "root_path": str(root)}
        for row, file in zip(made.rows, files, strict=True)
    ]  # fmt: skip


def _content(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{key}: {path} cannot be read ({error.strerror}); name a table") from error


def _placed(root: Path, beside: Path, names: Sequence[str]) -> tuple[list[str], str]:
    """The paths of the files, and how their names were completed: in the way that finds most of the first ones."""
    ways: dict[str, Callable[[str], str]] = {
        "": lambda name: name,
        "backslashes in the names of files are read as slashes": lambda name: name.replace("\\", "/"),
        "blanks beside slashes are no part of the names of files": lambda name: re.sub(r"\s*/\s*", "/", name),
        "its files lie beside it": lambda name: str(beside / name),
        "its files lie in wavs/": lambda name: f"wavs/{name}",
        "its files are named without .wav": lambda name: f"{name}.wav",
        "its files lie in wavs/ and are named without .wav": lambda name: f"wavs/{name}.wav",
    }
    said = max(ways, key=lambda said: sum(os.path.exists(os.path.join(root, ways[said](name))) for name in names[:20]))
    return [os.path.join(root, ways[said](name)) for name in names], said


def _located(file: str, found: Rows) -> str:
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


def _coquis(data: Data, root: Path, table: str, key: str, found: Rows) -> list[Row]:
    """As coqui's formatter reads it, without white space around texts and speakers."""
    with _warnings(found.remarks), _plain_table(data, root / table, key, found) as path:
        name = str(path) if path != root / table else table
        try:
            rows = _formatted(data, root, name)
        except Exception as error:  # formatters are 30 small parsers; each fails in its own way on a malformed table
            raise UserError(f"{key} is {table!r}: {_why(data, root, path)}; {_wanted(data)}") from error
    if any("text" not in row for row in rows):
        raise UserError(
            f"data.formatter is {data.formatter!r}, whose data has no texts; use one for speech with transcripts"
        )
    return [{**row, "text": str(row["text"] or "").strip(), "speaker_name": str(row["speaker_name"]).strip()}
            for row in rows]  # fmt: skip


def _formatted(data: Data, root: Path, table: str) -> list[Row]:
    config = BaseTTSConfig(datasets=[dataset_config(data, root, table)])
    rows: list[Row] = load_tts_samples(config, eval_split=False)[0]
    return rows


def _why(data: Data, root: Path, path: Path) -> str:
    """Why a formatter fails: the first line that it fails on by itself, or after the first line."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / path.name
        for number, line in enumerate(lines, 1):
            for content in (line, f"{lines[0]}\n{line}"):
                alone.write_text(f"{content}\n", encoding="utf-8")
                try:
                    _formatted(data, root, str(alone))
                    break
                except AssertionError:  # read, and no clip: a header, or a file that is absent
                    break
                except Exception:  # as above
                    continue
            else:
                return f"line {number} is {line[:60]!r}"
    return f"the {data.formatter} formatter finds no clip in {root}"


def _wanted(data: Data) -> str:
    """An example of the layout, from the formatter's documentation."""
    found = re.search(r"::\n\n\s*(.*)\n", _FORMATTER_REGISTRY[data.formatter.lower()].__doc__ or "")
    example = f", like {found[1]!r}" if found else ""
    return f"the layout of data.formatter {data.formatter!r} is wanted{example}"


@contextmanager
def _plain_table(data: Data, path: Path, key: str, found: Rows) -> Iterator[Path]:
    """`path`, or a copy that coqui's formatter understands: UTF-8 without a byte order mark and blank lines."""
    if not path.is_file() or data.formatter in ("mozilla_de", "sam_accenture"):  # Latin-1; XML
        yield path
        return
    content = _content(path, key)
    text = decoded(content, f"{key} {path.name}").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    _refuse_extra_columns(lines, f"{key} {path.name}")
    if data.formatter in _THIRD:
        lines = _third_filled(lines, f"{key} {path.name}", found)
    plain = "".join(f"{line}\n" for line in lines)
    if data.formatter in _BY_THE_TABLES_FOLDER and not content.startswith(plain[:1].encode()):
        raise UserError(
            f"{path} begins with a byte order mark or a blank line, which the {data.formatter!r} formatter cannot read:"
            " save it as UTF-8 without a byte order mark"
        )
    if plain.encode() in (content, content + b"\n") or data.formatter in _BY_THE_TABLES_FOLDER:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_text(plain, encoding="utf-8")
        yield copy


def _refuse_extra_columns(lines: Sequence[str], where: str) -> None:
    """Formatters take the columns that they want: a separator within a text would cut it short."""
    for separator in "|\t":
        counts = Counter(line.count(separator) for line in lines)
        usual, times = max(counts.items(), key=lambda item: item[1], default=(0, 0))
        if usual and 2 * times > len(lines):
            for line in lines:
                if line.count(separator) > usual:
                    raise UserError(
                        f"{where}: {line[:60]!r} has {line.count(separator) + 1} columns instead of {usual + 1}; take"
                        f" {separator!r} out of the text"
                    )


def _third_filled(lines: Sequence[str], where: str, found: Rows) -> list[str]:
    """Lines `id|text` and `id|text|` with the text in the third column, too."""
    cells = [line.split("|") for line in lines]
    if all(len(row) > 2 and row[2].strip() for row in cells):
        return list(lines)
    found.assumed.append(f"{where}: where the third column is empty, the text of the second is read")
    return ["|".join([*row[:2], row[1]]) if len(row) < 4 and not "".join(row[2:]).strip() else "|".join(row)
            for row in cells if len(row) > 1]  # fmt: skip


@contextmanager
def _warnings(into: list[str]) -> Iterator[None]:
    """Collects what coqui's formatters only log."""
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
