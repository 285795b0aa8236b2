"""The noise of seeds: repeats of the stock recipe run unpruned and do not compete."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search.settings.settings import Settings
from search.show import tables
from search.study import storage
from search.study.findings import read
from search.study.leases import Leases
from search.study.noise import seed_sd
from search.trial import Evaluation, StopReason
from search.workers.work import Job, SearchWork
from tests.studies import FLAT, PREPARED, miniature, new_study, run

RISES = [3.0, 3.1, 3.2, 3.3]  # values of the first evaluations of a trial


@pytest.mark.parametrize(
    ("groups", "deviation", "freedom"),
    [
        ([], None, 0),
        ([[1.0], [2.0]], None, 0),
        ([[1.0, 1.0]], 0.0, 1),
        ([[1.0, 3.0]], math.sqrt(2), 1),
        ([[1.0, 2.0, 3.0]], 1.0, 2),
        ([[1.0, 3.0], [11.0, 12.0, 13.0]], math.sqrt(4 / 3), 3),
        ([[1.0, math.inf, 3.0, math.nan]], math.sqrt(2), 1),
    ],
)
def test_the_deviation_is_pooled_over_configs(groups: list[list[float]], deviation: float | None, freedom: int) -> None:
    assert seed_sd(groups) == (pytest.approx(deviation), freedom)


C, P, F = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


# The queue of a search


def queue(tmp_path: Path, **study: Any) -> list[tuple[float, dict[str, Any]]]:
    settings = miniature(tmp_path, {f"study.{key}": value for key, value in study.items()})
    return [(params["lr"], attributes) for params, attributes in storage.first_trials(settings)]


def test_without_repeats_a_search_begins_with_the_baselines(tmp_path: Path) -> None:
    assert queue(tmp_path) == [(1e-3, {"baseline": "V0"}), (4e-4, {"baseline": "V1"}), (2e-4, {"baseline": "V2"})]


@pytest.mark.parametrize(("seed", "seeds"), [(1, [2, 3]), (2**31 - 2, [2**31 - 1, 0])])
def test_repeats_come_first_each_with_a_seed_of_its_own(tmp_path: Path, seed: int, seeds: list[int]) -> None:
    assert queue(tmp_path, repeats=2, seed=seed) == [
        (1e-3, {"baseline": "V0", "repeat": 0}),
        (1e-3, {"repeat": 1, "seed": seeds[0]}),
        (1e-3, {"repeat": 2, "seed": seeds[1]}),
        (4e-4, {"baseline": "V1"}),
        (2e-4, {"baseline": "V2"}),
    ]


# A search


class Search:
    """A study with a queue, as a supervisor works on it, without its children."""

    def __init__(self, settings: Settings) -> None:
        self.database = storage.open_storage(settings.storage_url)
        self.study, self.ledger = storage.open_study(settings, PREPARED, self.database)
        self.leases = Leases(self.ledger, settings.service, settings.study.max_retries, lambda _: None)
        self.work = SearchWork(self.study, settings, PREPARED)

    def begin(self) -> Job:
        claim = self.work.claim(self.leases)
        assert claim.trial_id is not None
        return self.work.begin(claim.trial_id)

    def fired(self, job: Job, values: list[float]) -> StopReason | None:
        """The first rule that fires, evaluation by evaluation."""
        told = [Evaluation(step, v, 2.0, 2.0, 2.0) for step, v in zip(job.evaluation_steps, values, strict=False)]
        return next(filter(None, (self.work.fired(job, told[:count]) for count in range(1, len(told) + 1))), None)

    def end(self, job: Job, value: float | None, reason: StopReason = StopReason.FINISHED) -> None:
        state = C if value is not None else P if reason == StopReason.DIVERGED else F
        self.leases.end(job.trial._trial_id, state, value, {"stop_reason": str(reason), "run": {}})


def settings_of(folder: Path, url: str | None = None, **more: Any) -> Settings:
    overrides = {"study.repeats": 2, **more}
    return miniature(folder, {**overrides, **({"study.storage": url} if url else {})})


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    search = Search(settings_of(tmp_path))
    yield search
    search.database.engine.dispose()


def test_repeats_run_unpruned_with_seeds_of_their_own(search: Search) -> None:
    jobs = [search.begin() for _ in range(4)]
    assert [job.seed for job in jobs] == [1, 2, 3, 1]
    assert [job.point.lr for job in jobs] == [1e-3, 1e-3, 1e-3, 4e-4]
    assert [job.label for job in jobs] == [
        "baseline V0",
        "repeat 1 of the stock recipe",
        "repeat 2 of the stock recipe",
        "baseline V1",
    ]
    assert [job.competes for job in jobs] == [True, False, False, True]
    assert [search.fired(job, RISES) for job in jobs[:3]] == [None] * 3
    assert {job.horizon for job in jobs} == {200}


def test_the_last_evaluation_ends_no_trial_early(tmp_path: Path) -> None:
    search = Search(settings_of(tmp_path, **{"study.repeats": 0, "pruning.min_delta": 0.0}))
    job = search.begin()
    assert search.fired(job, [5.0] * 8 + [5.1, 5.2]) is None
    assert search.fired(job, [5.0] * 7 + [5.1, 5.2]) == StopReason.TWO_INCREASES
    search.database.engine.dispose()


@pytest.mark.parametrize("reason", [StopReason.CRASHED, StopReason.STOPPED_BY_USER])
def test_a_repeat_that_is_run_again_keeps_its_seed(search: Search, reason: StopReason) -> None:
    search.end(search.begin(), 3.0)
    search.end(search.begin(), None, reason)
    jobs = [search.begin() for _ in range(4)]
    again = jobs[-1]
    assert [job.label for job in jobs[:3]] == ["repeat 2 of the stock recipe", "baseline V1", "baseline V2"]
    assert (again.label, again.seed) == ("repeat 1 of the stock recipe", 2)
    assert search.fired(again, RISES) is None


# Who competes


def test_a_lucky_repeat_is_not_the_best_trial(either: str, tmp_path: Path) -> None:
    search = Search(settings_of(tmp_path, either))
    for value in (3.5, 3.0, 3.1):  # the first is the recipe's own
        search.end(search.begin(), value)
    assert search.work.claim(search.leases).best == (0, 3.5)
    search.database.engine.dispose()


def test_the_report_ranks_no_repeat_and_says_how_many_trials_lie_within_the_noise(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    study = new_study(settings)
    for number, value in enumerate((3.4, 3.0, 3.2)):
        baseline = None if number else "V0"
        run(study, FLAT, [4.0, value], baseline=baseline, attributes={"repeat": number, "seed": 1 + number})
    run(study, FLAT, [8.0], StopReason.DIVERGED, attributes={"repeat": 3, "seed": 9})
    for value in (2.9, 3.2, 3.35):
        run(study, {**FLAT, "lr": 4e-4}, [4.0, value])
    found = read(study)
    assert [row.trial.number for row in found.completed] == [4, 5, 6, 0] and found.finished == 7
    said = tables.verdict(found, settings.search_space())
    assert "It is 0.5000 below the stock recipe (V0, 3.4000)." in said
    assert [line for line in said if "noise" in line] == [
        "Seed noise: 3 runs of the stock recipe differ by 0.2000 (standard deviation); 2 trials, the best included,"
        " within twice that of the best."
    ]
