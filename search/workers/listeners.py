"""One list of listeners for all that a command tells."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from search.text import complain, without_urls
from search.trial import Evaluation
from search.workers.events import End, Extent, Start, View
from search.workers.scoreboard import Board


class Listeners(View):
    """Keeps the board and passes each event on to every listener.

    A listener that fails is switched off, and the work goes on. The exception is BrokenPipeError: if nobody reads our
    output any more, the search stops.
    """

    def __init__(self) -> None:
        self.board = Board()
        self._listeners: list[View] = []

    def add(self, listener: View) -> None:
        self._listeners = [*self._listeners, listener]

    def remove(self, listener: View) -> None:
        """Closes it; it hears nothing more."""
        self._tell(lambda each: each.close() if each is listener else None)
        self._listeners = [each for each in self._listeners if each is not listener]

    def begin(self, extent: Extent) -> None:
        with self.board.lock:
            self.board.begin(extent)
        self._tell(lambda each: each.begin(extent))

    def counted(self, finished: int, best: tuple[int, float] | None) -> None:
        with self.board.lock:
            self.board.counted(finished, best)
        self._tell(lambda each: each.counted(finished, best))

    def started(self, start: Start) -> None:
        with self.board.lock:
            self.board.started(start)
        self._tell(lambda each: each.started(start))

    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None:
        with self.board.lock:
            self.board.evaluated(slot, evaluation)
        self._tell(lambda each: each.evaluated(slot, number, evaluation))

    def ended(self, end: End) -> None:
        with self.board.lock:
            known = self.board.ended(end)
        self._tell(lambda each: each.ended(known))

    def _tell(self, event: Callable[[View], None]) -> None:
        for listener in self._listeners:
            try:
                event(listener)
            except BrokenPipeError:
                raise
            except Exception as error:
                self._listeners = [each for each in self._listeners if each is not listener]
                with suppress(Exception):  # a screen gets its cursor back, if that is possible
                    listener.close()
                complain(f"{type(listener).__name__} failed and is switched off: {without_urls(repr(error))}")


def _passed_on(name: str) -> Any:
    """The method of every listener, called with the same arguments."""
    return lambda self, *given: self._tell(lambda each: getattr(each, name)(*given))


for _event in ("note", "status", "refresh", "leave", "over"):
    setattr(Listeners, _event, _passed_on(_event))
