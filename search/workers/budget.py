"""The caps of a study over all its machines: no run starts that cannot end within them (docs/budget.md).

The trials of the study and of its confirmation say what was spent, the leases of those that run what is being spent,
and the records of those that have ended how long the next one takes. Nothing else is stored, so all machines agree.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

import optuna

from search.settings.sections import CONFIRMATION
from search.settings.settings import Settings
from search.study import findings, recorded, spending
from search.study.database import StudyStorage
from search.study.findings import Findings, Row
from search.study.leases import Leases, machine
from search.study.ledger import FINISHED_STATES, Claim, Lease, Ledger
from search.study.optuna_private import FINISHED, StudyCache
from search.study.spending import HOUR, Held, hours
from search.text import duration
from search.trial import Prepared
from search.workers.cost import Cost, Pace, pace


def search_budget(
    settings: Settings, database: StudyStorage, prepared: Prepared, devices: Sequence[str | None], costs: Sequence[Cost]
) -> "Budget | None":
    """Of a search, with a share for all of `costs` but its own; None without a cap."""
    run = Cost("trial", 1, settings.trial_horizon(prepared.train_clips), settings.training.evaluations, 1)
    aside = [cost for cost in costs if cost.name != "search"]
    return Budget(settings, database, settings.study.name, devices, run, aside) if _is_capped(settings) else None


def confirmation_budget(
    settings: Settings, database: StudyStorage, prepared: Prepared, devices: Sequence[str | None]
) -> "Budget | None":
    """Of a confirmation; None without a cap."""
    steps, name = settings.full_evaluation_steps(prepared.train_clips), settings.study.name + CONFIRMATION
    run = Cost("full run", 1, steps[-1], len(steps), 1)
    return Budget(settings, database, name, devices, run) if _is_capped(settings) else None


def _is_capped(settings: Settings) -> bool:
    return settings.study.gpu_hours is not None or settings.study.until is not None


def no_room(settings: Settings) -> str | None:
    """Why runs are missing that nobody stopped and other machines did not make; None without a cap."""
    return "the budget has no room for more; a larger one goes on (docs/budget.md)" if _is_capped(settings) else None


def share(devices: Sequence[str | None]) -> float:
    """The part of a GPU that each of a machine's slots has; 0 on a CPU."""
    gpus = {device for device in devices if device is not None}
    return len(gpus) / len(devices)


def slot_pace(found: Findings) -> Pace | None:
    """`pace`, whose set-up has all for which a run holds its slot besides: the start of its process, and speech."""
    known = pace(found)
    parts = ("setup_seconds", "train_seconds", "evaluation_seconds")
    rest = [
        held.seconds - sum(row.record[part] for part in parts)
        for row in found.rows
        if row.record
        for held in spending.ended([row.trial])
    ]
    return replace(known, set_up=known.set_up + max(0.0, median(rest))) if known and rest else known


@dataclass(frozen=True)
class Look:
    """A study, with its confirmation, at one moment."""

    runs: list[Held]  # all that have ended or run
    running: list[Held]  # those of them that run, of the study itself
    alive: int  # RUNNING trials of the study itself
    begun: int  # its trials that run or have ended
    ended: int  # trials of both that have ended
    finished: int  # its COMPLETE and PRUNED trials


