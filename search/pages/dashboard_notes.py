"""Notes and figures of a study, stored by Optuna's own means: every optuna-dashboard shows them.

They are derived from the trials each time. The trials of all machines are in one study, and any of its machines may
write its note and figures: they are written in one transaction, and only if nobody else has written since the trials
were read. A trial that ended without a note, since its machine died, gets one from the next machine that writes.
"""

import threading
from collections.abc import Callable
from typing import Any

import optuna

from search.confirmation import confirm
from search.errors import UserError
from search.pages.material import Material, material
from search.pages.notes import confirmation_note, search_note, trial_note
from search.settings.sections import CONFIRMATION, STOCK
from search.settings.settings import Settings
from search.show import tables
from search.study import findings, recorded, storage
from search.study.database import StudyStorage
from search.study.findings import Findings, Row
from search.study.ledger import Ledger
from search.study.optuna_private import study_id, trial_id
from search.workers.events import End, Extent, View

ATTEMPTS = 20  # to write before another machine does
PATIENCE = 10.0  # seconds that a refresh waits for a database that does not answer; the next trial's end tries again
OF_CONFIRMATION = ("confirmation", "against-stock", "rate-line")  # figures that its study shows, too
LEAVE_SECONDS = 20.0  # for the last refresh, at the end of a search


class Notes:
    """The notes and figures of a study and of its confirmation."""

    def __init__(self, settings: Settings, database: StudyStorage) -> None:
        self._settings, self._database = settings, database

    def refresh(self) -> None:
        """Brings them up to date with the trials. Raises UserError."""
        for _ in range(ATTEMPTS):
            if self._write(*self._read()):
                return

    def repair(self) -> None:
        """`refresh`, but only with the settings that the study was made with, since notes tell what is searched."""
        if not self._read()[0].differing:
            self.refresh()

    def _read(self) -> tuple[Material, list[tuple[int, dict[str, Any], Findings]]]:
        """What pages are made of; id, system attributes and findings of the search and, once begun, the confirmation.

        The attributes are read before the trials: if they are the same later, nobody wrote notes of more trials.
        """
        name, there = self._settings.study.name, optuna.get_all_study_names(self._database)
        names = [each for each in (name, name + CONFIRMATION) if each in there]
        studies = [optuna.load_study(study_name=each, storage=self._database) for each in names]
        attributes = [self._database.get_study_system_attrs(study_id(study)) for study in studies]
        runs = confirm.runs_of(studies[1], self._settings) if studies[1:] else None
        made = material(self._settings, studies[0], runs)
        read = [made.findings, *map(findings.read, studies[1:] if runs else [])]
        return made, list(zip(map(study_id, studies), attributes, read, strict=False))

    def _write(self, material: Material, studies: list[tuple[int, dict[str, Any], Findings]]) -> bool:
        """False: another machine wrote while this one read."""
        from search.pages.dashboard_figures import METRIC, figures  # seconds: optuna-dashboard and Plotly
        from search.pages.note_draft import Draft

        drawn = figures(material)
        for key, attributes, found in studies:
            is_search = found is material.findings
            draft = Draft(key, attributes)
            stocks = {_alike(row): row for row in reversed(found.judged) if _is_stock(row) and row.best}
            for row in found.rows:
                if row.trial.state.is_finished() and not draft.has_trial_note(trial_id(row.trial)):
                    stock, point = stocks.get(_alike(row)), tables.point_of(row, material.space)
                    draft.set_trial_note(trial_id(row.trial), trial_note(row, point, material, stock))
            draft.set_metric_name(METRIC)
            draft.set_study_note(search_note(material) if is_search else confirmation_note(material))
            for name, figure in drawn.items():
                if is_search or name in OF_CONFIRMATION:
                    draft.set_figure(name, figure)
            if draft.changed and not Ledger(self._database, key).annotate(draft.stamped(), draft.known):
                return False
        return True


def _is_stock(row: Row) -> bool:
    return STOCK in (row.baseline, recorded.part(row.trial.system_attrs.get("candidate"), "name"))


def _alike(row: Row) -> tuple[str, ...]:
    """What runs that may be compared have in common: in a confirmation seed and length; in a search, all may be."""
    attributes, is_full = row.trial.user_attrs, "candidate" in row.trial.system_attrs
    return (str(attributes.get("seed")), str(attributes.get("length"))) if is_full else ()


class NotesWriter(View):
    """A listener to a search or a confirmation: a thread of its own refreshes the notes whenever a trial has ended.

    Trials that end during a refresh share the next one. It holds up no trial and fails none: what goes wrong is told
    once, and the next trial's end tries again.

    Args:
        say: Called with a line for the user, from the thread.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings, self._say = settings, say
        self._due, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="notes", daemon=True)
        self._told = False

    def begin(self, extent: Extent) -> None:
        """The first refresh: of what an earlier search, or a machine that died, left without notes."""
        self._due.set()
        self._thread.start()

    def ended(self, end: End) -> None:
        self._due.set()

    def close(self) -> None:
        """Waits for the refresh that is due."""
        self._closing.set()
        self._due.set()
        if self._thread.ident is not None:
            self._thread.join(LEAVE_SECONDS)

    def _work(self) -> None:
        closing = False
        while not closing:
            self._due.wait()
            self._due.clear()
            closing = self._closing.is_set()
            try:
                self._refresh()
            except Exception as error:  # notes are not worth a trial, whatever is wrong with them
                if not self._told:
                    reason = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                    self._say(f"notes and figures of the dashboard were not written: {reason}")
                self._told = True

    def _refresh(self) -> None:
        """With connections of its own, which it does not keep: a server has few, and trials last minutes."""
        database = storage.open_storage(self._settings.storage_url, connections=2)
        try:
            database.patience = PATIENCE
            Notes(self._settings, database).refresh()
        finally:
            database.engine.dispose()
