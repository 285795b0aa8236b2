"""How the state of one run comes from the store to its child's folder, and from there into the store."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from search.errors import UserError
from search.study.states import States
from search.trial import STATE_FOLDER, TrialSpec

FILE = "last.pth"  # as search.training.state names it


class Keeper:
    """Stores what the child of one trial saves, in a thread of its own: neither child nor slot waits for the store."""

    def __init__(self, states: States, trial_id: int, spec: TrialSpec) -> None:
        self.is_on = spec.save_seconds is not None
        self._states, self._trial_id, self._folder = states, trial_id, Path(spec.directory) / STATE_FOLDER
        self._lock = threading.Lock()
        self._step: int | None = None  # of a state that waits to be stored
        self._thread: threading.Thread | None = None
        self._is_suspect = False
        self._stores = True

    def fetch(self, go_on: Callable[[], bool]) -> None:
        """Gives the child the state that the trial's run left elsewhere, if there is one."""
        if not self.is_on:
            return
        self._folder.mkdir()
        found = self._states.fetch(self._trial_id, self._folder / FILE, go_on)
        self._is_suspect = found is True
        self._stores = found is not False  # else a run that hardly began would replace it

    def saved(self, step: int) -> None:
        """The child has saved its state: it is stored, once the one before is."""
        with self._lock:
            if not self._stores:
                return
            self._step, self._is_suspect = step, False
            if self._thread is None:
                self._thread = threading.Thread(target=self._store, daemon=True)
                self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Until what was saved is stored."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def failed(self) -> None:
        """The run failed. If that was after it had gone on from a state, and before the next, it is not used again."""
        if self._is_suspect:
            self._states.remove(self._trial_id)

    def ended(self) -> None:
        """The trial has ended for good."""
        if self.is_on:
            self.wait()
            self._states.remove(self._trial_id)

    def close(self) -> None:
        """Removes what the child saved."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _store(self) -> None:
        while True:
            with self._lock:
                step, self._step = self._step, None
                if step is None:
                    self._thread = None
                    return
            try:
                self._states.save(self._trial_id, self._folder / FILE, step)
            except (UserError, FileNotFoundError):
                continue  # the slot's own calls to the database end as this did; or the run is over, and its file gone
