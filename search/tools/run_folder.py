"""The checkpoints of any run: what is on the disk, what logs and files claim, what they are measured to be.

Reads coqui's run folders (of any version of its trainer), a log alone, and the full runs of `study.py train`. Loads no
torch: files are opened and measured by `search.tools.checkpoint`, in a process of its own. Writes nothing there.
"""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.text import printable
from search.tools import corrections
from search.tools.corrections import Accumulation, EpochLosses
from search.tools.run_log import Log, read_log
from search.trial import Evaluation

DEPTH = 3  # folders below the given one in which runs are looked for
MOST_RUNS = 50

_STOCK = re.compile(r"(best_model|checkpoint)(?:_(\d{1,12}))?\.pth(?:\.tar)?$")
_NO_RUN = {"dvae.pth", "mel_stats.pth", "mel_norms.pth", "speakers_xtts.pth"}  # files of a base
_LOG = re.compile(r"trainer_(\d+)_log\.txt$")


@dataclass
class Checkpoint:
    """One file. `step` counts micro-steps where coqui's trainer wrote it, optimizer steps in our runs."""

    path: Path
    name: str  # below the run's folder
    kind: str  # "best" and "checkpoint" of coqui's trainer, "our best", "our last", "other"
    size: int  # bytes; 0 where it cannot be read
    modified: float  # seconds since the epoch
    step: int | None = None
    epoch: int | None = None  # from 0
    date: str | None = None  # as the trainer wrote it into the file
    claimed_train: float | None = None  # `model_loss` in the file, divided by the accumulation as in the log
    claimed_eval: float | None = None
    evaluation: Evaluation | None = None
    same_as: str | None = None  # an earlier file with the same GPT weights
    reason: str | None = None  # why it is not measured


@dataclass
class Run:
    """One run folder, or a log alone."""

    path: Path
    checkpoints: list[Checkpoint] = field(default_factory=list)
    config: dict[str, Any] | None = None  # its config.json
    log: Log | None = None
    accumulation: Accumulation | None = None
    losses: list[EpochLosses] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)  # of a run of ours: honest as they are
    notes: list[str] = field(default_factory=list)
    unreadable: str | None = None  # why its log is not read

    @property
    def is_ours(self) -> bool:
        return bool(self.evaluations) or any(c.kind.startswith("our ") for c in self.checkpoints)


@dataclass
class Report:
    """All that was found. Without a measurement `unmeasured` says why, and what to give."""

    path: Path
    runs: list[Run]
    measured_on: str | None = None  # the data, in words
    base: Evaluation | None = None  # the untouched base model, measured alike
    base_reason: str | None = None  # why it is not
    unmeasured: str | None = None

    @property
    def checkpoints(self) -> list[Checkpoint]:
        return [c for run in self.runs for c in run.checkpoints]


def read(path: Path, accumulation: int | None) -> Report:
    """What `path` holds, a run folder, a folder of them, or a log, as files and logs claim it. Raises UserError."""
    if not path.exists():
        raise UserError(f"{printable(str(path))} does not exist; give a run folder, a folder of runs, or a log")
    if path.is_file():
        if path.suffix in (".pth", ".pt", ".tar"):
            raise UserError(f"{printable(str(path))} is one file; give the folder that it lies in")
        runs = [_read_file(path, accumulation)]
    else:
        runs = _read_folders(path, accumulation)
    return Report(path, runs)


def _read_folders(path: Path, accumulation: int | None) -> list[Run]:
    folders = list(_run_folders(path, 0))
    if not folders:
        raise UserError(
            f"{printable(str(path))} has no checkpoints and no logs in it, and neither have the folders below; give a"
            " run folder of coqui's trainer (trainer_0_log.txt, best_model.pth) or of study.py train"
        )
    if len(folders) > MOST_RUNS:
        raise UserError(f"{printable(str(path))} holds {len(folders)} runs; give one of them, or at most {MOST_RUNS}")
    runs = [_read_folder(folder, accumulation) for folder in folders]
    if len(runs) == 1 and runs[0].unreadable and not runs[0].checkpoints:
        raise UserError(runs[0].unreadable)
    return runs


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    try:
        names = {entry.name for entry in folder.iterdir()}
        below = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.is_symlink())
    except OSError as error:
        if depth == 0:
            raise UserError(f"{printable(str(folder))} cannot be read: {error.strerror}") from error
        return
    if "evaluations.csv" in names or any(map(_marks_a_run, names)) or _state_files(folder):
        yield folder
    elif depth < DEPTH:
        for entry in below:
            if entry.name != "trials":  # a search's: many, and without checkpoints
                yield from _run_folders(entry, depth + 1)


