"""The lines of `--json`: one JSON object each, for machines (docs/terminal.md)."""

import json
import math
import os
import select
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

VERSION = 1  # raised when an older reader would misread a line; events and fields may be added


class JsonLines:
    """Writes to a file descriptor, from any thread, each line whole and at once.

    When the reader has gone, `tell` raises BrokenPipeError once, and from then on does nothing.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.RLock()  # a signal's handler may come while its own thread holds it
        self._is_read = True
        self._is_split = False

    def tell(self, event: str, **values: Any) -> None:
        """A number that is not finite becomes null."""
        data = _line(event, values)
        with self._lock:
            self._is_split = len(data) > select.PIPE_BUF  # a signal may then come between two parts of it
            try:
                while self._is_read and data:
                    data = data[os.write(self._descriptor, data) :]
            except BrokenPipeError:
                self._is_read = False
                raise
            finally:
                self._is_split = False

    def tell_at_once(self, event: str) -> None:
        """The last line, from a signal's handler: waits a second at most, for the line of another thread.

        Tells nothing amid a long line of its own thread, or while the reader is behind.
        """
        if not self._lock.acquire(timeout=1.0) or self._is_split:
            return
        if select.select([], [self._descriptor], [], 0)[1]:
            with suppress(BrokenPipeError):
                os.write(self._descriptor, _line(event, {}))  # whole: a pipe that is ready takes PIPE_BUF bytes


def _line(event: str, values: dict[str, Any]) -> bytes:
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"version": VERSION, "event": event, "time": time, **finite(values)}
    return (json.dumps(line, allow_nan=False) + "\n").encode()


def finite(value: Any) -> Any:
    """`value` of plain types, with None for each number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def take_stdout() -> int:
    """A descriptor of stdout for the lines alone. Whatever else is printed from now on goes to stderr."""
    sys.stdout.flush()
    descriptor = os.dup(1)  # which children do not inherit
    os.dup2(2, 1)
    return descriptor
