"""`--json`: each event as one line, for scripts (docs/terminal.md)."""

import json
import os
import select
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_jsonable_python

from search.commands.outcome import losses
from search.study.spending import HOUR
from search.trial import Evaluation
from search.workers.events import End, Extent, Part, Standing, Start, View
from search.workers.scoreboard import Board

VERSION = 1  # raised when an older reader would misread a line; events and fields may be added


class JsonLines(View):
    """Writes to a file descriptor, from any thread, each line whole and at once.

    When the reader has gone, a line raises BrokenPipeError once; later lines are dropped.
    """

    def __init__(self, descriptor: int, board: Board, study: str) -> None:
        self._study = study
        self._descriptor = descriptor
        self._board = board
        self._lock = threading.Lock()
        self._is_read = True

    def note(self, text: str) -> None:
        self._tell("note", text=text)

    def status(self, text: str) -> None:
        self._tell("status", text=text)

    def begin(self, extent: Extent) -> None:
        fields = {name: getattr(extent, name) for name in ("slots", "base_mel_ce", "n_increases", "min_delta")}
        counts = {"unit": extent.noun, "total": extent.trials, "finished": extent.finished}
        self._tell("begin", study=self._study, **counts, **fields, best=_best(extent.best))

    def started(self, start: Start) -> None:
        fields = {"slot": start.slot, "trial": start.number, "label": start.label, "horizon": start.horizon}
        self._tell("started", **fields, hyperparameters=start.point.to_dict())

    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None:
        self._tell("evaluated", slot=slot, trial=number, **losses(evaluation))

    def ended(self, end: End) -> None:
        fields = {"slot": end.slot, "trial": end.number, "reason": end.reason, "error": end.error}
        lowest = losses(end.best) if end.best else None
        with self._board.lock:  # so that no later line has older counts
            counts = {"finished": self._board.finished, "total": self._board.extent.trials}
            best = _best(self._board.best)
            self._tell("ended", **fields, lowest=lowest, is_best=end.is_best, **counts, best=best)

    def budget(self, standing: Standing) -> None:
        self._tell("budget", **asdict(standing))

    def forecast(self, parts: Sequence[Part], unit: str) -> None:
        self._tell("forecast", unit=unit, parts=[_hours(part) for part in parts])

    def over(self, event: str, found: Mapping[str, Any]) -> None:
        self._tell(event, **found)

    def leave(self) -> None:
        """Tells nothing while the reader is behind, or where another line is still being written after a second."""
        if self._lock.acquire(timeout=1.0) and select.select([], [self._descriptor], [], 0)[1]:
            with suppress(BrokenPipeError):
                os.write(self._descriptor, _line("stopped", {}))  # whole: a pipe that is ready takes PIPE_BUF bytes

    def _tell(self, event: str, **values: Any) -> None:
        data = _line(event, values)
        with self._lock:
            try:
                while self._is_read and data:
                    data = data[os.write(self._descriptor, data) :]
            except BrokenPipeError:
                self._is_read = False
                raise


def _line(event: str, values: dict[str, Any]) -> bytes:
    """In ASCII, with null for a number that is not finite."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"version": VERSION, "event": event, "time": time, **values}
    return (json.dumps(to_jsonable_python(line, inf_nan_mode="null"), allow_nan=False) + "\n").encode()


def _best(best: tuple[int, float] | None) -> dict[str, Any] | None:
    return {"trial": best[0], "mel_ce": best[1]} if best else None


def _hours(part: Part) -> dict[str, Any]:
    """Its times in hours."""
    times = {name: getattr(part, name) for name in ("most", "most_by_clock", "expected", "by_clock")}
    hours = {name: None if seconds is None else seconds / HOUR for name, seconds in times.items()}
    return {"part": part.name, "runs": part.runs, "steps": part.steps, **hours}


def take_stdout() -> int:
    """A descriptor of stdout for the lines alone. Whatever else is printed from now on goes to stderr."""
    sys.stdout.flush()
    descriptor = os.dup(1)  # which children do not inherit
    os.dup2(2, 1)
    return descriptor
