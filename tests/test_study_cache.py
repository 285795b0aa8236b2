"""The cache against a storage that reads everything anew, while two writers change the study."""

import random
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.database import StudyStorage
from search.study.optuna_private import FINISHED, StudyCache, trial_id
from search.study.storage import open_storage


class Study:
    """A study that two processes hold open: one through the cache, the other plainly."""

    def __init__(self, here: StudyStorage, elsewhere: StudyStorage) -> None:
        self.cache = StudyCache(here)
        self.elsewhere = elsewhere
        self.id = elsewhere.create_new_study([StudyDirection.MINIMIZE])

    def read(self, *states: TrialState) -> list[FrozenTrial]:
        """As a sampler or a pruner reads: no copies."""
        return self.cache.get_all_trials(self.id, deepcopy=False, states=states or None)

    def there(self, *states: TrialState) -> list[FrozenTrial]:
        return self.elsewhere.get_all_trials(self.id, states=states or None)

    def write(self, draw: random.Random) -> None:
        """A change by one of the two: mostly to trials that are there."""
        writer = draw.choice([self.cache, self.elsewhere])
        open_trials = self.there(TrialState.RUNNING, TrialState.WAITING)
        if not open_trials or draw.random() < 0.3:
            writer.create_new_trial(self.id, draw.choice([None, create_trial(state=TrialState.WAITING)]))
            return
        trial = draw.choice(open_trials)
        if trial.state == TrialState.WAITING:
            writer.set_trial_state_values(trial_id(trial), TrialState.RUNNING)
            return
        match draw.choice(["report", "attribute", "parameter", "end", "end"]):
            case "report":
                writer.set_trial_intermediate_value(trial_id(trial), draw.randrange(9), draw.random())
            case "attribute":
                writer.set_trial_user_attr(trial_id(trial), "a", draw.random())
            case "parameter":
                # Not through the cache, which takes parameters of trials only that it has read.
                distribution = FloatDistribution(0, 1)
                self.elsewhere.set_trial_param(trial_id(trial), draw.choice("xyz"), draw.random(), distribution)
            case "end":
                state = draw.choice(FINISHED)
                values = None if state == TrialState.FAIL else [draw.random()]
                writer.set_trial_state_values(trial_id(trial), state, values)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    here, elsewhere = (open_storage(f"sqlite:///{tmp_path}/study.db") for _ in range(2))
    yield Study(here, elsewhere)
    for storage in (here, elsewhere):
        storage.engine.dispose()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_two_writers_do_the_cache_reads_the_same_trials(study: Study, seed: int) -> None:
    """In the order of their numbers, which samplers rely on."""
    draw = random.Random(seed)
    readings: list[tuple[TrialState, ...]] = [(), FINISHED, FINISHED[:1], (TrialState.COMPLETE, TrialState.RUNNING)]
    for _ in range(60):
        for _ in range(draw.randrange(4)):
            study.write(draw)
        states = draw.choice(readings)
        found = study.read(*states)
        assert found == sorted(study.there(*states), key=lambda trial: trial.number)
        with study.cache.as_read() if draw.random() < 0.2 else nullcontext():
            assert study.read(*states) == found
    assert len(study.there(*FINISHED)) > 10
