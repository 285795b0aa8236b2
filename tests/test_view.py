"""What a search prints in a pipe, and what all views know of it."""

import io
from datetime import datetime, timedelta

import pytest

from search.commands.output import Output
from search.show.plain import PlainView
from search.show.progress import with_bar
from search.text import duration
from search.trial import Evaluation, StopReason
from search.workers.events import Board, End, Extent, Start, View
from space.hyperparameters import Hyperparameters

POINT = Hyperparameters(4e-4, 0.14, (0.25, 0.5), 0.5, 1.0)


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
    times, lines = zip(*(line.split("  ", 1) for line in capsys.readouterr().out.splitlines()), strict=True)
    assert all(abs(datetime.now() - datetime.fromisoformat(time)) < timedelta(minutes=5) for time in times)
    assert "data: 60 training clips" in lines
    assert f"trial 1 (baseline V1)  started  {POINT.describe()}" in lines
    assert "trial 1  step 12  eval 2.5000  text 5.000  gap 1.25" in lines
    assert "trial 1  two_increases  best 2.5000 at step 12  (best so far)" in lines
    assert "trial 2  crashed  exit code -9" in lines
    summary = next(line for line in lines if line.startswith("2/10 trials"))
    assert summary.startswith("2/10 trials  1 two_increases  best 2.5000 (trial 1)  base 2.9000")
    assert not any("\x1b" in line for line in lines)


def test_a_sign_that_the_terminal_s_encoding_lacks_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(screen, encoding="iso8859-1", write_through=True))
    with Output():
        PlainView().note("ä ሀ")
    assert screen.getvalue().endswith("  ä \\u1200\n".encode("iso8859-1"))


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


def test_nothing_is_left_at_the_end() -> None:
    """Of more trials than were asked for, too, as after a resumption with a lower number."""
    for finished in (10, 11):
        board = Board()
        board.begin(Extent(10, 3, 2, 2.9, (0, 2.6)))
        board.counted(finished, None)
        assert board.summary() == f"{finished}/10 trials  best 2.6000 (trial 0)  base 2.9000"


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
