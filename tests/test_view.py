"""The list of listeners, what is known of a search, and what it prints in a pipe."""

import io
from datetime import datetime, timedelta

import pytest

from search.commands.output import Output
from search.show.plain import PlainView
from search.trial import Evaluation, StopReason
from search.workers.events import End, Extent, Start, View
from search.workers.listeners import Listeners
from search.workers.scoreboard import Board
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


def test_a_pipe_gets_a_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    listeners = Listeners()
    listeners.add(PlainView(listeners.board))
    tell(listeners)
    times, lines = zip(*(line.split("  ", 1) for line in capsys.readouterr().out.splitlines()), strict=True)
    assert all(abs(datetime.now() - datetime.fromisoformat(time)) < timedelta(minutes=5) for time in times)
    assert "data: 60 training clips" in lines
    assert f"trial 1 (baseline V1)  started  {POINT.describe()}" in lines
    assert "trial 1  step 12  eval 2.5000  text 5.000  gap 1.25" in lines
    assert "trial 1  two_increases  best 2.5000 at step 12  (best so far)" in lines
    assert "trial 2  crashed  exit code -9" in lines
    summary = next(line for line in lines if line.startswith("2/10 trials"))
    assert summary.startswith("2/10 trials  1 two_increases  best 2.5000 (trial 1)  base 2.9000")


@pytest.mark.parametrize("method", ["note", "begin", "evaluated", "ended", "refresh"])
def test_a_listener_that_fails_is_switched_off_and_the_others_go_on(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(View):
        closed = False

        def close(self) -> None:
            self.closed = True

    def fail(*_: object) -> None:
        raise OSError("postgresql://me:hunter2@db is full")

    failing, listeners = Failing(), Listeners()
    setattr(failing, method, fail)
    listeners.add(failing)
    listeners.add(PlainView(listeners.board))
    tell(listeners)
    printed = capsys.readouterr()
    assert "trial 3  step 24" in printed.out
    assert printed.err == "study.py: Failing failed and is switched off: OSError('postgresql://…')\n"
    assert failing.closed


def test_a_reader_that_has_gone_is_not_hidden() -> None:
    class Unread(View):
        def note(self, text: str) -> None:
            raise BrokenPipeError

    listeners = Listeners()
    listeners.add(Unread())
    with pytest.raises(BrokenPipeError):
        listeners.note("")


def test_a_character_that_the_terminal_s_encoding_lacks_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(screen, encoding="iso8859-1", write_through=True))
    Output()
    PlainView(Board()).note("ä ሀ")
    assert screen.getvalue().endswith("  ä \\u1200\n".encode("iso8859-1"))


# The board


@pytest.mark.parametrize(
    ("told", "finished", "best"),
    [
        ([], 3, (0, 2.6)),
        ([(7, (5, 2.4))], 7, (5, 2.4)),  # peers finished three, and found a better one
        ([(7, (5, 2.4)), (6, (0, 2.6))], 7, (5, 2.4)),  # numbers of a slower thread
        ([(11, None)], 11, (0, 2.6)),  # more than were asked for, as after a resumption with a lower number
    ],
)
def test_what_all_machines_finished_is_counted(
    told: list[tuple[int, tuple[int, float] | None]], finished: int, best: tuple[int, float]
) -> None:
    board = Board()
    board.begin(Extent(10, 3, 2, 2.9, (0, 2.6)))
    for counts in told:
        board.counted(*counts)
    assert board.standing[:2] == [f"{finished}/10 trials", f"best {best[1]:.4f} (trial {best[0]})"]
    assert (board.remaining_seconds is None) == (finished != 7)


def test_which_trial_is_the_best_so_far() -> None:
    board = Board()
    board.begin(Extent(10, 0, 2, 2.9, None))

    def is_best(number: int, value: float, reason: StopReason = StopReason.FINISHED, competes: bool = True) -> bool:
        return board.ended(End(0, number, reason, evaluation(12, value), None, competes)).is_best

    board.counted(1, (0, 3.5))
    board.counted(1, None, "worth nothing")
    assert not is_best(1, 3.6) and "worth nothing" in board.standing, "a peer's is better"
    assert is_best(2, 3.4) and "worth nothing" not in board.standing
    assert not is_best(3, 3.3, competes=False)
    board.counted(5, (4, 3.2))  # by another slot, which asked the study before this one has told of it
    assert is_best(4, 3.2)
    assert not is_best(5, 3.1, StopReason.MEDIAN)
    board.begin(Extent(4, 0, 2, 2.9, None, "run"))
    assert (board.best, board.endings) == (None, []), "a confirmation in the same process begins anew"


# Words and bars
