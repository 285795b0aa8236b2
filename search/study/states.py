"""The saved states of a study's runs in its artifact store, from which they go on on any machine that reads it.

A trial has at most one, and one that is being written. Each is named in the trial's attribute before it is written, and
until it is removed: so nothing is there that no attribute names, whoever dies. A trial that is queued again hands its
attribute to its successor, in the same transaction.
"""

import shutil
import uuid
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from search.settings.settings import Settings
from search.study import artifacts
from search.study.ledger import Ledger
from search.study.recorded import STATE_FILE, Kept
from search.trial import STATE_FOLDER

AT_A_STOP = 1e9  # seconds between two states of a run that saves at a stop alone


class States:
    """Saves, fetches and removes them. Its methods may be called from any thread; they raise UserError alone.

    Args:
        note: Called with a line for the user.
    """

    def __init__(self, ledger: Ledger, settings: Settings, note: Callable[[str], None]) -> None:
        minutes = settings.study.save_minutes
        self.seconds = None if minutes is None else 60 * minutes  # between two states of a run; None: none is saved
        self._ledger, self._settings, self._note = ledger, settings, note
        self._told: set[str] = set()

    @cached_property
    def _store(self) -> Any:
        return artifacts.open_store(self._settings)

    def of(self, trial_id: int) -> Kept:
        """What the trial has in the store."""
        return next((kept for i, _, kept in self._ledger.states() if i == trial_id), Kept({}))

    def seconds_of(self, trial_id: int) -> float | None:
        """Between two states of the trial's run; None: it saves none, and has none to go on from."""
        return AT_A_STOP if self.seconds is None and self.of(trial_id).current else self.seconds

    def fetch(self, trial_id: int, file: Path, go_on: Callable[[], bool]) -> bool | None:
        """Puts the trial's state at `file`. None: it has none that can be had. False: it was not to `go_on`."""
        current = self.of(trial_id).current
        if current is None:
            return None
        try:
            if artifacts.fetch(self._store, current, file, go_on):
                return True
        except Exception as error:  # each kind of store raises its own
            self._tell_once(f"a saved state was not read ({artifacts.reason_of(error)}); its run starts anew")
            file.unlink(missing_ok=True)
            return None
        file.unlink()
        return False

    def save(self, trial_id: int, file: Path, step: int) -> None:
        """Stores `file` as the trial's state in place of the one before."""
        before = self.of(trial_id)
        if not self._remove(*(before.files.keys() - {before.current})):  # what an owner left that died amid its save
            return
        old = {before.current: before.files[before.current]} if before.current else {}
        new, size, most = f"{STATE_FILE}{self._settings.study.name}-{uuid.uuid4().hex}", file.stat().st_size, self._most
        there = self._ledger.keep(trial_id, Kept({**old, new: size}, before.current, before.step), most)
        if there is False:
            self._tell_once(
                f"a state was not saved: all of them would take more than study.save_gb = {most / 1e9:g} GB"
            )
        if not there:
            return
        try:
            artifacts.put(self._store, new, file)
        except Exception as error:  # as above; the next save, or the trial's end, removes what is left of it
            self._tell_once(f"the state of a run was not stored ({artifacts.reason_of(error)})")
            return
        # The trial may have been taken meanwhile, by a peer who does not know whether the file came to be.
        kept = self._ledger.keep(trial_id, Kept({**old, new: size}, new, step), float("inf"))
        if self._remove(*(old if kept else [new])) and kept and old:
            self._ledger.keep(trial_id, Kept({new: size}, new, step), float("inf"))

    def remove(self, trial_id: int) -> None:
        """Of a trial that ended for good, or whose state is of no use."""
        kept = self.of(trial_id)
        if kept.files and self._remove(*kept.files):
            self._ledger.forget_state(trial_id)

    def sweep(self, runs: Path) -> None:
        """Removes those of trials that ended, whose owners died before they could.

        Of their folders in `runs`, too, which machines may share; a trial's has its number.
        """
        for trial_id, state, _ in self._ledger.states():
            if state.is_finished():
                self.remove(trial_id)
        if folders := list(runs.glob(f"*/{STATE_FOLDER}")):
            running = {str(lease.number) for lease in self._ledger.look()[1]}
            for folder in folders:
                if folder.parent.name not in running:
                    shutil.rmtree(folder, ignore_errors=True)

    @property
    def _most(self) -> float:
        return 1e9 * self._settings.study.save_gb

    def _remove(self, *known: str) -> bool:
        """Whether none of them is there any more."""
        try:
            for each in known:
                artifacts.remove(self._store, each)
        except Exception as error:  # as above
            self._tell_once(
                f"a saved state was not removed ({artifacts.reason_of(error)}); the next search tries again"
            )
            return False
        return True

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._note(text)
