"""Trials as they are read here, and as Optuna reads them: the same, on both databases."""

import json
import random
import time
from collections.abc import Iterator

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from search.study import reading
from search.study.database import StudyStorage
from search.study.storage import open_storage

SPACE = {
    "z": FloatDistribution(1e-5, 1.0, log=True),
    "a": IntDistribution(0, 3),
    "m": CategoricalDistribution([None, True, "x"]),
    "b": FloatDistribution(0, 1, step=0.25),
}


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are kept in UTC and shown in local time, which differ here."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def storage(either: str) -> Iterator[StudyStorage]:
    storage = open_storage(either)
    yield storage
    storage.engine.dispose()


def fill(storage: StudyStorage, study_id: int, trials: int) -> None:
    """Trials in all states, with and without each of their parts."""
    draw = random.Random(trials)
    for number in range(trials):
        state = list(TrialState)[number % len(TrialState)]
        names = [name for name in SPACE if draw.random() < 0.7]
        point = {"z": 10 ** draw.uniform(-5, 0), "a": draw.randrange(4), "m": draw.choice([None, True, "x"]), "b": 0.25}
        values = [draw.choice([1.5, float("inf"), float("-inf"), draw.random()])] * 2
        made = create_trial(
            state=state,
            values=values if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
            params={name: point[name] for name in names},
            distributions={name: SPACE[name] for name in names},
            user_attrs={"run": {"evaluations": [1, None, "ɔ"]}, "b": [number]} if number % 2 else {},
            system_attrs={"fixed_params": {"z": 1.0}, "artifacts:x": json.dumps({"id": 1})} if number % 3 else {},
            intermediate_values={
                draw.randrange(100): draw.choice([0.5, float("inf"), -1.0]) for _ in range(number % 4)
            },
        )
        storage.create_new_trial(study_id, made)


@pytest.mark.usefixtures("far_east")
@pytest.mark.parametrize("batch", [500, 3])
def test_the_trials_are_those_of_optuna(storage: StudyStorage, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", batch)
    directions = [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
    other, study_id = (storage.create_new_study(directions) for _ in range(2))
    fill(storage, other, 2)
    fill(storage, study_id, 15)
    ids = [trial._trial_id for trial in RDBStorage.get_all_trials(storage, study_id)]
    finished = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    for states in (None, finished, (TrialState.RUNNING,), ()):
        for included, after in ((set(), -1), (set(), ids[9]), ({*ids[:8], ids[12]}, ids[9]), ({ids[3]}, ids[-1])):
            ours = storage._get_trials(study_id, states, included, after)
            theirs = RDBStorage._get_trials(storage, study_id, states, included, after)
            assert ours == theirs
            assert [list(t.params) for t in ours] == [list(t.params) for t in theirs]  # in the order of asking
    assert len(storage.get_all_trials(study_id)) == 15


def test_nan_is_read(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    trial_id = storage.create_new_trial(study_id)
    storage.set_trial_intermediate_value(trial_id, 3, float("nan"))
    (trial,) = storage.get_all_trials(study_id)
    assert str(trial.intermediate_values) == "{3: nan}"


def test_a_study_without_trials_is_empty_and_one_that_is_not_there_is_missed(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    assert storage.get_all_trials(study_id) == []
    with pytest.raises(KeyError):
        storage.get_all_trials(study_id + 1)
