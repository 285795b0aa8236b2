"""What a full run shows: a bar with the time left in a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.show import styles
from search.show.plain import tell
from search.show.progress import LiveScreen, bar, is_live, with_bar
from search.text import duration
from search.trial import Evaluation
from search.workers.events import Screen

STEP_LINE = 60.0  # seconds between lines of a plain view while there is no evaluation


class FullRunView(Screen):
    """Knows how far a full run is, about how much longer it takes, and its best evaluation."""

    def __init__(self) -> None:
        self.horizon = self.step = self._first = 0
        self.best: Evaluation | None = None
        self._since = time.monotonic()

    def begin(self, horizon: int, step: int, evaluations: Sequence[Evaluation]) -> None:
        """Training starts after `step`, with the evaluations made before."""
        self.horizon, self.step, self._first = horizon, step, step
        self._since = time.monotonic()
        for evaluation in evaluations:
            self._is_best(evaluation)

    def stepped(self, step: int) -> None:
        self.step = step

    def evaluated(self, evaluation: Evaluation) -> None:
        e, self.step = evaluation, evaluation.step
        line = f"step {e.step}/{self.horizon}  eval {e.mel_ce:.4f}  text {e.text_ce:.3f}  probe {e.probe_mel_ce:.4f}"
        line += f"  gap {e.gap:.2f}" + (f"  lr {e.lr:.3g}" if e.lr is not None else "")
        self._show(line, self._is_best(evaluation))

    def _show(self, line: str, is_best: bool) -> None:
        """Shows the line of an evaluation."""

    def _is_best(self, evaluation: Evaluation) -> bool:
        """Whether it is the best so far, which it then replaces."""
        if not evaluation.is_finite or (self.best and self.best.mel_ce <= evaluation.mel_ce):
            return False
        self.best = evaluation
        return True

    @property
    def left(self) -> str:
        """At the pace of this process, evaluations and saving included; a rule may end the run sooner."""
        done = self.step - self._first
        if done <= 0 or self.step >= self.horizon:
            return ""
        return f"about {duration((time.monotonic() - self._since) / done * (self.horizon - self.step))} left"


class PlainFullRunView(FullRunView):
    """One line per event, for pipes and logs."""

    def __init__(self) -> None:
        super().__init__()
        self._told = time.monotonic()

    def note(self, text: str) -> None:
        self._told = time.monotonic()
        tell(text)

    status = note

    def stepped(self, step: int) -> None:
        super().stepped(step)
        if time.monotonic() - self._told > STEP_LINE:
            self.note(f"step {step}/{self.horizon}  {self.left}")

    def _show(self, line: str, is_best: bool) -> None:
        self.note(f"{line}{'  (best so far)' if is_best else ''}  {self.left}".rstrip())


class LiveFullRunView(FullRunView):
    """A bar that redraws itself, with a line above it for each evaluation."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._screen = LiveScreen(console)
        self._status = ""

    def note(self, text: str) -> None:
        self._screen.print(Text(text))

    def status(self, text: str) -> None:
        self._status = text
        self.refresh()

    def begin(self, horizon: int, step: int, evaluations: Sequence[Evaluation]) -> None:
        super().begin(horizon, step, evaluations)
        self._status = ""

    def refresh(self) -> None:
        self._screen.draw(self._draw())

    def close(self) -> None:
        self._screen.close()

    def leave(self) -> None:
        self._screen.leave()

    def _show(self, line: str, is_best: bool) -> None:
        self._screen.print(Text(line, style=styles.BEST if is_best else ""))

    def _draw(self) -> Table | Text:
        if self._status or not self.horizon:
            return Text(with_bar(self._status))
        row = Table.grid(padding=(0, 2))
        best = f"best {self.best.mel_ce:.4f} at step {self.best.step}" if self.best else ""
        row.add_row(f"step {self.step}/{self.horizon}", bar(self.step, self.horizon, 20), best, self.left)
        return row


def make_full_run_view() -> FullRunView:
    """`LiveFullRunView` in a terminal, `PlainFullRunView` in a pipe and in one that cannot redraw or draw bars."""
    console = Console()
    return LiveFullRunView(console) if is_live(console) else PlainFullRunView()
