"""The rows of a corpus: tables in coqui's own layout by our reader, others by coqui's formatters."""

import csv
import os
import random
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from TTS.config.shared_configs import BaseDatasetConfig
from TTS.tts.configs.shared_configs import BaseTTSConfig
from TTS.tts.datasets import load_tts_samples
from TTS.tts.datasets.formatters import _FORMATTER_REGISTRY

from search.check.survey import PARTS
from search.errors import UserError
from search.preparation.coqui_tables import (
    Row,
    Rows,
    content_of,
    dataset_config,
    located,
    read_by_coqui,
    warnings_into,
)
from search.preparation.table_reader import read_table
from search.settings.sections import Data
from search.settings.settings import refuse_absent

# Formatters whose layout is read here, and the speaker of a table that names none.
# coqui's own reader of Common Voice takes the ids of sentences, which newer tables have, as texts.
OURS = {"coqui": "coqui", "cml_tts": "default", "common_voice": "common_voice"}


def read_rows(data: Data, root: Path, seed: int) -> Rows:
    """`read` and `hold_out`, as if every clip whose file is there could be used."""
    rows = read(data, root)
    rows.train, rows.eval = ([row for row in part if not row["fault"]] for part in rows.parts)
    return hold_out(rows, data, seed)


def read(data: Data, root: Path) -> Rows:
    """The rows of the tables; no eval rows without an eval table.

    Raises UserError for a table that cannot be read, or that names no clip.
    """
    rows = Rows([], [])
    rows.train = _read_table(data, root, data.train, "data.train", rows)
    if data.eval:
        rows.eval = _read_table(data, root, data.eval, "data.eval", rows)
    return rows


def hold_out(rows: Rows, data: Data, seed: int) -> Rows:
    """With `data.eval_share` of each speaker's clips without a fault held out, unless a table names those.

    The seed decides which. Raises UserError if it is none.
    """
    if data.eval:
        return rows
    by_speaker: dict[str, list[Row]] = {}
    for row in rows.train:
        if not row["fault"]:
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


def for_coqui(rows: Rows, data: Data, root: Path, folder: Path, final: Path) -> BaseDatasetConfig:
    """`rows` as coqui's own trainer reads them: from the user's tables if it reads those as meant, or else from tables
    that are written into `folder`, which becomes `final`.
    """

    def content(found: Iterable[Row]) -> list[tuple[str, ...]]:
        return sorted((row["audio_file"], str(row["text"] or "").strip(), str(row["speaker_name"]).strip())
                      for row in found if os.path.exists(row["audio_file"]))  # fmt: skip

    config = dataset_config(data, root, data.train, data.eval or "")
    with suppress(Exception), warnings_into([]):  # formatters fail in many ways; then their table is not read as meant
        train, held_out = load_tts_samples(BaseTTSConfig(datasets=[config]), eval_split=bool(data.eval))
        if content([*train, *held_out]) == content([*rows.train, *rows.eval]):
            return config
    for name, part in zip(PARTS, rows.parts, strict=True):
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="|", lineterminator="\n")
            writer.writerow(("audio_file", "text", "speaker_name"))
            writer.writerows((os.path.relpath(row["audio_file"], root), row["text"], row["speaker_name"])
                             for row in part if os.path.exists(row["audio_file"]))  # fmt: skip
    ours = data.model_copy(update={"formatter": "coqui"})
    return dataset_config(ours, root, *(str(final / f"{name}.csv") for name in PARTS))


def _read_table(data: Data, root: Path, table: str, key: str, found: Rows) -> list[Row]:
    if data.formatter.lower() not in _FORMATTER_REGISTRY:
        known = ", ".join(sorted(_FORMATTER_REGISTRY))
        raise UserError(f"data.formatter is {data.formatter!r}; coqui has {known}")
    if table and data.formatter != "sam_accenture":  # which adds a folder to the name
        refuse_absent(root, table, key)
    reader = _ours if data.formatter in OURS else read_by_coqui
    rows = reader(data, root, table, key, found)
    for row in rows:
        row["audio_file"] = located(row["audio_file"], found)
        row["fault"] = None if os.path.exists(row["audio_file"]) else "the file does not exist"
    if all(row["fault"] for row in rows):
        what = f"none of its {len(rows)} audio files exists" if rows else f"{data.formatter} finds no clip in it"
        absent = [f"{row['audio_file']}: not there" for row in rows[:20]]
        raise UserError(f"{key} is {table!r}: {what}; correct the paths, data.path or data.formatter", absent)
    return rows


def _ours(data: Data, root: Path, table: str, key: str, found: Rows) -> list[Row]:
    made = read_table(content_of(root / table, key), f"{key} {table}", found.assumed, found.remarks)
    files, moved = _placed(root, Path(table).parent, [row.file for row in made])
    if moved:
        found.assumed.append(f"{key} {table}: {moved}")
    default = OURS[data.formatter]
    return [
        {"audio_file": file, "text": row.text, "speaker_name": default if row.speaker is None else row.speaker,
         "language": data.language, "root_path": str(root)}
        for row, file in zip(made, files, strict=True)
    ]  # fmt: skip


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
        "its files lie in clips/": lambda name: f"clips/{name}",
        "its files lie in clips/ as .wav": lambda name: f"clips/{os.path.splitext(name)[0]}.wav",
    }
    if len(set(map(_last, names))) == len(set(names)):
        ways["folders in the names of files are not there and are left out"] = _last
        ways["folders in the names of files are not there, and wavs/ is read"] = lambda name: f"wavs/{_last(name)}"
    said = max(ways, key=lambda said: sum(os.path.exists(os.path.join(root, ways[said](name))) for name in names[:20]))
    return [os.path.join(root, ways[said](name)) for name in names], said


def _last(name: str) -> str:
    """Without folders, which may be those of another computer."""
    return re.split(r"[\\/]", name)[-1]
