"""A search in a pipe or a log: one line an event."""

import time

from search.text import printable
from search.trial import Evaluation
from search.workers.events import End, Start, Watched


def tell(text: str) -> None:
    """Prints a line of a log, with date and time: what is told of may take days."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", flush=True)


class Log:
    """What is printed stays: there is nothing to redraw, and nothing to put right at the end."""

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass

    def leave(self) -> None:
        pass


class PlainView(Log, Watched):
    """Prints to stdout."""

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
        with self._board.lock:
            first = self._board.ended(end)
            value = f"  best {end.best.mel_ce:.4f} at step {end.best.step}" if end.best else ""
            mark = "  (best so far)" if first else ""
            why = f"  {printable(end.error)}" if end.error else ""
            self.note(f"{self._board.noun} {end.number}  {end.reason}{value}{mark}{why}")
            self.note(self._board.summary())
