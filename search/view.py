"""What a search shows while it runs: a live table in a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.progress import with_bar
from search.trial import Evaluation, StopReason
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


class View(Protocol):
    """What supervisor and preparation tell: a note stays, a status gives way to the next. Called from any thread."""

    def note(self, text: str) -> None: ...
    def status(self, text: str) -> None: ...
    def begin(self, extent: Extent) -> None: ...
    def counted(self, finished: int, best: tuple[int, float] | None) -> None: ...
    def started(self, slot: int, number: int, point: Hyperparameters, horizon: int, label: str | None) -> None: ...
    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None: ...
    def ended(
        self,
        slot: int,
        number: int,
        reason: StopReason,
        best: Evaluation | None,
        error: str | None,
        competes: bool = True,
    ) -> None: ...
    def refresh(self) -> None: ...
    def close(self) -> None: ...


@dataclass
class Run:
    """A trial in a slot."""

    number: int
    point: Hyperparameters
    horizon: int
    label: str | None
    last: Evaluation | None = None
    before: Evaluation | None = None


class Board:
    """The state of a search as told so far, from which both views draw."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.trials = self.finished = self.slots = self.first_finished = 0
        self.base_mel_ce: float | None = None
        self.best: tuple[int, float] | None = None  # trial, nats
        self.noun = "trial"  # what is counted
        self.runs: dict[int, Run] = {}
        self.reasons: Counter[StopReason] = Counter()
        self.since = time.monotonic()

    def begin(self, extent: Extent) -> None:
        self.trials, self.finished, self.slots = extent.trials, extent.finished, extent.slots
        self.first_finished = extent.finished
        self.base_mel_ce, self.best, self.noun = extent.base_mel_ce, extent.best, extent.noun
        self.since = time.monotonic()

    def counted(self, finished: int, best: tuple[int, float] | None) -> None:
        """What the study has by now, of all machines: numbers of several threads, of which a later one may be older."""
        self.finished = max(self.finished, finished)
        if best and (self.best is None or best[1] < self.best[1]):
            self.best = best

    def ended(self, slot: int, number: int, reason: StopReason, best: Evaluation | None, competes: bool = True) -> bool:
        """Whether the trial is the best so far, of those that compete: one that measures noise would win by luck."""
        self.runs.pop(slot, None)
        self.reasons[reason] += 1
        full = reason in (StopReason.FINISHED, StopReason.TWO_INCREASES)
        if not (competes and full and best and (self.best is None or best.mel_ce < self.best[1])):
            return False
        self.best = (number, best.mel_ce)
        return True

    @property
    def remaining_seconds(self) -> float | None:
        """By the pace of this search; None before its first trial has ended."""
        done = self.finished - self.first_finished
        return (time.monotonic() - self.since) / done * (self.trials - self.finished) if done else None

    def summary(self) -> str:
        """Counts, the best and the time left, in one line."""
        parts = [f"{self.finished}/{self.trials} {self.noun}s"]
        parts += [f"{count} {reason}" for reason, count in self.reasons.most_common()]
        if self.best:
            parts.append(f"best {self.best[1]:.4f} (trial {self.best[0]})")
        if self.base_mel_ce is not None:
            parts.append(f"base {self.base_mel_ce:.4f}")
        left = self.remaining_seconds
        if left is not None:
            parts.append(f"{duration(left)} left")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """2 h 05 m, 3 m 20 s, 12 s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} m"
    return f"{whole // 60} m {whole % 60:02} s" if whole >= 60 else f"{whole} s"


class PlainView:
    """One line an event, for pipes and logs."""

    def __init__(self) -> None:
        self._board = Board()

    def note(self, text: str) -> None:
        self._print(text)

    status = note

    def begin(self, extent: Extent) -> None:
        self._board.begin(extent)

    def counted(self, finished: int, best: tuple[int, float] | None) -> None:
        with self._board.lock:
            self._board.counted(finished, best)

    def started(self, slot: int, number: int, point: Hyperparameters, horizon: int, label: str | None) -> None:
        name = f" ({label})" if label else ""
        self._print(f"{self._board.noun} {number}{name}  started  {point.describe()}")

    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None:
        e = evaluation
        self._print(
            f"{self._board.noun} {number}  step {e.step}  eval {e.mel_ce:.4f}  text {e.text_ce:.3f}  gap {e.gap:.2f}"
        )

    def ended(
        self,
        slot: int,
        number: int,
        reason: StopReason,
        best: Evaluation | None,
        error: str | None,
        competes: bool = True,
    ) -> None:
        with self._board.lock:
            first = self._board.ended(slot, number, reason, best, competes)
            value = f"  best {best.mel_ce:.4f} at step {best.step}" if best else ""
            mark = "  (best so far)" if first else ""
            why = f"  {error}" if error else ""
            self._print(f"{self._board.noun} {number}  {reason}{value}{mark}{why}")
            self._print(self._board.summary())

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _print(self, text: str) -> None:
        with self._board.lock:
            print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


class LiveView:
    """A table of the running trials that redraws itself, with a line above it for each that has ended."""

    def __init__(self, console: Console) -> None:
        self._board = Board()
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()
        self._status = ""

    def note(self, text: str) -> None:
        with self._board.lock:
            self._live.console.print(Text(text))

    def status(self, text: str) -> None:
        with self._board.lock:
            self._status = text
            self.refresh()

    def begin(self, extent: Extent) -> None:
        with self._board.lock:
            self._board.begin(extent)

    def counted(self, finished: int, best: tuple[int, float] | None) -> None:
        with self._board.lock:
            self._board.counted(finished, best)

    def started(self, slot: int, number: int, point: Hyperparameters, horizon: int, label: str | None) -> None:
        with self._board.lock:
            self._board.runs[slot] = Run(number, point, horizon, label)

    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None:
        with self._board.lock:
            run = self._board.runs[slot]
            run.before, run.last = run.last, evaluation

    def ended(
        self,
        slot: int,
        number: int,
        reason: StopReason,
        best: Evaluation | None,
        error: str | None,
        competes: bool = True,
    ) -> None:
        with self._board.lock:
            run = self._board.runs.get(slot)
            first = self._board.ended(slot, number, reason, best, competes)
            line = Text(f"{self._board.noun} {number:<4}")
            line.append(f"{reason:<15}", style="bold" if first else _STYLES.get(reason, ""))
            line.append(f"{best.mel_ce:8.4f}" if best else "       -", style="bold green" if first else "")
            line.append(f"  {run.point.describe() if run else ''}")
            line.append(f"  {run.label}" if run and run.label else "", style="cyan")
            line.append(f"  {error}" if error else "", style="red")
            self._live.console.print(line, overflow="ellipsis", no_wrap=True)

    def refresh(self) -> None:
        with self._board.lock:
            self._live.update(self._draw(), refresh=True)

    def close(self) -> None:
        with self._board.lock:
            self._live.stop()

    def _draw(self) -> Group | Text:
        board = self._board
        if not board.trials:
            return Text(with_bar(self._status), style="dim")
        table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
        for name in ("slot", board.noun, "step", "", "eval", "gap"):
            table.add_column(name, justify="right" if name else "left", no_wrap=True)
        table.add_column("parameters", ratio=1, no_wrap=True, overflow="ellipsis")  # the one that gives way
        for slot, run in sorted(board.runs.items()):
            step = run.last.step if run.last else 0
            table.add_row(
                str(slot),
                str(run.number),
                f"{step}/{run.horizon}",
                ProgressBar(run.horizon, step, width=10),
                _trend(run),
                f"{run.last.gap:.2f}" if run.last else "",
                Text(run.point.describe() + (f"  {run.label}" if run.label else "")),
            )
        overall = Table.grid(padding=(0, 2))
        overall.add_row(ProgressBar(board.trials, board.finished, width=24), Text(board.summary(), style="bold"))
        return Group(Text(""), table, Text(""), overall)


_STYLES = {
    StopReason.MEDIAN: "dim",
    StopReason.TWO_INCREASES: "yellow",
    StopReason.DIVERGED: "red",
    StopReason.CRASHED: "red",
    StopReason.OUT_OF_MEMORY: "red",
}


def _trend(run: Run) -> Text:
    """The last evaluation, with an arrow where it rose."""
    if run.last is None:
        return Text("…", style="dim")
    rose = run.before is not None and run.last.mel_ce > run.before.mel_ce
    return Text(f"{run.last.mel_ce:.4f}{' ↑' if rose else '  '}", style="yellow" if rose else "")


def make_view() -> View:
    """`LiveView` in a terminal, `PlainView` in a pipe."""
    return LiveView(Console()) if sys.stdout.isatty() else PlainView()
