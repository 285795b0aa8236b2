"""The caps of a study over all its machines: no run starts that cannot end within them (docs/budget.md)."""

import math
import time
from collections.abc import Sequence
from datetime import datetime

from search.settings.sections import CONFIRMATION
from search.settings.settings import Settings
from search.study.database import StudyStorage
from search.study.leases import Leases
from search.study.ledger import Claim
from search.study.spending import HOUR, Amount, hours
from search.text import duration
from search.trial import Prepared
from search.workers.books import Books, Look
from search.workers.cost import Cost
from search.workers.events import Standing, View


def search_budget(
    settings: Settings,
    database: StudyStorage,
    prepared: Prepared,
    devices: Sequence[str | None],
    costs: Sequence[Cost],
    view: View,
) -> "Budget | None":
    """Of a search, with a share for all of `costs` but its own; None without a cap."""
    if not _is_capped(settings):
        return None
    run = Cost("trial", 1, settings.trial_horizon(prepared.train_clips), settings.training.evaluations, 1)
    aside = [cost for cost in costs if cost.name != "search"]
    return Budget(settings, Books(database, settings.study.name), devices, run, view, aside)


def confirmation_budget(
    settings: Settings, database: StudyStorage, prepared: Prepared, devices: Sequence[str | None], view: View
) -> "Budget | None":
    """Of a confirmation; None without a cap."""
    if not _is_capped(settings):
        return None
    steps = settings.full_evaluation_steps(prepared.train_clips)
    run = Cost("full run", 1, steps[-1], len(steps), 1)
    return Budget(settings, Books(database, settings.study.name + CONFIRMATION), devices, run, view)


def _is_capped(settings: Settings) -> bool:
    return settings.study.gpu_hours is not None or settings.study.until is not None


def no_room(settings: Settings) -> str | None:
    """Why runs are missing that nobody stopped and other machines did not make; None without a cap."""
    return "the budget has no room for more; a larger one goes on (docs/budget.md)" if _is_capped(settings) else None


def share(devices: Sequence[str | None]) -> float:
    """The part of a GPU that each of a machine's slots has; 0 on a CPU."""
    gpus = {device for device in devices if device is not None}
    return len(gpus) / len(devices)


class Budget:
    """What is left under `study.gpu_hours` and `study.until`, for the slots of this machine.

    Seconds are those of a slot; what has a cap is weighted by the slot's share of a GPU. Where this machine has none,
    the slots of CPUs are counted.

    Args:
        run: What one of the runs is that are claimed.
        view: Hears where the budget stands, at once and whenever a run starts or no further one may.
        aside: What is to come after these runs, for which a share is kept.
    """

    def __init__(
        self,
        settings: Settings,
        books: Books,
        devices: Sequence[str | None],
        run: Cost,
        view: View,
        aside: Sequence[Cost] = (),
    ) -> None:
        hours_in_all = settings.study.gpu_hours
        self._cap = math.inf if hours_in_all is None else hours_in_all * HOUR
        self._until = None if settings.study.until is None else datetime.fromisoformat(settings.study.until)
        self._gpus, self._slots = share(devices), len(devices)
        self._weight, self._unit = self._gpus or 1.0, "GPU h" if self._gpus else "slot h"
        self._books, self._run, self._view, self._aside = books, run, view, aside
        self.refused: str | None = None  # why the last claim was refused
        self.is_over = False  # whether nothing runs that could leave room for another run
        now = self._books.look()
        view.note(self._start(now))
        self._tell(now)

    def claim(self, leases: Leases, total: int | None) -> Claim:
        """As `Leases.claim`. No trial is given for whose whole run there is no room."""
        while True:
            now, was_refused = self._books.look(), self.refused is not None
            is_enough = total is not None and now.finished + now.alive >= total
            self.refused = None if is_enough else self._refusal(now)
            self.is_over = bool(self.refused) and not now.alive
            if self.refused:
                if not was_refused:
                    self._view.note(f"no further {self._run.name} starts now: {self.refused}")
                    self._tell(now)
                return Claim(None, now.finished, None)
            claim = leases.claim(total, now.begun)
            if claim.trial_id is not None:
                self._tell(now)
            if not claim.is_stale:
                return claim

    @property
    def is_spent(self) -> bool:
        """Whether a cap is reached, so that runs end at their next evaluation."""
        room, seconds = self._left(self._books.look())
        return room <= 0 or seconds <= 0

    def _refusal(self, now: Look) -> str | None:
        """Why no run starts. Before a run has told how long one takes, one at a time starts."""
        known, noun = now.pace(), self._run.name
        if known is None and now.alive:
            return f"the first {noun} shows how long one takes"
        takes = known.seconds(self._run) if known else 0.0
        (room, seconds), (kept, wall) = self._left(now), self._kept(now)
        left = f"finished {noun}s: {now.finished:,}"
        if seconds < takes:
            aside = f", and the confirmation up to {duration(wall)}" if wall else ""
            return (
                f"the time is over: a {noun} takes {duration(takes)}{aside}, and study.until is"
                f" {self._until:%Y-%m-%d %H:%M}; {left}; the same command with a later --until goes on"
            )
        if room < self._promised(now) + takes * self._weight:
            aside = f", {hours(kept)} are kept for the confirmation" if kept else ""
            return (
                f"the budget is spent: {hours(self._of(now.spent))} of {hours(self._cap)} {self._unit}; a {noun} takes"
                f" {hours(takes * self._weight)}{aside}; {left}; the same command with more --gpu-hours goes on"
            )
        return None

    def _left(self, now: Look) -> tuple[float, float]:
        """What is neither spent nor kept of each cap: weighted seconds, and seconds by the clock."""
        kept, wall = self._kept(now)
        until = self._until.timestamp() if self._until else math.inf
        return self._cap - self._of(now.spent) - kept, until - time.time() - wall

    def _kept(self, now: Look) -> tuple[float, float]:
        """For what is to come, in the units of `_left`: at its most, less the part that is spent already."""
        known = now.pace()
        if known is None or not self._aside:
            return 0.0, 0.0
        parts = [(known.seconds(cost), min(self._slots, cost.at_once)) for cost in self._aside]
        most = self._weight * sum(seconds for seconds, _ in parts)
        left = max(0.0, 1.0 - self._of(now.confirming) / most) if most else 0.0
        return left * most, left * sum(seconds / at_once for seconds, at_once in parts)

    def _promised(self, now: Look) -> float:
        """Weighted seconds that the running trials are expected to take yet."""
        runs = [run for run in now.running if bool(run.gpus) == bool(self._gpus)]
        paces = [(run, now.pace(run.machine)) for run in runs]
        return sum(max(0.0, known.seconds(self._run) - run.seconds) * run.weight for run, known in paces if known)

    def _of(self, amount: Amount) -> float:
        return amount.gpu if self._gpus else amount.cpu

    def _start(self, now: Look) -> str:
        """Where it stands before the first claim."""
        spent = f"{hours(self._of(now.spent))} of {hours(self._cap)} {self._unit} are spent"
        parts = [spent] if self._cap < math.inf else []
        parts += [f"the last run ends by {self._until:%Y-%m-%d %H:%M}"] if self._until else []
        parts += [] if now.pace() else [f"one {self._run.name} at a time until one has shown how long it takes"]
        return f"budget: {'; '.join(parts)}"

    def _tell(self, now: Look) -> None:
        cap = self._cap / HOUR if self._cap < math.inf else None
        until = self._until.isoformat() if self._until else None
        self._view.budget(Standing(self._of(now.spent) / HOUR, cap, self._unit, until, self.refused))
