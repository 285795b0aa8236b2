"""One list of listeners for all that a command tells."""

from contextlib import suppress
from typing import Any

from search.text import complain, without_urls
from search.trial import Evaluation
from search.workers.events import End, View
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
        self._tell_one(listener, "close")
        self._listeners = [each for each in self._listeners if each is not listener]

    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None:
        with self.board.lock:
            self.board.evaluated(slot, evaluation)
        self._tell("evaluated", slot, number, evaluation)

    def ended(self, end: End) -> None:
        with self.board.lock:
            known = self.board.ended(end)
        self._tell("ended", known)

    def _tell(self, event: str, *given: Any) -> None:
        for listener in self._listeners:
            self._tell_one(listener, event, *given)

    def _tell_one(self, listener: View, event: str, *given: Any) -> None:
        try:
            getattr(listener, event)(*given)
        except BrokenPipeError:
            raise
        except Exception as error:
            self._listeners = [each for each in self._listeners if each is not listener]
            with suppress(Exception):  # a screen gets its cursor back, if that is possible
                listener.close()
            complain(f"{type(listener).__name__} failed and is switched off: {without_urls(repr(error))}")


def _passed_on(name: str) -> Any:
    """Tells the board, if it keeps such events, and every listener."""

    def event(self: Listeners, *given: Any) -> None:
        if hasattr(self.board, name):
            with self.board.lock:
                getattr(self.board, name)(*given)
        self._tell(name, *given)

    return event


for _event in ("begin", "counted", "started", "note", "status", "refresh", "leave", "budget", "forecast", "over"):
    setattr(Listeners, _event, _passed_on(_event))
