"""What a search prints, in a pipe and in terminals of several sizes and colours."""

import io
import re
from typing import Any

import pytest
from rich.color import Color
from rich.console import Console
from rich.text import Text

from search import styles, terminal_view
from search.plain_view import PlainView
from search.progress import with_bar
from search.terminal_view import LiveView, draw, make_view, sparkline
from search.trial import Evaluation, StopReason
from search.view import Board, End, Extent, Start, View, duration
from space.hyperparameters import Hyperparameters

POINT = Hyperparameters(4e-4, 0.14, (0.25, 0.5), 0.5, 1.0)
LONG = Hyperparameters(4e-4, 0.14, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), 0.5, 1.0, 5.0, 6)


def evaluation(step: int, value: float) -> Evaluation:
    return Evaluation(step, value, 5.0, value / 1.25, 4.0)


def tell(view: View) -> None:
    """Two slots: a trial that became the best, a crash, and one that runs and has just got worse."""
    view.note("data: 60 training clips")
    view.begin(Extent(10, 1, 2, 2.9, (0, 2.6), n_increases=2))
    view.started(Start(0, 1, POINT, 120, "baseline V1"))
    view.started(Start(1, 2, POINT, 120, None))
    view.evaluated(0, 1, evaluation(12, 2.5))
    view.counted(2, None)
    view.ended(End(0, 1, StopReason.TWO_INCREASES, evaluation(12, 2.5), None))
    view.ended(End(1, 2, StopReason.CRASHED, None, "exit code -9"))
    view.started(Start(1, 3, POINT, 120, None))
    view.evaluated(1, 3, evaluation(12, 2.4))
    view.evaluated(1, 3, evaluation(24, 2.45))
    view.refresh()


def test_a_pipe_gets_a_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    tell(PlainView())
    lines = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert "data: 60 training clips" in lines
    assert f"trial 1 (baseline V1)  started  {POINT.describe()}" in lines
    assert "trial 1  step 12  eval 2.5000  text 5.000  gap 1.25" in lines
    assert "trial 1  two_increases  best 2.5000 at step 12  (best so far)" in lines
    assert "trial 2  crashed  exit code -9" in lines
    summary = next(line for line in lines if line.startswith("2/10 trials"))
    assert summary.startswith("2/10 trials  1 two_increases  best 2.5000 (trial 1)  base 2.9000")
    assert not any("\x1b" in line for line in lines)


def live(width: int, height: int = 40, **console: Any) -> tuple[LiveView, io.StringIO]:
    screen = io.StringIO()
    kind = {"color_system": None, "_environ": {}, **console}
    return LiveView(Console(file=screen, force_terminal=True, width=width, height=height, **kind)), screen


@pytest.mark.parametrize("width", [60, 80, 132, 200])
def test_a_terminal_gets_a_live_table(width: int) -> None:
    view, screen = live(width)
    tell(view)
    view.close()
    shown = screen.getvalue()
    for part in ("data: 60 training clips", "two_increases", "24/120", "2.4500 ↑", "2/10", "(trial 1)", "exit code -9"):
        assert part in shown
    table = [line for line in shown.splitlines() if "24/120" in line][-1]
    assert "lr 4.00e-04" in table  # the last parameters give way
    assert ("clip 1" in table) == (width > 100)
    assert ("1 of 2" in table) == ("▁█" in table) == (width > 100)
    assert ("time left" in shown) == (width > 100)


def test_what_ended_stands_in_columns() -> None:
    view, screen = live(120)
    view.begin(Extent(10, 0, 2, 2.9, None))
    for number, reason in enumerate((*StopReason, StopReason.FINISHED)):
        view.started(Start(0, number * 37, POINT, 120, None))
        view.ended(End(0, number * 37, reason, evaluation(12, 2.5 + number) if number != 3 else None, None))
    view.close()
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "", screen.getvalue())
    lines = [line for line in shown.splitlines() if line.startswith("trial ")]
    assert len(lines) == len(StopReason) + 1
    assert {line.index("lr 4.00e-04") for line in lines} == {36}
    assert {line[:36].rstrip()[-7:] for line in lines} >= {" 2.5000", "      -", "12.5000"}


def board(slots: int, noun: str = "trial", label: str | None = None) -> Board:
    """Each slot's last evaluation is lower than that of the slot before; the last two slots have none."""
    board = Board()
    board.begin(Extent(1000, 100, slots, 2.9134, (57, 2.4127), noun, 2))
    for reason in StopReason:
        board.reasons[reason] = 100
    board.since -= 3600
    board.counted(200, None)
    for slot in range(slots):
        board.started(Start(slot, 100 + slot, LONG, 12000, label))
        board.runs[slot].since -= 60
        if slot < max(1, slots - 2):
            board.evaluated(slot, evaluation(1200, 3 - 0.01 * slot))
    return board


