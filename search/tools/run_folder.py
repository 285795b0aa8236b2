"""The checkpoints of any run: what is on the disk, what logs and files claim, what they are measured to be.

Reads coqui's run folders (of any version of its trainer), a log alone, and the full runs of `study.py train`. Loads no
torch: files are opened and measured by `search.tools.bench`, in a process of its own. Writes nothing there.
"""

import csv
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainSerializer

from search.errors import UserError
from search.text import printable
from search.tools.corrections import EpochLosses, accumulation, corrected, sentences, text_weight
from search.tools.run_log import read_log
from search.trial import Evaluation

NAME_A_TABLE = "name a table of clips that the run did not train on, by data.eval"
_TABLES = ("model_args", "audio", "lr_scheduler_params")  # of config.json
DEPTH = 3  # folders below the given one in which runs are looked for

_STOCK = re.compile(r"(best_model|checkpoint)(?:_(\d{1,12}))?\.pth$")
_NOT_OF_A_RUN = {"dvae.pth", "mel_stats.pth", "mel_norms.pth", "speakers_xtts.pth"}  # files of a base


# With its gap, in a document.
Measured = Annotated[Evaluation, PlainSerializer(lambda e: {**asdict(e), "gap": e.gap})]


@dataclass
class Checkpoint:
    """One file. `step` counts micro-steps where coqui's trainer wrote it, optimizer steps in our runs."""

    path: Path
    name: str  # below the run's folder
    kind: str  # "best" and "checkpoint" of coqui's trainer, "our best", "our last", "other"
    size: int = 0  # bytes; 0 where it cannot be read
    modified: float = 0.0  # seconds since the epoch
    step: int | None = None
    epoch: int | None = None  # from 0
    claimed_train: float | None = None  # `model_loss` in the file, divided by the accumulation as in the log
    claimed_eval: float | None = None
    evaluation: Measured | None = None
    same_as: str | None = None  # an earlier file with the same GPT weights
    reason: str | None = None  # why it is not measured

    @property
    def is_ours(self) -> bool:
        return self.kind.startswith("our ")


@dataclass
class LoggedRun:
    """One run folder, or a log alone."""

    path: Path
    checkpoints: list[Checkpoint] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)  # its config.json; empty where none can be read
    accumulation: int | None = None  # of its log
    batches: int | None = None  # of an epoch, by its log
    epochs: list[EpochLosses] = field(default_factory=list)
    evaluations: list[Measured] = field(default_factory=list)  # of a run of ours: correct as they are
    notes: list[str] = field(default_factory=list)

    @property
    def is_ours(self) -> bool:
        return bool(self.evaluations) or any(c.is_ours for c in self.checkpoints)


@dataclass
class Inspection:
    """All that was found. Without a measurement `unmeasured` says why, and what to give."""

    path: Path
    runs: list[LoggedRun]
    measured_on: str | None = None  # the data, in words
    base: Measured | None = None  # the untouched base model, measured in the same way
    base_reason: str | None = None  # why it is not
    unmeasured: str | None = None
    unsure: str | None = None  # why it is not known whether the runs trained on the eval clips

    @property
    def checkpoints(self) -> list[Checkpoint]:
        return [c for run in self.runs for c in run.checkpoints]


def inspect_runs(path: Path, accumulation: int | None) -> Inspection:
    """What `path` holds, a run folder, a folder of them, or a log, as files and logs claim it. Raises UserError."""
    if not path.exists():
        raise UserError(f"{printable(str(path))} does not exist; give a run folder, a folder of runs, or a log")
    places = [path] if path.is_file() else list(_run_folders(path))
    if not places:
        raise UserError(
            f"{printable(str(path))} contains no checkpoints and no logs, nor do the folders below; give a run folder"
            " of coqui's trainer (trainer_0_log.txt, best_model.pth) or of study.py train"
        )
    runs = []
    for place in places:
        run = LoggedRun(place, [] if place.is_file() else _checkpoints(place))
        try:
            _read(run, accumulation)
        except UserError as error:
            if len(places) == 1 and not run.checkpoints:
                raise
            run.notes.append(str(error))  # its checkpoints, and the other runs, are shown all the same
        runs.append(run)
    return Inspection(path, runs)