def _marks_a_run(name: str) -> bool:
    return bool(_STOCK.match(name) or _LOG.match(name) or name.startswith("events.out.tfevents"))


def _state_files(folder: Path) -> list[Path]:
    return [file for name in ("best.pth", "last.pth") if (file := folder / "state" / name).is_file()]


def _read_file(path: Path, accumulation: int | None) -> Run:
    run = Run(path)
    if path.name.startswith("events.out.tfevents"):
        from search.tools.tensorboard_events import read_events  # tensorboard

        run.log = read_events(path)
    elif path.suffix == ".csv":
        run.evaluations = _evaluations(path)
    else:
        run.log = read_log(path)
    if run.log and (_LOG.match(path.name) or path.name.startswith("events.")):
        run.config = _config(path.parent / "config.json", run.notes)
    _correct(run, accumulation)
    return run


def _read_folder(folder: Path, accumulation: int | None) -> Run:
    run = Run(folder, _checkpoints(folder))
    run.config = _config(folder / "config.json", run.notes)
    try:
        if (folder / "evaluations.csv").is_file():
            run.evaluations = _evaluations(folder / "evaluations.csv")
        run.log = _folder_log(folder)
    except UserError as error:
        run.unreadable = str(error)  # the checkpoints, or the other runs, can be told all the same
        run.notes.append(run.unreadable)
    _correct(run, accumulation)
    return run


def _folder_log(folder: Path) -> Log | None:
    """The text log of the lowest rank, or else TensorBoard's scalars; None without either."""
    ranks = {int(found[1]): file for file in folder.iterdir() if (found := _LOG.match(file.name))}
    if ranks:
        return read_log(ranks[min(ranks)])
    if any(file.name.startswith("events.out.tfevents") for file in folder.iterdir()):
        from search.tools.tensorboard_events import read_events  # tensorboard

        return read_events(folder)
    return None


def _correct(run: Run, given: int | None) -> None:
    if run.log is None:
        return
    weight = corrections.text_weight(run.config)
    run.accumulation = corrections.accumulation(run.log, given)
    run.losses = corrections.corrected(run.log, run.accumulation.steps, weight)
    run.notes += corrections.sentences(run.log, run.losses, run.accumulation, run.config, weight)
    for checkpoint in run.checkpoints:
        epoch = next((e for e in run.losses if e.best_model == checkpoint.name), None)
        if epoch and checkpoint.epoch is None:
            checkpoint.epoch = epoch.epoch


def _checkpoints(folder: Path) -> list[Checkpoint]:
    """The files with weights, in the order of their steps; best models first."""
    found = []
    for file in sorted(folder.iterdir()):
        stock = _STOCK.match(file.name)
        if stock:
            kind = "best" if stock[1] == "best_model" else "checkpoint"
            found.append(_file(folder, file, kind, int(stock[2]) if stock[2] else None))
        elif file.suffix == ".pth" and file.name not in _NO_RUN:
            found.append(_file(folder, file, "other", None))
    found.sort(key=lambda c: (c.kind, c.step is None, c.step or 0, c.name))
    return found + [_file(folder, file, f"our {file.stem}", None) for file in _state_files(folder)]


def _file(folder: Path, file: Path, kind: str, step: int | None) -> Checkpoint:
    name = file.relative_to(folder).as_posix()
    try:
        status = file.stat()
        return Checkpoint(file, name, kind, status.st_size, status.st_mtime, step)
    except OSError as error:
        return Checkpoint(file, name, kind, 0, 0.0, step, reason=f"cannot be read: {error.strerror}")


def _config(path: Path, notes: list[str]) -> dict[str, Any] | None:
    """The run's config.json; None where there is none, or with a note where it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"config.json cannot be read: {error}")
        return None
    return content if isinstance(content, dict) else None


def _evaluations(path: Path) -> list[Evaluation]:
    """The rows of a run of ours. Raises UserError."""
    names = ("mel_ce", "text_ce", "probe_mel_ce", "probe_text_ce")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                Evaluation(
                    step=int(row["step"]),
                    **{name: float(row[name]) for name in names},
                    train_loss=float(row["train_loss"]) if row.get("train_loss") else None,
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{printable(str(path))} cannot be read as the evaluations of a run: {error!r}") from error