def drawn(board: Board, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), record=True, width=width, height=height, _environ={})
    console.print(draw(board, "", height))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [60, 80, 110, 200])
@pytest.mark.parametrize("slots", [1, 16, 40])
@pytest.mark.parametrize(("noun", "label"), [("trial", None), ("run", "a baseline with a long name, seed 2147483647")])
def test_it_fits_a_terminal_of_24_lines(width: int, slots: int, noun: str, label: str | None) -> None:
    lines = drawn(board(slots, noun, label), width, 24)
    assert len(lines) <= 23
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if "/12000" in line]
    assert len(rows) == min(slots, 16)
    assert all(row.split()[0].isdigit() and (label or "lr 4.00e-04")[:8] in row for row in rows)
    assert ("and 24 more" in lines) == (slots == 40)
    words = " ".join(lines)
    for part in (f"200/1000 {noun}s", "best 2.4127 (trial 57)", "base 2.9134", "8 h 00 m left", "100 finished"):
        assert part in words or (part == "best 2.4127 (trial 57)" and "best 2.4127" in words)
    shown = [int(row.split()[0]) for row in rows]
    assert shown == sorted(shown)
    if slots == 40:
        assert shown == list(range(22, 38))  # the lowest; those without an evaluation are not among them


@pytest.mark.parametrize("height", [1, 5, 10])
def test_a_low_terminal_shows_a_trial_and_the_summary(height: int) -> None:
    lines = drawn(board(16), 80, height)
    assert sum("/12000" in line for line in lines) == max(1, height - terminal_view.AROUND)
    assert any("200/1000 trials" in line for line in lines)


# The normal colours 0 to 7 of terminals that are in use, with the background that they are made for.
PALETTES = {
    "xterm on black": ("000000", "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5"),
    "xterm on white": ("ffffff", "000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5"),
    "GNOME on black": ("171421", "171421 c01c28 26a269 a2734c 12488b a347ba 2aa1b3 d0cfcc"),
    "GNOME on white": ("ffffff", "171421 c01c28 26a269 a2734c 12488b a347ba 2aa1b3 d0cfcc"),
    "macOS on white": ("ffffff", "000000 990000 00a600 999900 0000b2 b200b2 00a6b2 bfbfbf"),
    "VS Code, dark": ("1e1e1e", "000000 cd3131 0dbc79 e5e510 2472c8 bc3fbc 11a8cd e5e5e5"),
    "VS Code, light": ("ffffff", "000000 cd3131 00bc00 949800 0451a5 bc05bc 0598bc 555555"),
    "Solarized, light": ("fdf6e3", "073642 dc322f 859900 b58900 268bd2 d33682 2aa198 eee8d5"),
    "Solarized, dark": ("002b36", "073642 dc322f 859900 b58900 268bd2 d33682 2aa198 eee8d5"),
}