class Budget:
    """What is left under `study.gpu_hours` and `study.until`, for the slots of this machine.

    Args:
        name: Of the study whose trials are claimed: the search or its confirmation.
        run: What one of its runs is.
        aside: What is to come after it, for which a share is kept.
    """

    def __init__(
        self,
        settings: Settings,
        database: StudyStorage,
        name: str,
        devices: Sequence[str | None],
        run: Cost,
        aside: Sequence[Cost] = (),
    ) -> None:
        self._cap = None if settings.study.gpu_hours is None else settings.study.gpu_hours * HOUR
        self._until = None if settings.study.until is None else datetime.fromisoformat(settings.study.until)
        self._gpus, self._slots = share(devices), len(devices)
        self._run, self._aside = run, aside
        both = {settings.study.name, settings.study.name + CONFIRMATION}
        names = [name, *(both.intersection(optuna.get_all_study_names(database)) - {name})]
        self._studies = [optuna.load_study(study_name=each, storage=StudyCache(database)) for each in names]
        self._ledgers = [Ledger(database, database.get_study_id_from_name(each)) for each in names]
        self._measured: tuple[int, dict[str | None, Pace]] = (-1, {})
        self.refused: str | None = None  # why the last claim was refused
        self.is_over = False  # whether nothing runs that could leave room for another run

    def claim(self, leases: Leases, total: int | None) -> Claim:
        """As `Leases.claim`. No trial is given for whose whole run there is no room."""
        while True:
            now = self._look()
            is_enough = total is not None and now.finished + now.alive >= total
            self.refused = None if is_enough else self._refusal(now)
            self.is_over = bool(self.refused) and not now.alive
            if self.refused:
                return Claim(None, now.finished, None)
            claim = leases.claim(total, now.begun)
            if not claim.is_stale:
                return claim

    def __str__(self) -> str:
        """Where it stands before the first claim."""
        now = self._look()
        spent = [] if self._cap is None else [f"{hours(self._spent(now))} of {hours(self._cap)} {self._unit} are spent"]
        ends = [] if self._until is None else [f"the last run ends by {self._until:%Y-%m-%d %H:%M}"]
        first = [] if self._pace(now) else [f"one {self._run.name} at a time until one has shown how long it takes"]
        return f"budget: {'; '.join([*spent, *ends, *first])}"

    @property
    def is_spent(self) -> bool:
        """Whether a cap is reached, so that runs end at their next evaluation."""
        now = self._look()
        if self._until and time.time() + self._wall(self._pace(now)) >= self._until.timestamp():
            return True
        return self._cap is not None and self._spent(now) + self._kept(self._pace(now)) >= self._cap

    def _refusal(self, now: Look) -> str | None:
        """Why no run starts. Before a run has told how long one takes, one at a time starts."""
        known, noun = self._pace(now), self._run.name
        if known is None and now.alive:
            return f"the first {noun} shows how long one takes"
        takes = known.seconds(self._run) if known else 0.0
        left = f"finished {noun}s: {now.finished:,}"
        if self._until and time.time() + takes + self._wall(known) > self._until.timestamp():
            kept = f", and the confirmation up to {duration(self._wall(known))}" if self._aside and known else ""
            return (
                f"the time is over: a {noun} takes {duration(takes)}{kept}, and study.until is"
                f" {self._until:%Y-%m-%d %H:%M}; {left}; the same command with a later --until goes on"
            )
        spent, kept_seconds = self._spent(now), self._kept(known)
        if self._cap is not None and spent + self._promised(now) + takes * self._weight + kept_seconds > self._cap:
            kept = f", {hours(kept_seconds)} are kept for the confirmation" if kept_seconds else ""
            return (
                f"the budget is spent: {hours(spent)} of {hours(self._cap)} {self._unit}; a {noun} takes"
                f" {hours(takes * self._weight)}{kept}; {left}; the same command with more --gpu-hours goes on"
            )
        return None

    @property
    def _weight(self) -> float:
        return self._gpus or 1.0

    @property
    def _unit(self) -> str:
        return "GPU h" if self._gpus else "slot h"

    def _spent(self, now: Look) -> float:
        """Weighted seconds, of GPUs or, where this machine has none, of CPU slots."""
        found = spending.total(now.runs)
        return found.gpu if self._gpus else found.cpu

    def _promised(self, now: Look) -> float:
        """Weighted seconds that the running trials are expected to take yet."""
        runs = [run for run in now.running if bool(run.gpus) == bool(self._gpus)]
        paces = [(run, self._pace(now, run.machine)) for run in runs]
        return sum(max(0.0, known.seconds(self._run) - run.seconds) * run.weight for run, known in paces if known)

    def _kept(self, known: Pace | None) -> float:
        """Weighted seconds for what is to come, at its most."""
        return sum(known.seconds(cost) for cost in self._aside) * self._weight if known else 0.0

    def _wall(self, known: Pace | None) -> float:
        """Seconds for what is to come, on this machine's slots."""
        return sum(known.seconds(cost) / min(self._slots, cost.at_once) for cost in self._aside) if known else 0.0

    def _pace(self, now: Look, of: str | None = None) -> Pace | None:
        """Of the runs of a machine, this one by default; of all where it has none. None before a run has ended."""
        if self._measured[0] != now.ended:
            self._measured = now.ended, self._paces()
        known = self._measured[1]
        return known.get(of or machine(), known.get(None))

    def _paces(self) -> dict[str | None, Pace]:
        """By machine, and of all."""
        read = [findings.read(study) for study in self._studies]
        rows = [row for found in read for row in found.rows]
        machines: dict[str | None, list[Row]] = {None: rows}
        for row in rows:
            if name := recorded.part(row.trial.system_attrs.get("owner"), "machine"):
                machines.setdefault(name, []).append(row)
        paces = {name: slot_pace(replace(read[0], rows=those)) for name, those in machines.items()}
        return {name: known for name, known in paces.items() if known}

    def _look(self) -> Look:
        """Leases are read first: a trial that ends in between is counted once, as an ended one."""
        leases = [ledger.look()[1] for ledger in self._ledgers]
        trials = [study.get_trials(deepcopy=False, states=FINISHED) for study in self._studies]
        ended = [{trial.number for trial in those} for those in trials]
        alive = [[x for x in those if x.number not in done] for those, done in zip(leases, ended, strict=True)]
        runs = [run for those in trials for run in spending.ended(those)]
        running = [[run for lease in those if (run := _running(lease))] for those in alive]
        return Look(
            [*runs, *(run for those in running for run in those)],
            running[0],
            len(alive[0]),
            len(alive[0]) + len(trials[0]),
            sum(map(len, trials)),
            sum(trial.state in FINISHED_STATES for trial in trials[0]),
        )


def _running(lease: Lease) -> Held | None:
    return spending.held(lease.number, lease.owner, "running", lease.age)
