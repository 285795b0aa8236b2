"""What a search prints in terminals of several sizes and colours."""

import io
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from search.show.plain import PlainView
from search.show.terminal import LiveView, draw, make_view
from search.trial import StopReason
from search.workers.events import End, Extent, Start
from search.workers.listeners import Listeners
from search.workers.scoreboard import Board
from space.hyperparameters import Hyperparameters
from tests.test_view import POINT, evaluation, tell

LONG = Hyperparameters(4e-4, 0.14, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), 0.5, 1.0, 5.0, 6)


class Terminal(Listeners):
    """A search with a live display of some size, and what it wrote."""

    def __init__(self, width: int, height: int = 40, **console: Any) -> None:
        super().__init__()
        self.file = io.StringIO()
        kind = {"color_system": None, "_environ": {}, **console}
        self.console = Console(file=self.file, force_terminal=True, width=width, height=height, **kind)
        self.view = LiveView(self.board, self.console)
        self.add(self.view)

    @property
    def shown(self) -> str:
        """All of it, once nothing more is told."""
        self.view.close()
        return self.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 132, 200])
def test_a_terminal_gets_a_live_table(width: int) -> None:
    terminal = Terminal(width)
    tell(terminal)
    shown = terminal.shown
    for part in ("data: 60 training clips", "two_increases", "24/120", "2.4500 ↑", "2/10", "(trial 1)", "exit code -9"):
        assert part in shown
    table = [line for line in shown.splitlines() if "24/120" in line][-1]
    assert "lr 4.00e-04" in table  # the last parameters give way
    assert ("clip 1" in table) == (width > 100)
    assert ("1 of 2" in table) == ("▁█" in table) == (width > 100)
    assert ("time left" in shown) == (width > 100)


@pytest.mark.parametrize(("count", "shown"), [(1, "1 of 2"), (2, "2 of 3")])
def test_by_auto_a_trial_that_outlives_its_rises_ends_with_the_next(count: int, shown: str) -> None:
    terminal = Terminal(200)
    terminal.begin(Extent(10, 0, 1, 2.9, None, n_increases=2, min_delta="auto"))
    terminal.started(Start(0, 1, POINT, 120, None))
    for i in range(count + 1):
        terminal.evaluated(0, 1, evaluation(12 * i, 2.4 + 0.01 * i))
    terminal.refresh()
    assert shown in terminal.shown


def test_a_changed_width_draws_all_anew() -> None:
    terminal = Terminal(120)
    tell(terminal)
    before = len(terminal.file.getvalue())
    terminal.console.size = (80, 24)  # type: ignore[assignment]
    terminal.refresh()
    anew = terminal.shown[before:]
    after = anew[anew.index("\x1b[2J") :]
    assert "data: 60 training clips" in after and "exit code -9" in after and "24/120" in after
    assert max(len(line) for line in Text.from_ansi(after).plain.splitlines()) <= 80


# What fits


def board(slots: int, noun: str = "trial", label: str | None = None) -> Board:
    """Each slot's last evaluation is lower than that of the slot before; the last two slots have none."""
    board = Board()
    board.begin(Extent(1000, 100, slots, 2.9134, (57, 2.4127), noun, 2))
    board.reasons.update(dict.fromkeys(StopReason, 100))
    board.since -= 3600
    board.counted(200, None)
    for slot in range(slots):
        board.started(Start(slot, 100 + slot, LONG, 12000, label))
        board.runs[slot].since -= 60
        if slot < max(1, slots - 2):
            board.evaluated(slot, evaluation(1200, 3 - 0.01 * slot))
    return board


@pytest.mark.parametrize("width", [60, 110, 200])
@pytest.mark.parametrize(("slots", "height", "rows"), [(1, 24, 1), (40, 24, 16), (16, 10, 2), (16, 1, 1)])
@pytest.mark.parametrize(("noun", "label"), [("trial", None), ("run", "a baseline with a long name, seed 2147483647")])
def test_it_fits_the_terminal(width: int, slots: int, height: int, rows: int, noun: str, label: str | None) -> None:
    console = Console(file=io.StringIO(), record=True, width=width, height=height, _environ={})
    console.print(draw(board(slots, noun, label), "", console.size))
    lines = console.export_text().splitlines()
    assert len(lines) < max(height, 10)
    assert max(map(len, lines)) <= width
    table = [line for line in lines if "/12000" in line]
    assert all((label or "lr 4.00e-04")[:8] in row for row in table)
    for part in (f"200/1000 {noun}s", "best 2.4127 (trial 57)", "base 2.9134", "8 h 00 m left", "100 finished"):
        assert any(part in line for line in lines), "whole, and in one line"
    shown = [int(row.split()[0]) for row in table]
    best = range(22, 38) if slots == 40 else range(14 - rows, 14) if rows < slots else range(slots)
    assert shown == list(best), "the lowest, by slot; those without an evaluation come last"
    assert (f"and {slots - rows} more" in lines) == (slots > rows)


@pytest.mark.parametrize(
    ("tty", "term", "encoding", "kind"),
    [
        (True, "xterm", "utf-8", LiveView),
        (True, "dumb", "utf-8", PlainView),
        (True, "xterm", "iso8859-1", PlainView),
        (False, "xterm", "utf-8", PlainView),
    ],
)
def test_a_view_for_each_output(
    monkeypatch: pytest.MonkeyPatch, tty: bool, term: str, encoding: str, kind: type
) -> None:
    monkeypatch.setenv("TERM", term)
    out = type("Output", (io.TextIOWrapper,), {"isatty": lambda _: tty})(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", out)
    view = make_view(Board())
    view.close()
    assert type(view) is kind


def test_hostile_labels_and_errors_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal, pipe = Terminal(200), Listeners()
    pipe.add(PlainView(pipe.board))
    for each in (terminal, pipe):
        each.begin(Extent(10, 0, 1, 2.9, None))
        each.started(Start(0, 1, POINT, 120, "\x1b]0;owned\x07"))
        each.refresh()
        each.ended(End(0, 1, StopReason.CRASHED, None, "\x1b[31mred\nline"))
        terminal.view.close()  # a live view takes what is printed
    for shown in (terminal.shown, capsys.readouterr().out):
        assert "\x1b]0" not in shown and "\x1b[31m" not in shown
        assert "\\x1b[31mred\\x0aline" in shown