def luminance(colour: str) -> float:
    """Relative, as WCAG 2 defines it."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", PALETTES)
def test_no_colour_vanishes_on_its_background(name: str) -> None:
    """3 : 1 is what WCAG 2 asks of large text and of signs. What is coloured here is told in words or signs, too."""
    view, screen = live(200, color_system="standard")
    tell(view)
    view.close()
    codes = {int(c) for found in re.findall(r"\x1b\[([\d;]+)m", screen.getvalue()) for c in found.split(";")}
    assert codes <= {0, 1, *range(30, 38)}, "no dim text, no background, no colour beyond the eight"
    background, colours = PALETTES[name]
    for code in codes & {*range(30, 38)} | {
        30 + (Color.parse(style).number or 0) for style in (styles.WARNING, styles.FAILED)
    }:
        dark, light = sorted((luminance(background), luminance(colours.split()[code - 30])))
        assert (light + 0.05) / (dark + 0.05) >= 2.9, f"colour {code} in {name}"


def test_without_colour_the_same_is_said() -> None:
    shown = []
    for environment in ({}, {"NO_COLOR": "1"}):
        view, screen = live(120, color_system="standard", _environ=environment)
        tell(view)
        view.close()
        shown.append(screen.getvalue())
    assert "\x1b[31m" in shown[0]
    assert not re.search(r"\x1b\[[\d;]*3[0-7]m", shown[1])
    assert Text.from_ansi(shown[0]).plain == Text.from_ansi(shown[1]).plain


def test_a_changed_width_draws_all_anew() -> None:
    view, screen = live(120)
    tell(view)
    before = len(screen.getvalue())
    view.refresh()
    assert "\x1b[2J" not in screen.getvalue()
    view._console.size = (80, 24)  # type: ignore[assignment]
    view.refresh()
    view.close()
    anew = screen.getvalue()[before:]
    assert "\x1b[2J" in anew
    after = anew[anew.index("\x1b[2J") :]
    assert "data: 60 training clips" in after and "exit code -9" in after and "24/120" in after
    assert max(len(line) for line in Text.from_ansi(after).plain.splitlines()) <= 80


@pytest.mark.parametrize(
    ("tty", "term", "kind"), [(True, "xterm", LiveView), (True, "dumb", PlainView), (False, "xterm", PlainView)]
)
def test_a_view_for_each_output(monkeypatch: pytest.MonkeyPatch, tty: bool, term: str, kind: type) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stdout", type("Output", (io.StringIO,), {"isatty": lambda _: tty})())
    view = make_view()
    assert type(view) is kind
    view.close()


@pytest.mark.parametrize(
    ("values", "shown"),
    [([], ""), ([3.0], "▁"), ([2.0, 2.0], "▁▁"), ([3.0, 2.5, 2.0], "█▅▁"), (range(20), "▁▂▂▃▄▄▅▅▆▇▇█")],
)
def test_a_course_in_signs(values: list[float], shown: str) -> None:
    assert sparkline(list(values)) == shown


def test_hostile_labels_and_errors_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    view, screen = live(200)
    for each in (view, PlainView()):
        each.begin(Extent(10, 0, 1, 2.9, None))
        each.started(Start(0, 1, POINT, 120, "\x1b]0;owned\x07"))
        each.refresh()
        each.ended(End(0, 1, StopReason.CRASHED, None, "\x1b[31mred\nline"))
        each.close()  # a live view takes what is printed
    for shown in (screen.getvalue(), capsys.readouterr().out):
        assert "\x1b]0" not in shown and "\x1b[31m" not in shown
        assert "\\x1b[31mred\\x0aline" in shown


@pytest.mark.parametrize(
    ("told", "finished", "best"),
    [
        ([], 3, (0, 2.6)),
        ([(4, None)], 4, (0, 2.6)),
        ([(7, (5, 2.4))], 7, (5, 2.4)),  # peers finished three, and found a better one
        ([(7, (5, 2.4)), (6, (0, 2.6))], 7, (5, 2.4)),  # numbers of a slower thread
        ([(4, (9, 2.7))], 4, (0, 2.6)),
        ([(5, (5, 2.4)), (6, (6, 2.3)), (8, None)], 8, (6, 2.3)),
    ],
)
def test_what_all_machines_finished_is_counted(
    told: list[tuple[int, tuple[int, float] | None]], finished: int, best: tuple[int, float]
) -> None:
    board = Board()
    board.begin(Extent(10, 3, 2, 2.9, (0, 2.6)))
    for counts in told:
        board.counted(*counts)
    assert (board.finished, board.best) == (finished, best)
    assert board.summary().startswith(f"{finished}/10 trials  best {best[1]:.4f} (trial {best[0]})")
    assert (board.remaining_seconds is None) == (finished == 3)


def test_the_first_count_is_a_best_where_there_was_none() -> None:
    board = Board()
    board.begin(Extent(10, 0, 2, 2.9, None))
    board.counted(1, (0, 3.5))
    assert board.best == (0, 3.5)
    assert not board.ended(End(0, 1, StopReason.FINISHED, evaluation(12, 3.6), None))  # a peer's is better
    assert board.ended(End(0, 2, StopReason.FINISHED, evaluation(12, 3.4), None))
    assert not board.ended(End(0, 3, StopReason.FINISHED, evaluation(12, 3.3), None, competes=False))
    assert board.best == (2, 3.4)
    board.counted(5, (4, 3.2))  # by another slot, which asked the study before this one has told of it
    assert board.ended(End(0, 4, StopReason.FINISHED, evaluation(12, 3.2), None))
    assert not board.ended(End(0, 5, StopReason.MEDIAN, evaluation(12, 3.1), None))


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12 s"), (59.6, "1 m 00 s"), (200, "3 m 20 s"), (7500, "2 h 05 m")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("decoding audio: 0 of 340 clips", "╌" * 20 + " decoding audio: 0 of 340 clips"),
        (
            "decoding audio: 85 of 340 clips, 12 s left",
            "━" * 5 + "╌" * 15 + " decoding audio: 85 of 340 clips, 12 s left",
        ),
        ("decoding audio: 340 of 340 clips", "━" * 20 + " decoding audio: 340 of 340 clips"),
        ("loading torch and TTS", "loading torch and TTS"),
        ("reading 0 of 0", "reading 0 of 0"),
    ],
)
def test_a_count_has_a_bar_in_a_terminal(text: str, shown: str) -> None:
    assert with_bar(text) == shown
