"""What the runs of a study and of its confirmation have cost, and how long they take, as all machines can read it.

Trials that have ended say what was spent, leases what is being spent, and records how long a run takes.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from search.settings.sections import CONFIRMATION
from search.study import recorded, spending
from search.study.database import StudyStorage
from search.study.findings import Row, row_of
from search.study.leases import machine
from search.study.ledger import FINISHED_STATES, Lease, Ledger
from search.study.optuna_private import FINISHED, StudyCache
from search.study.spending import Amount, Held, total
from search.trial import INTERRUPTIONS
from search.workers.cost import Pace, pace


@dataclass(frozen=True)
class Look:
    """A study, with its confirmation, at one moment. Its own trials are those that are claimed."""

    spent: Amount  # by all runs of both
    confirming: Amount  # of that, by full runs, without those that were cut short
    running: list[Held]  # runs of its own trials
    alive: int  # own trials that are RUNNING, also those of which nobody knows since when
    begun: int  # own trials that run or have ended
    finished: int  # own trials that are COMPLETE or PRUNED
    paces: Mapping[str | None, Pace]  # by machine, and of all

    def pace(self, of: str | None = None) -> Pace | None:
        """Of the runs of a machine, this one by default; of all where it has none. None before a run has ended."""
        return self.paces.get(of or machine(), self.paces.get(None))


class Books:
    """Reads study `name`, a search or its confirmation, and the other of the two once it is there."""

    def __init__(self, database: StudyStorage, name: str) -> None:
        search = name.removesuffix(CONFIRMATION)
        self._own, self._confirmation = name, search + CONFIRMATION
        self._database, self._names = database, (search, self._confirmation)
        self._opened: dict[str, tuple[Ledger, optuna.Study]] = {}
        self._paces: tuple[int, dict[str | None, Pace]] = (-1, {})

    def look(self) -> Look:
        for name in set(self._names) - self._opened.keys():
            with suppress(KeyError):  # it does not exist yet
                ledger = Ledger(self._database, self._database.get_study_id_from_name(name))
                self._opened[name] = ledger, optuna.load_study(study_name=name, storage=StudyCache(self._database))
        found = {name: _read(*there) for name, there in self._opened.items()}
        runs = {n: [*spending.ended(ended), *_running(alive)] for n, (alive, ended) in found.items()}
        full, (alive, ended) = runs.get(self._confirmation, []), found[self._own]
        return Look(
            spent=total(run for those in runs.values() for run in those),
            confirming=total(run for run in full if run.reason not in INTERRUPTIONS),
            running=_running(alive),
            alive=len(alive),
            begun=len(alive) + len(ended),
            finished=sum(trial.state in FINISHED_STATES for trial in ended),
            paces=self._measured([trial for _, those in found.values() for trial in those]),
        )

    def _measured(self, ended: list[FrozenTrial]) -> dict[str | None, Pace]:
        """The paces, computed again when another trial has ended."""
        if self._paces[0] != len(ended):
            rows: dict[str | None, list[Row]] = {None: []}
            for row in map(row_of, ended):
                for name in {None, recorded.part(row.trial.system_attrs.get("owner"), "machine")}:
                    rows.setdefault(name, []).append(row)
            paces = {name: pace(those) for name, those in rows.items()}
            self._paces = len(ended), {name: known for name, known in paces.items() if known}
        return self._paces[1]


def _read(ledger: Ledger, study: optuna.Study) -> tuple[list[Lease], list[FrozenTrial]]:
    """The trials that run, and those that have ended. One that ends in between is counted once, as an ended one."""
    leases = ledger.look()[1]
    ended = study.get_trials(deepcopy=False, states=FINISHED)
    numbers = {trial.number for trial in ended}
    return [lease for lease in leases if lease.number not in numbers], ended


def _running(leases: list[Lease]) -> list[Held]:
    return [run for x in leases if (run := spending.held(x.number, x.owner, "running", x.age))]
