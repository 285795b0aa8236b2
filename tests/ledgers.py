"""Ledgers of new studies, and what they hold."""

from typing import Any

import optuna
from optuna.trial import FrozenTrial

from search.study.database import StudyStorage
from search.study.ledger import Ledger

OWNER = {"host": "here", "machine": "m", "pid": 1, "started": 0.0, "grace_seconds": 60.0}
Queue = list[tuple[dict[str, Any], dict[str, Any]]]


def new_ledger(storage: StudyStorage, name: str = "study") -> Ledger:
    """Of a new study that nobody has founded."""
    optuna.create_study(study_name=name, storage=storage)
    return Ledger(storage, storage.get_study_id_from_name(name))


def founded(storage: StudyStorage, queue: Queue, name: str = "study") -> Ledger:
    """Of a new study with trials in its queue."""
    ledger = new_ledger(storage, name)
    ledger.found({"horizon": 200}, queue)
    return ledger


def trials(ledger: Ledger) -> list[FrozenTrial]:
    """In the order of their numbers, which are checked to be 0, 1, …"""
    found = ledger._storage.get_all_trials(ledger.study_id)
    assert [trial.number for trial in found] == list(range(len(found)))
    return found


def states(ledger: Ledger) -> str:
    """Initials in the order of the numbers: R, C, P, F, W."""
    return "".join(trial.state.name[0] for trial in trials(ledger))
