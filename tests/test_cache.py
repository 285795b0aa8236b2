"""The cache against a storage that reads everything anew, while two writers change the study."""

import random
import threading
from collections.abc import Iterator

import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.database import StudyStorage
from search.study.storage import open_storage
from search.study.study_cache import StudyCache

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Study:
    """A study that two processes hold open: one through the cache, the other plainly."""

    def __init__(self, here: StudyStorage, elsewhere: StudyStorage) -> None:
        self.cache = StudyCache(here)
        self.elsewhere = elsewhere
        self.id = elsewhere.create_new_study([StudyDirection.MINIMIZE])

    def read(self, *states: TrialState) -> list[FrozenTrial]:
        """As a sampler or a pruner reads: no copies."""
        return self.cache.get_all_trials(self.id, deepcopy=False, states=states or None)

    def finished(self) -> list[int]:
        return sorted(trial.number for trial in self.read(*FINISHED))

    def there(self, *states: TrialState) -> list[FrozenTrial]:
        return self.elsewhere.get_all_trials(self.id, states=states or None)

    def write(self, draw: random.Random) -> None:
        """A change by one of the two: mostly to trials that are there."""
        writer = draw.choice([self.cache, self.elsewhere])
        open_trials = self.there(TrialState.RUNNING, TrialState.WAITING)
        if not open_trials or draw.random() < 0.3:
            queued = create_trial(state=TrialState.WAITING)
            writer.create_new_trial(self.id, draw.choice([None, queued]))
            return
        trial = draw.choice(open_trials)
        if trial.state == TrialState.WAITING:
            writer.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
            return
        match draw.choice(["report", "attribute", "parameter", "end", "end"]):
            case "report":
                writer.set_trial_intermediate_value(trial._trial_id, draw.randrange(9), draw.random())
            case "attribute":
                writer.set_trial_user_attr(trial._trial_id, "a", draw.random())
            case "parameter":
                # Not through the cache, which takes parameters of trials only that it has read.
                distribution = FloatDistribution(0, 1)
                self.elsewhere.set_trial_param(trial._trial_id, draw.choice("xyz"), draw.random(), distribution)
            case "end":
                state = draw.choice(FINISHED)
                values = None if state == TrialState.FAIL else [draw.random()]
                writer.set_trial_state_values(trial._trial_id, state, values)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('cache')}/study.db"


@pytest.fixture
def study(url: str) -> Iterator[Study]:
    here, elsewhere = open_storage(url), open_storage(url)
    yield Study(here, elsewhere)
    for storage in (here, elsewhere):
        storage.engine.dispose()


def ordered(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return sorted(trials, key=lambda trial: trial.number)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_two_writers_do_the_cache_reads_the_same_trials(study: Study, seed: int) -> None:
    draw = random.Random(seed)
    readings: list[tuple[TrialState, ...]] = [
        (),
        FINISHED,
        (TrialState.COMPLETE,),
        (TrialState.COMPLETE, TrialState.PRUNED),
        (TrialState.COMPLETE, TrialState.RUNNING),
        (TrialState.WAITING,),
    ]
    for _ in range(60):
        for _ in range(draw.randrange(4)):
            study.write(draw)
        states = draw.choice(readings)
        assert ordered(study.read(*states)) == study.there(*states)
        if draw.random() < 0.2:
            with study.cache.one_reading(study.id):
                assert study.read() == study.there()
    assert study.read() == study.there()
    assert len(study.there(*FINISHED)) > 10


def test_trials_come_in_the_order_of_their_numbers(study: Study) -> None:
    """ "Some samplers assume this behavior", says Optuna's own cache."""
    ids = [study.elsewhere.create_new_trial(study.id) for _ in range(3)]
    for trial_id in reversed(ids):
        study.elsewhere.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
        assert study.read(*FINISHED) == study.there(*FINISHED)


def test_finished_trials_are_read_only_once(study: Study) -> None:
    for _ in range(3):
        trial_id = study.elsewhere.create_new_trial(study.id)
        study.elsewhere.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
    study.read()
    before = study.read(*FINISHED)
    running = study.elsewhere.create_new_trial(study.id)
    assert study.read(*FINISHED) == before
    assert all(a is b for a, b in zip(study.read(*FINISHED), before, strict=True))
    study.elsewhere.set_trial_state_values(running, TrialState.PRUNED, [1.0])
    assert study.finished() == [0, 1, 2, 3]


def test_one_reading_is_still_in_its_thread_and_in_no_other(study: Study) -> None:
    study.elsewhere.create_new_trial(study.id)
    elsewhere: list[int] = []

    def look() -> None:
        elsewhere.append(len(study.cache.get_all_trials(study.id)))

    with study.cache.one_reading(study.id):
        assert len(study.read()) == 1
        study.elsewhere.create_new_trial(study.id)
        assert len(study.read()) == 1
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert elsewhere == [2]
    assert len(study.read()) == 2


@pytest.mark.parametrize("reader", ["another thread", "this one, of finished trials"])
def test_one_reading_is_still_whoever_else_reads(study: Study, reader: str) -> None:
    trial_id = study.elsewhere.create_new_trial(study.id)
    with study.cache.one_reading(study.id):
        study.elsewhere.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
        if reader == "another thread":
            thread = threading.Thread(target=study.read)
            thread.start()
            thread.join()
        else:
            study.read(*FINISHED)
        assert [trial.state for trial in study.read()] == [TrialState.RUNNING]


def test_an_error_in_the_block_ends_the_reading(study: Study) -> None:
    study.elsewhere.create_new_trial(study.id)

    def interrupted() -> None:
        with study.cache.one_reading(study.id):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    study.elsewhere.create_new_trial(study.id)
    assert len(study.read()) == 2
