"""What is known of a search so far, for all listeners."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal

from search.study.pruners import rises
from search.text import duration
from search.trial import Evaluation, StopReason
from search.workers.events import End, Extent, Start


@dataclass
class Run:
    """A trial in a slot."""

    start: Start
    since: float  # seconds of the monotonic clock
    evaluations: list[Evaluation] = field(default_factory=list)
    last_at: float = 0.0  # when the last evaluation came

    @property
    def step(self) -> int:
        return self.evaluations[-1].step if self.evaluations else 0

    @property
    def last(self) -> Evaluation | None:
        return self.evaluations[-1] if self.evaluations else None

    @property
    def rose(self) -> bool:
        """Whether its last evaluation is above the one before."""
        return len(self.evaluations) > 1 and self.evaluations[-1].mel_ce > self.evaluations[-2].mel_ce

    def rises(self, min_delta: float | Literal["auto"]) -> int:
        """How many evaluations in a row, up to the last one, rose by more than `min_delta`; by "auto", at all."""
        least = 0.0 if isinstance(min_delta, str) else min_delta
        return rises([e.mel_ce for e in self.evaluations], least)

    @property
    def remaining_seconds(self) -> float:
        """At its own pace, if no rule ends it sooner. Only after its first evaluation."""
        whole = (self.last_at - self.since) / self.step * self.start.horizon
        return max(0.0, whole - (time.monotonic() - self.since))


class Board:
    """What is known of a search so far. Listeners that read it hold `lock`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.begin(Extent(0, 0, 0, 0.0, None))  # until the search begins

    def begin(self, extent: Extent) -> None:
        self.extent, self.finished, self.best = extent, extent.finished, extent.best
        self.worth: str | None = None  # what the latest trials brought
        self.runs: dict[int, Run] = {}  # by slot
        self.reasons: Counter[StopReason] = Counter()
        self.since = time.monotonic()

    @property
    def noun(self) -> str:
        return self.extent.noun

    def counted(self, finished: int, best: tuple[int, float] | None, worth: str | None = None) -> None:
        """The counts come from several threads: a later call may bring older numbers."""
        self.worth = worth or self.worth
        self.finished = max(self.finished, finished)
        if best and (self.best is None or best[1] < self.best[1]):
            self.best = best

    def started(self, start: Start) -> None:
        self.runs[start.slot] = Run(start, time.monotonic())

    def evaluated(self, slot: int, evaluation: Evaluation) -> None:
        run = self.runs[slot]
        run.evaluations.append(evaluation)
        run.last_at = time.monotonic()

    def ended(self, end: End) -> End:
        """`end` with its start, and whether it is the best so far."""
        run = self.runs.pop(end.slot, None)
        self.reasons[end.reason] += 1
        is_best = end.competes and end.is_full_result and end.best is not None
        if is_best and self.best and self.best[0] != end.number:  # another slot may have counted this trial already
            is_best = end.best.mel_ce < self.best[1]  # type: ignore[union-attr]
        if is_best:
            self.best = (end.number, end.best.mel_ce)  # type: ignore[union-attr]
            self.worth = None  # it was told before this trial had ended
        return replace(end, start=run.start if run else None, is_best=is_best)

    @property
    def remaining_seconds(self) -> float | None:
        """At the pace of this search; None before its first trial has ended, and when all have."""
        done, left = self.finished - self.extent.finished, self.extent.trials - self.finished
        return (time.monotonic() - self.since) / done * left if done and left > 0 else None

    @property
    def standing(self) -> list[str]:
        """How many have finished, the best, the base and the time left."""
        joint = " of at most " if self.extent.may_end_sooner else "/"
        parts = [f"{self.finished}{joint}{self.extent.trials} {self.noun}s"]
        if self.best:
            parts.append(f"best {self.best[1]:.4f} (trial {self.best[0]})")
        if self.extent.trials:
            parts.append(f"base {self.extent.base_mel_ce:.4f}")
        left = self.remaining_seconds
        parts += [] if left is None else [f"{duration(left)} left"]
        return [*parts, *([self.worth] if self.worth else [])]

    @property
    def endings(self) -> list[str]:
        """How many trials of this search ended for which reason."""
        return [f"{count} {reason}" for reason, count in self.reasons.most_common()]
