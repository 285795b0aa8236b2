"""A search in a terminal: a table of the running trials that redraws itself, below a line for each that has ended."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.show import styles
from search.show.plain import PlainView
from search.show.progress import LiveScreen, bar, is_live, with_bar
from search.text import duration, printable
from search.workers.events import End, Start, View
from search.workers.scoreboard import Board, Run

# Columns of the terminal from which there is room for these parts of the table.
BAR_FROM, TIME_FROM, COURSE_FROM = 72, 100, 130
AROUND = 8  # lines besides those of the slots, at most, with one for the lines above


class LiveView(View):
    """Draws on `console`, a terminal that understands cursor movements."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._screen = LiveScreen(console)
        self._status = ""

    def note(self, text: str) -> None:
        self._screen.print(Text(text))

    def status(self, text: str) -> None:
        self._status = text
        self.refresh()

    def ended(self, end: End) -> None:
        self._screen.print(ended_line(self._board.noun, end))

    def refresh(self) -> None:
        with self._screen.lock, self._board.lock:
            self._screen.draw(draw(self._board, self._status, self._screen.console.size))

    def close(self) -> None:
        self._screen.close()

    def leave(self) -> None:
        self._screen.leave()


def ended_line(noun: str, end: End) -> Text:
    """Aligned with those of other trials; what went wrong stands before the parameters."""
    style = styles.BEST if end.is_best else styles.FAILED if end.is_failure or end.best is None else ""
    line = Text(f"{noun} {end.number:<4} ", no_wrap=True)
    line.append(f"{end.reason:<15} ", style=style)
    line.append(f"{end.best.mel_ce:7.4f}" if end.best else "      -", style=styles.BEST if end.is_best else "")
    line.append(f"  {printable(end.error)}" if end.error else "", style=styles.FAILED)
    line.append(f"  {parameters(end.start)}" if end.start else "")
    return line


def draw(board: Board, status: str, size: tuple[int, int]) -> RenderableType:
    """What stands below the lines: the running trials and where the search is, in a terminal of (width, height)."""
    if not board.extent.trials:
        return Text(with_bar(status))
    width, height = size
    shown = interesting(list(board.runs.values()), max(1, height - AROUND))
    hidden = len(board.runs) - len(shown)
    more = [Text(f"and {hidden} more")] if hidden else []
    return Group(Text(""), slots(board, shown, width), *more, Text(""), *footer(board, width))


def interesting(runs: Sequence[Run], count: int) -> list[Run]:
    """At most `count` of them by slot: those with the lowest evaluations; one without any comes last."""
    ranked = sorted(runs, key=lambda run: (run.last is None, run.last.mel_ce if run.last else run.start.slot))
    return sorted(ranked[:count], key=lambda run: run.start.slot)


def slots(board: Board, runs: Sequence[Run], width: int) -> Table:
    """The table of the running trials. Where it is wide, it also tells each one's time left and its course."""
    extent = board.extent
    table = Table(box=None, pad_edge=False, header_style="", expand=True)
    columns: list[tuple[str, int, Callable[[Run], RenderableType]]] = [  # name, width from which it is shown, cell
        ("slot", 0, lambda run: str(run.start.slot)),
        (extent.noun, 0, lambda run: str(run.start.number)),
        ("step", 0, lambda run: f"{run.step}/{run.start.horizon}"),
        ("", BAR_FROM, lambda run: bar(run.step, run.start.horizon, 10)),
        ("time left", TIME_FROM, lambda run: duration(run.remaining_seconds) if run.step else ""),
        ("eval", 0, lambda run: _trend(run, extent.min_delta)),
        ("gap", 0, lambda run: f"{run.last.gap:.2f}" if run.last else ""),
        ("rises", COURSE_FROM, lambda run: _rises(run, extent.n_increases or 0, extent.min_delta)),
        ("course", COURSE_FROM, lambda run: sparkline([e.mel_ce for e in run.evaluations])),
        ("parameters", 0, lambda run: Text(parameters(run.start))),
    ]
    shown = [column for column in columns if width >= column[1] and (extent.n_increases or column[0] != "rises")]
    for name, _, _ in shown[:-1]:
        table.add_column(name, justify="left" if name in ("", "course") else "right", no_wrap=True)
    table.add_column(shown[-1][0], ratio=1, no_wrap=True, overflow="ellipsis")  # the one that gives way
    for run in runs:
        table.add_row(*(cell(run) for _, _, cell in shown))
    return table


def footer(board: Board, width: int) -> Iterator[Text]:
    """Where the search is, in as many lines as it needs, and how trials ended, in one. No part is broken."""
    done = [bar(board.finished, board.extent.trials, 24 if width >= TIME_FROM else 10)] if width >= BAR_FROM else []
    yield Text("\n".join(packed([*done, *board.standing], width)), style="bold")
    if board.endings:
        yield Text("  ".join(board.endings), no_wrap=True, overflow="ellipsis")


def packed(parts: Sequence[str], width: int) -> list[str]:
    """The parts in lines of at most `width`, a line for one that is longer."""
    lines = [parts[0]]
    for part in parts[1:]:
        if cell_len(longer := f"{lines[-1]}  {part}") <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def parameters(start: Start) -> str:
    """What the trial is, then its hyperparameters, the learning rate first."""
    return (f"{printable(start.label)}  " if start.label else "") + start.point.describe()


def sparkline(values: Sequence[float], width: int = 12) -> str:
    """The last `width` of the values, between their lowest and their highest."""
    last = values[-width:]
    low, high = min(last, default=0.0), max(last, default=0.0)
    scale = 7 / (high - low) if high > low else 0.0
    return "".join("▁▂▃▄▅▆▇█"[round((value - low) * scale)] for value in last)


def _trend(run: Run, min_delta: float | Literal["auto"]) -> Text:
    """The last evaluation, with an arrow where it rose; coloured where the rise counts."""
    if run.last is None:
        return Text("…  ")
    style = styles.WARNING if run.rises(min_delta) else ""
    return Text(f"{run.last.mel_ce:.4f} {'↑' if run.rose else ' '}", style=style)


def _rises(run: Run, n_increases: int, min_delta: float | Literal["auto"]) -> Text:
    """So many rises of those that end the trial. By "auto" a trial may outlive them: then the next rise ends it."""
    count = run.rises(min_delta)
    enough = n_increases + (min_delta == "auto" and count >= n_increases)
    return Text(f"{count} of {enough}" if count else "", style=styles.WARNING)


def make_view(board: Board) -> View:
    """`LiveView` in a terminal, `PlainView` in a pipe and in a terminal that cannot redraw (TERM=dumb) or draw bars."""
    console = Console()
    return LiveView(board, console) if is_live(console) else PlainView(board)
