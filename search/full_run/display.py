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
from search.ties import lowest
from search.trial import Evaluation
from search.workers.events import Screen

STEP_LINE = 60.0  # seconds between lines of a plain view while there is no evaluation


class FullRunView(Screen):
    """One line per event, for pipes and logs. Knows how far the run is, and about how much longer it takes."""

    def __init__(self) -> None:
        self.horizon = self.step = self._first = 0
        self._evaluations: list[Evaluation] = []
        self._since = self._told = time.monotonic()

    @property
    def best(self) -> Evaluation | None:
        return lowest(self._evaluations)

    @property
    def left(self) -> str:
        """At the pace of this process, evaluations and saving included; a rule may end the run sooner."""
        done = self.step - self._first
        if done <= 0 or self.step >= self.horizon:
            return ""
        return f"about {duration((time.monotonic() - self._since) / done * (self.horizon - self.step))} left"

    def note(self, text: str) -> None:
        self._told = time.monotonic()
        tell(text)

    status = note

    def begin(self, horizon: int, step: int, evaluations: Sequence[Evaluation]) -> None:
        """Training starts after `step`, with the evaluations made before."""
        self.horizon, self.step, self._first = horizon, step, step
        self._since = time.monotonic()
        self._evaluations += evaluations

    def stepped(self, step: int) -> None:
        self.step = step
        if time.monotonic() - self._told > STEP_LINE:
            self.note(f"step {step}/{self.horizon}  {self.left}")

    def evaluated(self, evaluation: Evaluation) -> None:
        e, self.step = evaluation, evaluation.step
        self._evaluations.append(e)
        line = f"step {e.step}/{self.horizon}  eval {e.mel_ce:.4f}  text {e.text_ce:.3f}  probe {e.probe_mel_ce:.4f}"
        line += f"  gap {e.gap:.2f}" + (f"  lr {e.lr:.3g}" if e.lr is not None else "")
        self.show(line, self.best is e)

    def show(self, line: str, is_best: bool) -> None:
        """Shows the line of an evaluation."""
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

    def stepped(self, step: int) -> None:
        self.step, self._status = step, ""

    def show(self, line: str, is_best: bool) -> None:
        self._screen.print(Text(line, style=styles.BEST if is_best else ""))

    def refresh(self) -> None:
        if self._status or not self.horizon:
            self._screen.draw(Text(with_bar(self._status)))
            return
        row = Table.grid(padding=(0, 2))
        best = f"best {self.best.mel_ce:.4f} at step {self.best.step}" if self.best else ""
        row.add_row(f"step {self.step}/{self.horizon}", bar(self.step, self.horizon, 20), best, self.left)
        self._screen.draw(row)

    def close(self) -> None:
        self._screen.close()

    def leave(self) -> None:
        self._screen.leave()


def make_full_run_view() -> FullRunView:
    """`LiveFullRunView` in a terminal, `FullRunView` in a pipe and in one that cannot redraw or draw bars."""
    console = Console()
    return LiveFullRunView(console) if is_live(console) else FullRunView()