def _run_folders(path: Path) -> Iterator[Path]:
    for name, below, files in os.walk(path):  # which follows no links
        folder = Path(name)
        is_run = any(map(_STOCK.match, files)) or bool(_state_files(folder)) or _source(folder) is not None
        if is_run:
            yield folder
        is_deepest = is_run or len(folder.relative_to(path).parts) == DEPTH
        below[:] = [] if is_deepest else sorted({*below} - {"trials"})  # a search's have no checkpoints


def _source(folder: Path) -> Path | None:
    """What tells the course of a run: our evaluations, or its log of the lowest rank."""
    ours = folder / "evaluations.csv"
    return ours if ours.is_file() else min(folder.glob("trainer_*_log.txt"), default=None)


def _state_files(folder: Path) -> list[Path]:
    return [file for name in ("best.pth", "last.pth") if (file := folder / "state" / name).is_file()]


def _read(run: LoggedRun, given: int | None) -> None:
    """Adds its config.json, and what its log or evaluations tell. Raises UserError where these cannot be read."""
    is_log = run.path.is_file()
    run.config = config = _config((run.path.parent if is_log else run.path) / "config.json", run.notes)
    source = run.path if is_log else _source(run.path)
    if source is None:
        return
    if source.suffix == ".csv":
        run.evaluations = _evaluations(source)
        return
    log = read_log(source)
    run.batches = log.batches
    run.accumulation, how = accumulation(log, given)
    run.epochs = [corrected(epoch, run.accumulation, text_weight(config)) for epoch in log.epochs]
    run.notes += [how, *sentences(log, run.epochs, run.accumulation, config)]
    for checkpoint in run.checkpoints:
        checkpoint.epoch = next((e.epoch for e in run.epochs if e.best_model == checkpoint.name), None)


def _checkpoints(folder: Path) -> list[Checkpoint]:
    """The files with weights, in the order of their steps; best models first."""
    found = []
    for file in sorted(folder.iterdir()):
        stock = _STOCK.match(file.name)
        if stock:
            kind = "best" if stock[1] == "best_model" else "checkpoint"
            found.append(Checkpoint(file, file.name, kind, step=int(stock[2]) if stock[2] else None))
        elif file.suffix == ".pth" and file.name not in _NOT_OF_A_RUN:
            found.append(Checkpoint(file, file.name, "other"))
    found.sort(key=lambda c: (c.kind, c.step is None, c.step or 0, c.name))
    found += [Checkpoint(file, f"state/{file.name}", f"our {file.stem}") for file in _state_files(folder)]
    for checkpoint in found:
        with suppress(OSError):  # a link to a file that is gone: why it is not measured is said when it is opened
            status = checkpoint.path.stat()
            checkpoint.size, checkpoint.modified = status.st_size, status.st_mtime
    return found


def _config(path: Path, notes: list[str]) -> dict[str, Any]:
    """The run's config.json, whose tables are tables whatever it holds; empty, with a note, if it cannot be read."""
    try:
        content = {} if not path.exists() else json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"config.json cannot be read: {error}")
        return {}
    if not isinstance(content, dict) or not content:
        return {}
    listed = content.get("datasets")
    datasets = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    tables = {name: found if isinstance(found := content.get(name), dict) else {} for name in _TABLES}
    return {**content, **tables, "datasets": datasets}


def _evaluations(path: Path) -> list[Evaluation]:
    """The rows of a run of ours. Raises UserError."""
    names = ("mel_ce", "text_ce", "probe_mel_ce", "probe_text_ce")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                Evaluation(int(row["step"]), **{name: float(row[name]) for name in names})
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{printable(str(path))} cannot be read as the evaluations of a run: {error!r}") from error
