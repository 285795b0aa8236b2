"""What a search tells while it runs: plain data, and the methods that are called with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from search.trial import FULL_RESULTS, INTERRUPTIONS, Evaluation, StopReason
from space.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Extent:
    """What there is to do, and what was done before."""

    trials: int  # finished trials wanted in all
    finished: int  # before this search
    slots: int
    base_mel_ce: float  # of the untouched base model
    best: tuple[int, float] | None  # number and value of the best trial so far
    noun: str = "trial"  # what is counted
    n_increases: int | None = None  # rises in a row that end a trial; None without that rule
    min_delta: float | Literal["auto"] = "auto"  # nats; a smaller rise does not count
    may_end_sooner: bool = False  # `trials` is the most that can be needed


@dataclass(frozen=True)
class Start:
    """A trial that a slot has begun."""

    slot: int
    number: int
    point: Hyperparameters
    horizon: int  # optimizer steps
    label: str | None  # such as "baseline V0"


@dataclass(frozen=True)
class End:
    """How the trial of a slot ended. The supervisor leaves the last two fields to the board."""

    slot: int
    number: int
    reason: StopReason
    best: Evaluation | None
    error: str | None
    competes: bool = True  # whether it may be the best: a repeat that measures noise would win by luck
    start: Start | None = None
    is_best: bool = False  # so far

    @property
    def is_full_result(self) -> bool:
        return self.reason in FULL_RESULTS

    @property
    def is_failure(self) -> bool:
        return self.reason in INTERRUPTIONS and self.reason != StopReason.STOPPED_BY_USER


@dataclass(frozen=True)
class Standing:
    """Where a study with a cap stands."""

    spent: float  # hours, of all machines
    cap: float | None  # hours
    unit: str  # "GPU h" or "slot h"
    until: str | None  # ISO time
    refused: str | None  # why no further run starts now


@dataclass(frozen=True)
class Part:
    """What a part of a study costs. Times are None before a run has shown how long one takes."""

    name: str  # "search", "rate line", "race" or "audit"
    runs: int  # at most
    steps: int  # optimizer steps, at most
    most: float | None = None  # seconds of slots, weighted by their share of a GPU
    most_by_clock: float | None = None  # seconds
    expected: float | None = None  # as `most`
    by_clock: float | None = None  # seconds that are expected


class Screen:
    """Hears what happens during any long work. Each method does nothing here: a listener overrides those it needs.

    Called from any thread, so a listener that takes long works in a thread of its own.
    """

    def note(self, text: str) -> None:
        """A line that stays."""

    def status(self, text: str) -> None:
        """What is being done; the next status replaces it."""

    def refresh(self) -> None:
        """Called several times a second."""

    def close(self) -> None:
        """No event follows."""

    def leave(self) -> None:
        """The process ends at once. A signal's handler calls this: nothing in it may wait for a lock."""


class View(Screen):
    """Hears what happens during a search or a confirmation."""

    def begin(self, extent: Extent) -> None:
        """The preparation is over, and slots start."""

    def counted(self, finished: int, best: tuple[int, float] | None, worth: str | None = None) -> None:
        """Finished trials of all machines, number and value of the best and the latest's worth, where asked for."""

    def started(self, start: Start) -> None: ...

    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None: ...

    def ended(self, end: End) -> None: ...

    def budget(self, standing: Standing) -> None:
        """At the start, when a run starts, and when no further one may. `note` says the same to people, but spared."""

    def forecast(self, parts: Sequence[Part], unit: str) -> None:
        """What is to come; the hours are in `unit`, "GPU h" or "slot h"."""

    def over(self, event: str, found: Mapping[str, Any]) -> None:
        """The last event of a command: "result", "stopped" or "error", with the fields that docs/terminal.md names."""
