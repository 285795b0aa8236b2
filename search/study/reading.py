"""Reads trials with plain statements. Optuna's own reading makes an object of each row, in five times the time."""

import json
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Row, select

BATCH = 500  # trials a statement: SQLite's older releases take no more than 999 values

_TRIAL = models.TrialModel.__table__.c
_PARAM = models.TrialParamModel.__table__.c
_VALUE = models.TrialValueModel.__table__.c
_STEP = models.TrialIntermediateValueModel.__table__.c
_USER = models.TrialUserAttributeModel.__table__.c
_SYSTEM = models.TrialSystemAttributeModel.__table__.c

Rows = dict[int, list[Any]]  # by trial id


def read_trials(
    connection: Connection, study_id: int, states: Container[TrialState] | None, included: set[int], after: int
) -> list[FrozenTrial]:
    """What Optuna's `RDBStorage._get_trials` returns for the same arguments. Raises KeyError if there is no such study.

    Args:
        states: Of the trials that are read; None for all.
        included: Trial ids to read besides those above `after`.
    """
    found = select(_TRIAL.trial_id, _TRIAL.number, _TRIAL.state, _TRIAL.datetime_start, _TRIAL.datetime_complete)
    found = found.where(_TRIAL.study_id == study_id)
    if states is not None:
        found = found.where(_TRIAL.state.in_([state for state in TrialState if state in states]))
    trials: list[Any] = list(connection.execute(found.where(_TRIAL.trial_id > after)))
    for ids in _batches(sorted(i for i in included if i <= after) if after > -1 else []):
        trials += connection.execute(found.where(_TRIAL.trial_id.in_(ids)))
    if not trials:
        _check_exists(connection, study_id)
    trials.sort(key=lambda row: row.trial_id)
    made = []
    for some in _batches(trials):
        made += _made(connection, some)
    return made


def _check_exists(connection: Connection, study_id: int) -> None:
    studies = models.StudyModel.__table__.c
    if connection.scalar(select(studies.study_id).where(studies.study_id == study_id)) is None:
        raise KeyError(models.NOT_FOUND_MSG)


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[i : i + BATCH] for i in range(0, len(items), BATCH))


def _made(connection: Connection, trials: Sequence[Any]) -> list[FrozenTrial]:
    ids = [row.trial_id for row in trials]

    def rows(trial_id: ColumnElement[int], *columns: ColumnElement[Any]) -> Rows:
        by_trial: Rows = defaultdict(list)
        for row in connection.execute(select(trial_id, *columns).where(trial_id.in_(ids))):
            by_trial[row[0]].append(row)
        return by_trial

    values = rows(_VALUE.trial_id, _VALUE.objective, _VALUE.value, _VALUE.value_type)
    params = rows(_PARAM.trial_id, _PARAM.param_id, _PARAM.param_name, _PARAM.param_value, _PARAM.distribution_json)
    steps = rows(_STEP.trial_id, _STEP.step, _STEP.intermediate_value, _STEP.intermediate_value_type)
    user = rows(_USER.trial_id, _USER.key, _USER.value_json)
    system = rows(_SYSTEM.trial_id, _SYSTEM.key, _SYSTEM.value_json)
    made = []
    for trial_id, number, state, start, complete in trials:
        # In the order in which they were asked for, which their ids tell.
        asked = [
            (name, value, _distribution(described))
            for _, _, name, value, described in sorted(params[trial_id], key=lambda row: row.param_id)
        ]
        made.append(
            FrozenTrial(
                number=number,
                state=state,
                value=None,
                values=[_VALUE_OF(value, kind) for *_, value, kind in sorted(values[trial_id], key=_objective)] or None,
                datetime_start=_local(start),
                datetime_complete=_local(complete),
                params={name: distribution.to_external_repr(value) for name, value, distribution in asked},
                distributions={name: distribution for name, _, distribution in asked},
                user_attrs={key: json.loads(text) for _, key, text in user[trial_id]},
                system_attrs={key: json.loads(text) for _, key, text in system[trial_id]},
                intermediate_values={step: _STEP_VALUE_OF(value, kind) for _, step, value, kind in steps[trial_id]},
                trial_id=trial_id,
            )
        )
    return made


_VALUE_OF = models.TrialValueModel.stored_repr_to_value
_STEP_VALUE_OF = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value


def _objective(row: Row[Any]) -> int:
    return int(row.objective)


@lru_cache(maxsize=1000)
def _distribution(described: str) -> BaseDistribution:
    """One object for all trials: a study has a dozen of them, and nobody changes one."""
    return json_to_distribution(described)


def _local(stored: datetime | None) -> datetime | None:
    """Local time without a zone, as Optuna shows it, of UTC without a zone, as it keeps it."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
