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
from tests.test_view import POINT, evaluation, tell


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


@pytest.mark.parametrize(("width", "height", "rows"), [(60, 24, 16), (200, 10, 2)])
def test_more_slots_than_lines_show_those_that_are_lowest(width: int, height: int, rows: int) -> None:
    board = Board()
    board.begin(Extent(1000, 100, 40, 2.9134, (57, 2.4127)))
    for slot in range(40):
        board.started(Start(slot, 100 + slot, POINT, 12000, "a baseline with a long name, seed 2147483647"))
        board.evaluated(slot, evaluation(1200, 3 - 0.01 * slot))
    console = Console(file=io.StringIO(), record=True, width=width, height=height, _environ={})
    console.print(draw(board, "", console.size))
    lines = console.export_text().splitlines()
    assert len(lines) < height and max(map(len, lines)) <= width
    assert [int(line.split()[0]) for line in lines if "/12000" in line] == list(range(40 - rows, 40))
    assert f"and {40 - rows} more" in lines


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
