"""Ctrl-C and SIGTERM for a process that has children at work."""

import os
import signal
from collections.abc import Callable
from typing import Any

from search.workers.launcher import Child


class Interruption:
    """The first Ctrl-C or SIGTERM asks for a stop in order; the second kills the children and leaves at once."""

    def __init__(self, leave: Callable[[], None]) -> None:
        """`leave` is the view's, for the second."""
        self.asked = False  # by a signal, or by who sets it
        self.children: set[Child] = set()
        self._leave = leave
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def kill_children(self) -> None:
        for child in list(self.children):
            child.kill()

    def _handle(self, number: int, _frame: object) -> None:
        """In the main thread, between any two of its instructions: nothing here may wait for a lock."""
        if not self.asked:
            self.asked = True
            return
        self.kill_children()
        try:
            self._leave()
        finally:  # whatever the terminal or the reader of the lines has become
            os._exit(128 + number)
