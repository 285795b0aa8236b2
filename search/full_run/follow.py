"""How the process of a full run is followed to its end, and stopped when the user wants to."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from search.errors import UserError
from search.full_run.display import FullRunView
from search.full_run.order import Order
from search.full_run.result import FullResult
from search.trial import Evaluation, Prepared, StopReason
from search.workers.launcher import Child

POLL = 0.2  # seconds between looks at the stop flag
STOP_SECONDS = 600.0  # for an optimizer step and saving a state of 5 GB


class Interruption:
    """The first Ctrl-C or SIGTERM asks for a stop; the second kills the child and leaves at once."""

    def __init__(self, leave: Callable[[], None]) -> None:
        """`leave` is the view's, for the second."""
        self.asked = False
        self._leave = leave
        self.child: Child | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        self._before = {n: signal.signal(n, self._handle) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: object) -> None:
        if self.asked:
            if self.child is not None:
                self.child.kill()
            try:
                self._leave()
            finally:
                os._exit(128 + number)
        self.asked = True


class Follower:
    """Follows the child of a full run to its end, and asks it to stop when the user wants to."""

    def __init__(
        self, child: Child, interruption: Interruption, order: Order, prepared: Prepared, view: FullRunView
    ) -> None:
        self._child, self._interruption, self._order, self._prepared = child, interruption, order, prepared
        self._view = view
        self._evaluations: list[Evaluation] = []
        self._begun = False
        self._stop_sent = 0.0

    def follow(self) -> FullResult | None:
        """None once the user stopped the run. Raises UserError for an end that is no result."""
        self._interruption.child = self._child
        try:
            while True:
                self._pass_on_stop()
                self._view.refresh()
                message = self._child.receive(POLL)
                if message is None:
                    self._look_for_life()
                elif message["kind"] == "end":
                    return self._ended(message)
                else:
                    self._heard(message)
        except EOFError as gone:
            if self._stop_sent:
                return None
            raise self._failure(str(gone)) from gone
        finally:
            self._interruption.child = None
            self._child.close()

    def _heard(self, message: dict[str, Any]) -> None:
        match message:
            case {"kind": "evaluation", **values}:
                evaluation = Evaluation(**values)
                self._evaluations.append(evaluation)
                if self._begun:
                    self._view.evaluated(evaluation)
            case {"kind": "step", "step": step} if self._begun:
                self._view.stepped(step)
            case {"kind": "step", "step": step}:
                self._begin(step)

    def _begin(self, step: int) -> None:
        """Only now it is known whether the run goes on from a state: the evaluations before are that state's."""
        self._begun = True
        horizon = self._order.best.schedule.horizon
        if step:
            self._view.note(f"going on from step {step} of {horizon}, {len(self._evaluations)} evaluations made before")
        self._view.begin(horizon, step, self._evaluations)

    def _pass_on_stop(self) -> None:
        if self._interruption.asked and not self._stop_sent:
            self._view.note("stopping after this optimizer step, with the state saved (Ctrl-C again to leave at once)")
            self._child.stop()
            self._stop_sent = time.monotonic()
        if self._stop_sent and time.monotonic() - self._stop_sent > STOP_SECONDS:
            self._child.kill()

    def _look_for_life(self) -> None:
        minutes = self._order.settings.study.stall_minutes
        if self._child.silent_seconds > 60 * minutes:
            self._child.kill()
            raise self._failure(f"no sign of life for {minutes:g} minutes")

    def _ended(self, message: dict[str, Any]) -> FullResult | None:
        if "details" in message:
            raise UserError(message["error"], message["details"])
        if "error" in message:
            is_memory = message["reason"] == StopReason.OUT_OF_MEMORY
            raise self._failure(f"{message['reason']}: {message['error']}" if is_memory else message["error"])
        reason = StopReason(message["result"]["reason"])
        if reason == StopReason.STOPPED_BY_USER:
            return None
        return FullResult(
            reason,
            self._order.stopping,
            self._order.best.schedule.horizon,
            self._evaluations,
            Evaluation(**self._prepared.base_evaluation),
            message["result"]["record"],
            self._order.seed,
        )

    def _failure(self, text: str) -> UserError:
        log = self._order.directory / "log.txt"
        return UserError(f"the run ended without a result ({text}); see {log}; the same command continues")
