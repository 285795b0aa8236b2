"""The private names of Optuna that this project uses, all of them, each with the reason why no public one serves.

A new release of Optuna may change them. The tests of the ledger and of the storage fail then.
"""

import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from alembic.script import ScriptDirectory
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Table, false, insert, select, update
from sqlalchemy.orm import Session

# Optuna's tables. Its public methods write one thing per transaction; the ledger must write several at once, or none.
# Times in them are UTC without a zone.
STUDIES: Table = models.StudyModel.__table__
STUDY_ATTRS: Table = models.StudyUserAttributeModel.__table__
STUDY_SYSTEM_ATTRS: Table = models.StudySystemAttributeModel.__table__
TRIALS: Table = models.TrialModel.__table__
VALUES: Table = models.TrialValueModel.__table__
ATTRS: Table = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRS: Table = models.TrialSystemAttributeModel.__table__
BEATS: Table = models.TrialHeartbeatModel.__table__

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

# The methods of RDBStorage that open a session, each one transaction. Those that begin with _ are what Optuna's cache,
# which stands between a study and its storage, calls in place of the public ones.
TRANSACTIONS = (
    "create_new_study",
    "delete_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "_create_new_trial",
    "_set_trial_param",
    "get_trial_param",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial_user_attrs",
    "get_trial_system_attrs",
    "get_trial_id_from_study_id_trial_number",
    "get_trial",
    "_get_trials",
    "_get_best_trial_id",
    "record_heartbeat",
    "_get_stale_trial_ids",
)


def schema_versions() -> list[str]:
    """Optuna's schemas, the one of the installed release first. `RDBStorage` tells them only once it has tables."""
    folder = Path(optuna.__file__).parent / "storages" / "_rdb" / "alembic"
    return [script.revision for script in ScriptDirectory(str(folder)).walk_revisions()]


def try_writing(connection: Connection, study_name: str) -> None:
    """Makes the tables that are missing, and writes to each, as far as that takes rights. The caller takes it back."""
    models.BaseModel.metadata.create_all(connection)
    for table in models.BaseModel.metadata.sorted_tables:
        some = next(iter(table.c))
        connection.execute(insert(table).from_select(list(table.c), select(table).where(false())))
        connection.execute(update(table).where(false()).values({some: some}))
    connection.execute(insert(STUDIES).values(study_name=study_name))


def stored_value(value: float) -> tuple[float | None, object]:
    """A trial's value as the columns `value` and `value_type` hold it: infinity has a type of its own."""
    return models.TrialValueModel.value_to_stored_repr(value)


def read_trial(storage: RDBStorage, connection: Connection, trial_id: int) -> FrozenTrial:
    """The trial as a transaction of `connection` sees it. `get_trial` would use a transaction of its own."""
    with Session(connection) as session:
        found: FrozenTrial = storage._build_frozen_trial_from_trial_model(session.get_one(models.TrialModel, trial_id))
    return found


def study_id(study: optuna.Study) -> int:
    """The study's key in the tables."""
    return study._study_id


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """The trial's key in the tables. Its public `number` counts within a study."""
    return trial._trial_id


class _Local(threading.local):
    has_read = False  # whether this thread sees the trials as they were read before


class StudyCache(_CachedStorage):
    """Optuna's cache of trials, asked for less: reading running trials is what costs, and they change all the time.

    Measured with 64 slots and 1,000 finished trials: slots wait for 5.4 % of their time with Optuna's own, which reads
    all running trials for each decision of the median rule, and again for each group of parameters that TPE samples.
    """

    def __init__(self, storage: RDBStorage) -> None:
        super().__init__(storage)
        self._local = _Local()

    @contextmanager
    def as_read(self) -> Iterator[None]:
        """Until the block ends this thread sees the trials that were read before."""
        before, self._local.has_read = self._local.has_read, True
        try:
            yield
        finally:
            self._local.has_read = before

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        if not self._local.has_read:
            super()._read_trials_from_remote_storage(study_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if states is None or TrialState.RUNNING in states or TrialState.WAITING in states:
            return super().get_all_trials(study_id, deepcopy, states)
        if not self._local.has_read:
            self._read_finished(study_id)
        with self.as_read():
            return super().get_all_trials(study_id, deepcopy, states)

    def _read_finished(self, study_id: int) -> None:
        """Adds the trials that finished since the last full reading."""
        with self._lock:
            known = self._studies.setdefault(study_id, _StudyInfo())
            last = max(known.unfinished_trial_ids, default=known.last_finished_trial_id)
            trials = self._backend._get_trials(
                study_id, FINISHED, known.unfinished_trial_ids, max(last, known.last_finished_trial_id)
            )
            self._add_trials_to_cache(study_id, trials)
            # Newer ones stay to be read by the next full reading: there may be running ones between them.
            known.unfinished_trial_ids -= {trial._trial_id for trial in trials}


class SeenWith:
    """A study as a sampler is to see it: with the trials that `earlier` makes of its own ones before these.

    Samplers call `_get_trials`. Everything else is the study's.
    """

    def __init__(self, study: optuna.Study, earlier: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> None:
        self._study, self._earlier = study, earlier

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        own = self._study._get_trials(deepcopy, states, use_cache)
        return [*(trial for trial in self._earlier(own) if states is None or trial.state in states), *own]


@contextmanager
def claimed_trial(study: optuna.Study, trial_id: int) -> Iterator[optuna.Trial]:
    """A trial that the ledger claimed, to be asked for its parameters, as `Study.ask` returns one.

    `ask` would claim a trial of its own choice.
    """
    cache = study._storage
    assert isinstance(cache, StudyCache)
    study.get_trials(deepcopy=False)
    with cache.as_read():
        study._thread_local.cached_all_trials = None  # else this thread samples from the history of its trial before
        yield optuna.Trial(study, trial_id)
