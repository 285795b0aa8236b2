"""A search in a pipe or a log: one line per event."""

import time

from search.text import printable
from search.trial import Evaluation
from search.workers.events import End, Start, View
from search.workers.scoreboard import Board


def tell(text: str) -> None:
    """Prints a line of a log, with date and time: a search may take days."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", flush=True)


class PlainView(View):
    """Prints to stdout."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def note(self, text: str) -> None:
        with self._board.lock:
            tell(text)

    status = note

    def started(self, start: Start) -> None:
        name = f" ({printable(start.label)})" if start.label else ""
        self.note(f"{self._board.noun} {start.number}{name}  started  {start.point.describe()}")

    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None:
        e = evaluation
        self.note(
            f"{self._board.noun} {number}  step {e.step}  eval {e.mel_ce:.4f}  text {e.text_ce:.3f}  gap {e.gap:.2f}"
        )

    def ended(self, end: End) -> None:
        board = self._board
        value = f"  best {end.best.mel_ce:.4f} at step {end.best.step}" if end.best else ""
        mark = "  (best so far)" if end.is_best else ""
        why = f"  {printable(end.error)}" if end.error else ""
        with board.lock:
            finished, *rest = board.standing
            self.note(f"{board.noun} {end.number}  {end.reason}{value}{mark}{why}")
            self.note("  ".join([finished, *board.endings, *rest]))
