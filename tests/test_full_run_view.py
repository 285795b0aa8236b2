"""What a full run shows in a terminal, and leaves there."""

import io
import re
import signal
import tempfile

import pytest
from rich.console import Console

from search.full_run.display import LiveFullRunView
from search.workers.interruption import Interruption
from tests.test_full_run import evaluation


def test_the_live_view_shows_evaluations_above_a_bar_with_the_time_left() -> None:
    screen = io.StringIO()
    view = LiveFullRunView(Console(file=screen, force_terminal=True, width=100, color_system=None))
    view.status("loading torch and TTS")
    view.begin(40, 10, [evaluation(10, 2.5)])
    for step, value in ((20, 2.4), (30, 2.6)):
        view.stepped(step)
        view.evaluated(evaluation(step, value))
    view.refresh()
    view.close()
    shown = screen.getvalue()
    assert "loading torch and TTS" in shown
    assert "step 20/40  eval 2.4000  text 1.000  probe 1.0000  gap 2.40" in shown
    last = next(line for line in reversed(shown.splitlines()) if "step 30/40 " in line and "━" in line)
    assert "best 2.4000 at step 20" in last and re.search(r"about \d+ s left", last)


def test_a_second_ctrl_c_shows_the_cursor_again(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr("search.workers.interruption.os._exit", left.append)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as screen:
        view = LiveFullRunView(Console(file=screen, force_terminal=True, width=80, _environ={}))
        view.status("loading torch and TTS")
        screen.flush()
        with Interruption(view.leave):
            signal.raise_signal(signal.SIGINT)
            assert not left
            signal.raise_signal(signal.SIGINT)
        screen.seek(0)
        shown = screen.read()
        view.close()
    with Interruption(screen.flush):  # which is closed, as a terminal may be
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(ValueError, match="closed"):
            signal.raise_signal(signal.SIGINT)
    assert left == [130, 130]
    assert shown.endswith("\x1b[?25h\n") and "\x1b[?25l" in shown
