"""What a search tells while it runs, and what a view knows of it. The views themselves are the modules beside this."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from search.text import duration
from search.trial import INTERRUPTIONS, Evaluation, StopReason
from space.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Extent:
    """What there is to do, and what was done before."""

    trials: int  # finished ones, in all
    finished: int
    slots: int
    base_mel_ce: float  # of the untouched base model
    best: tuple[int, float] | None  # number and value of the best trial so far
    noun: str = "trial"  # what is counted
    n_increases: int | None = None  # rises in a row that end a trial; None without that rule
    min_delta: float = 0.0  # nats; a smaller rise is none


@dataclass(frozen=True)
class Start:
    """A trial that a slot has begun."""

    slot: int
    number: int
    point: Hyperparameters
    horizon: int  # optimizer steps
    label: str | None  # what it is, besides its number


@dataclass(frozen=True)
class End:
    """How the trial of a slot ended."""

    slot: int
    number: int
    reason: StopReason
    best: Evaluation | None
    error: str | None
    competes: bool = True  # whether its value alone may be the best: one that measures noise would win by luck

    @property
    def is_full_result(self) -> bool:
        return self.reason in (StopReason.FINISHED, StopReason.TWO_INCREASES)

    @property
    def is_failure(self) -> bool:
        return self.reason in INTERRUPTIONS and self.reason != StopReason.STOPPED_BY_USER


class View(Protocol):
    """What supervisor and preparation tell: a note stays, a status gives way to the next. Called from any thread.

    `leave` is called by the handler of a signal that ends the process at once: there nothing may wait for a lock.
    """

    def note(self, text: str) -> None: ...
    def status(self, text: str) -> None: ...
    def begin(self, extent: Extent) -> None: ...
    def counted(self, finished: int, best: tuple[int, float] | None) -> None: ...
    def started(self, start: Start) -> None: ...
    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None: ...
    def ended(self, end: End) -> None: ...
    def refresh(self) -> None: ...
    def close(self) -> None: ...
    def leave(self) -> None: ...


@dataclass
class Run:
    """A trial in a slot."""

    start: Start
    since: float  # seconds, of the monotonic clock
    evaluations: list[Evaluation] = field(default_factory=list)
    last_at: float = 0.0

    @property
    def step(self) -> int:
        return self.evaluations[-1].step if self.evaluations else 0

    @property
    def last(self) -> Evaluation | None:
        return self.evaluations[-1] if self.evaluations else None

    @property
    def rose(self) -> bool:
        """With its last evaluation."""
        return len(self.evaluations) > 1 and self.evaluations[-1].mel_ce > self.evaluations[-2].mel_ce

    def rises(self, min_delta: float) -> int:
        """How many evaluations in a row, up to the last one, rose by more than `min_delta`."""
        values = [e.mel_ce for e in self.evaluations]
        count = 0
        while count + 1 < len(values) and values[-1 - count] - values[-2 - count] > min_delta:
            count += 1
        return count

    @property
    def remaining_seconds(self) -> float | None:
        """By its own pace, if no rule ends it sooner; None before its first evaluation."""
        if not self.step:
            return None
        whole = (self.last_at - self.since) / self.step * self.start.horizon
        return max(0.0, whole - (time.monotonic() - self.since))


class Board:
    """The state of a search as told so far, from which the views draw. Its users hold `lock` while they use it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.extent = Extent(0, 0, 0, 0.0, None)  # until the search begins
        self.finished = 0
        self.best: tuple[int, float] | None = None  # trial, nats
        self.runs: dict[int, Run] = {}  # by slot
        self.reasons: Counter[StopReason] = Counter()
        self.since = time.monotonic()

    @property
    def noun(self) -> str:
        return self.extent.noun

    def begin(self, extent: Extent) -> None:
        self.extent, self.finished, self.best = extent, extent.finished, extent.best
        self.since = time.monotonic()

    def counted(self, finished: int, best: tuple[int, float] | None) -> None:
        """What the study has by now, of all machines: numbers of several threads, of which a later one may be older."""
        self.finished = max(self.finished, finished)
        if best and (self.best is None or best[1] < self.best[1]):
            self.best = best

    def started(self, start: Start) -> None:
        self.runs[start.slot] = Run(start, time.monotonic())

    def evaluated(self, slot: int, evaluation: Evaluation) -> Run:
        run = self.runs[slot]
        run.evaluations.append(evaluation)
        run.last_at = time.monotonic()
        return run

    def ended(self, end: End) -> bool:
        """Whether the trial is the best so far, of those that compete; another slot may have counted it already."""
        self.runs.pop(end.slot, None)
        self.reasons[end.reason] += 1
        if not (end.competes and end.is_full_result and end.best):
            return False
        if self.best and self.best[0] != end.number and self.best[1] <= end.best.mel_ce:
            return False
        self.best = (end.number, end.best.mel_ce)
        return True

    @property
    def remaining_seconds(self) -> float | None:
        """By the pace of this search; None before its first trial has ended, and once none is left."""
        done, left = self.finished - self.extent.finished, self.extent.trials - self.finished
        return (time.monotonic() - self.since) / done * left if done and left > 0 else None

    @property
    def standing(self) -> list[str]:
        """How many have finished, the best, the base and the time left."""
        parts = [f"{self.finished}/{self.extent.trials} {self.noun}s"]
        if self.best:
            parts.append(f"best {self.best[1]:.4f} (trial {self.best[0]})")
        if self.extent.trials:
            parts.append(f"base {self.extent.base_mel_ce:.4f}")
        left = self.remaining_seconds
        return parts if left is None else [*parts, f"{duration(left)} left"]

    @property
    def endings(self) -> list[str]:
        """How many trials of this search ended for which reason."""
        return [f"{count} {reason}" for reason, count in self.reasons.most_common()]

    def summary(self) -> str:
        """All of it in one line."""
        finished, *rest = self.standing
        return "  ".join([finished, *self.endings, *rest])


class Watched:
    """What views for people have in common: a board, and how it learns of the numbers of the whole study."""

    def __init__(self) -> None:
        self._board = Board()

    def begin(self, extent: Extent) -> None:
        with self._board.lock:
            self._board.begin(extent)

    def counted(self, finished: int, best: tuple[int, float] | None) -> None:
        with self._board.lock:
            self._board.counted(finished, best)
