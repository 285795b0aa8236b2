"""How a supervisor obeys what people told all machines of the study."""

import time
from collections.abc import Callable

from search.study.control import Control
from search.study.leases import Leases
from search.trial import StopReason


class Orders:
    """What holds now, as far as the leases have heard.

    Args:
        patience: Seconds for which a paused study is waited for; None: as long as it takes.
        note: Called with a line for the user.
    """

    def __init__(self, leases: Leases, patience: float | None, note: Callable[[str], None]) -> None:
        self._leases, self._patience, self._note = leases, patience, note
        self._known = Control()
        self._since = time.monotonic()  # by this machine's clock
        self.halted: Control | None = None  # why a slot asks for no further trial

    def hear(self) -> None:
        """Called several times a second. Says once what has changed."""
        told = self._leases.control
        if (told.state, told.cuts) != (self._known.state, self._known.cuts):
            self._since = time.monotonic()
            self._note(told.words)
        self._known = told

    def halt(self) -> bool:
        """Whether a slot without a trial ends: the study was stopped, or is paused for longer than it waits."""
        told = self._leases.control
        is_late = self._patience is not None and time.monotonic() - self._since > self._patience
        if told.state == "stopped" or (told.state == self._known.state == "paused" and is_late):
            self.halted = told
        return self.halted is not None

    def ending(self, trial_id: int) -> StopReason | None:
        """Why the trial is to end before its run does."""
        told = self._leases.control
        if told.cuts:
            return StopReason.STOPPED_BY_USER
        return StopReason.STOPPED_BY_NAME if trial_id in told.ending else None
