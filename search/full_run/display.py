"""What a full run shows: a bar with the time left in a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.show import styles
from search.show.plain import Log, tell
from search.show.progress import bar, is_live, leave, with_bar
from search.text import duration
from search.trial import Evaluation

STEP_LINE = 60.0  # seconds between lines of a plain view while there is no evaluation


class FullRunView(Protocol):
    """What a full run tells. A note stays, a status gives way to the next; `leave` as in `workers.events.View`."""

    def note(self, text: str) -> None: ...
    def status(self, text: str) -> None: ...
    def begin(self, horizon: int, step: int, evaluations: Sequence[Evaluation]) -> None: ...
    def stepped(self, step: int) -> None: ...
    def evaluated(self, evaluation: Evaluation) -> None: ...
    def refresh(self) -> None: ...
    def close(self) -> None: ...
    def leave(self) -> None: ...


class Pace:
    """How far a run is, about how much longer it takes, and its best evaluation."""

    def __init__(self) -> None:
        self.horizon = self.step = self.first = 0
        self.best: Evaluation | None = None
        self._since = time.monotonic()

    def begin(self, horizon: int, step: int, evaluations: Sequence[Evaluation]) -> None:
        self.horizon, self.step, self.first = horizon, step, step
        self._since = time.monotonic()
        for evaluation in evaluations:
            self.add(evaluation)

    def add(self, evaluation: Evaluation) -> bool:
        """Whether it is the best so far."""
        if not evaluation.is_finite or (self.best and self.best.mel_ce <= evaluation.mel_ce):
            return False
        self.best = evaluation
        return True

    @property
    def left(self) -> str:
        """By the pace of this process, evaluations and saving included; a rule may end the run sooner."""
        done = self.step - self.first
        if not done:
            return ""
        seconds = (time.monotonic() - self._since) / done * (self.horizon - self.step)
        return f"about {duration(seconds)} left" if self.step < self.horizon else ""


def evaluation_line(evaluation: Evaluation, horizon: int) -> str:
    e = evaluation
    line = f"step {e.step}/{horizon}  eval {e.mel_ce:.4f}  text {e.text_ce:.3f}  probe {e.probe_mel_ce:.4f}"
    return f"{line}  gap {e.gap:.2f}" + (f"  lr {e.lr:.3g}" if e.lr is not None else "")


class PlainFullRunView(Log):
    """One line an event, for pipes and logs."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._told = time.monotonic()

    def note(self, text: str) -> None:
        tell(text)

    status = note

    def begin(self, horizon: int, step: int, evaluations: Sequence[Evaluation]) -> None:
        self._pace.begin(horizon, step, evaluations)
        self._told = time.monotonic()

    def stepped(self, step: int) -> None:
        self._pace.step = step
        if time.monotonic() - self._told > STEP_LINE:
            self._told = time.monotonic()
            self.note(f"step {step}/{self._pace.horizon}  {self._pace.left}")

    def evaluated(self, evaluation: Evaluation) -> None:
        self._pace.step = evaluation.step
        self._told = time.monotonic()
        mark = "  (best so far)" if self._pace.add(evaluation) else ""
        self.note(f"{evaluation_line(evaluation, self._pace.horizon)}{mark}  {self._pace.left}".rstrip())


class LiveFullRunView:
    """A bar that redraws itself, with a line above it for each evaluation."""

    def __init__(self, console: Console) -> None:
        self._pace = Pace()
        self._status = ""
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def note(self, text: str) -> None:
        self._live.console.print(Text(text))

    def status(self, text: str) -> None:
        self._status = text
        self.refresh()

    def begin(self, horizon: int, step: int, evaluations: Sequence[Evaluation]) -> None:
        self._pace.begin(horizon, step, evaluations)
        self._status = ""

    def stepped(self, step: int) -> None:
        self._pace.step = step

    def evaluated(self, evaluation: Evaluation) -> None:
        self._pace.step = evaluation.step
        style = styles.BEST if self._pace.add(evaluation) else ""
        self._live.console.print(Text(evaluation_line(evaluation, self._pace.horizon), style=style))

    def refresh(self) -> None:
        self._live.update(self._draw(), refresh=True)

    def close(self) -> None:
        self._live.update("", refresh=True)
        self._live.stop()

    def leave(self) -> None:
        leave(self._live.console)

    def _draw(self) -> Table | Text:
        pace = self._pace
        if self._status or not pace.horizon:
            return Text(with_bar(self._status))
        row = Table.grid(padding=(0, 2))
        best = f"best {pace.best.mel_ce:.4f} at step {pace.best.step}" if pace.best else ""
        row.add_row(f"step {pace.step}/{pace.horizon}", bar(pace.step, pace.horizon, 20), best, pace.left)
        return row


def make_full_run_view() -> FullRunView:
    """`LiveFullRunView` in a terminal, `PlainFullRunView` in a pipe and in one that cannot redraw or draw bars."""
    console = Console()
    return LiveFullRunView(console) if is_live(console) else PlainFullRunView()
