import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from optuna.trial import TrialState

from search.errors import UserError
from search.settings.settings import Settings, load
from search.study import storage
from search.study.database import StudyStorage
from search.study.ledger import Ledger
from search.study.pruners import FirstToFire
from search.study.sampler import make_sampler
from search.trial import Prepared, evaluation_steps
from tests.stub import PREPARED

OWNER = {"host": "here", "machine": "m", "pid": 1, "started": 0.0, "grace_seconds": 60.0}


def miniature(directory: Path, overrides: dict[str, Any] | None = None) -> Settings:
    """Trials of 200 optimizer steps, evaluated every 20."""
    (directory / "study.toml").touch()  # an empty file is the miniature
    settings = load(directory / "study.toml", {"study.directory": str(directory), **(overrides or {})})
    settings.directory.mkdir(parents=True, exist_ok=True)
    return settings


def opened(settings: Settings) -> StudyStorage:
    return storage.open_storage(settings.storage_url)


def begun(settings: Settings, prepared: Prepared = PREPARED) -> tuple[optuna.Study, Ledger]:
    """The study as a search opens it."""
    return storage.open_study(settings, prepared, opened(settings))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that exists, with the first of its three baselines claimed."""
    directory = tmp_path_factory.mktemp("runs")
    _, ledger = begun(miniature(directory))
    ledger.claim(10, OWNER)
    return directory


def refusal(action: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        action(*arguments)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "t0p" not in str(caught.value)
    return str(caught.value)


# Studies


def test_a_study_that_is_not_there_is_refused_and_nothing_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(None, {})
    assert not storage.exists(settings)
    message = refusal(storage.load_study, settings)
    assert "study 'miniature' does not exist in sqlite:///" in message
    assert not list(tmp_path.iterdir())


def test_sqlite_is_read_while_another_process_writes(stored: Path) -> None:
    with sqlite3.connect(stored / "miniature/study.db", isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")  # a rollback journal would keep readers out
        try:
            assert len(storage.load_study(miniature(stored)).trials) == 3
        finally:
            writer.execute("ROLLBACK")


def test_a_new_study_keeps_what_its_trials_run_under(stored: Path) -> None:
    study = storage.load_study(miniature(stored))
    assert study.user_attrs["horizon"] == 50
    assert study.user_attrs["full_horizon"] == 1000
    assert Prepared(**study.user_attrs["prepared"]) == PREPARED
    assert study.user_attrs["fingerprint"]["data"] == "data-1"
    assert study.directions == [optuna.study.StudyDirection.MINIMIZE]
    assert [trial.user_attrs["baseline"] for trial in study.trials] == ["V0", "V1", "V2"]


def test_searches_that_start_together_found_one_study(database: str, tmp_path: Path) -> None:
    settings = miniature(tmp_path, {"study.storage": database})
    with ThreadPoolExecutor(5) as threads:
        found = [call.result() for call in [threads.submit(begun, settings) for _ in range(5)]]
    assert len({ledger.study_id for _, ledger in found}) == 1
    assert len(storage.load_study(settings).trials) == 3
    drawn = {study.sampler._rng.rng.random() for study, _ in found}  # type: ignore[attr-defined]
    assert len(drawn) == 5  # no two of them draw the same
    for _, ledger in found:
        ledger._storage.engine.dispose()


@pytest.mark.parametrize(
    "overrides",
    [
        {"study.trials": 99, "study.workers": 2, "study.max_retries": 0, "study.stall_minutes": 5},
        {"service.grace_seconds": 300, "training.eval_batch_size": 3},
    ],
)
def test_the_same_study_is_resumed(stored: Path, overrides: dict[str, Any]) -> None:
    study, _ = begun(miniature(stored, overrides))
    assert len(study.trials) == 3


def test_other_settings_and_data_are_refused_with_a_line_for_each_difference(stored: Path) -> None:
    settings = miniature(stored, {"study.seed": 2, "pruning.min_delta": 0.5})
    before = storage.load_study(settings).trials
    with pytest.raises(UserError) as caught:
        begun(settings, replace(PREPARED, data_fingerprint="data-2"))
    assert "\n" not in str(caught.value)
    assert "study 'miniature' in sqlite:////" in str(caught.value)
    assert "was made with other settings; give this search another name with --study" in str(caught.value)
    assert caught.value.details == (
        "data: data-1 there, data-2 here (digests of texts, speakers and audio, in the tables' order)",
        "seed: 1 there, 2 here",
        "pruning.min_delta: auto there, 0.5 here",
    )
    assert storage.load_study(settings).trials == before


@pytest.mark.parametrize(("direction", "trials"), [("maximize", 0), ("minimize", 1)])
def test_a_study_of_another_tool_is_refused(tmp_path: Path, direction: str, trials: int) -> None:
    settings = miniature(tmp_path)
    study = optuna.create_study(study_name="miniature", storage=settings.storage_url, direction=direction)
    for _ in range(trials):
        study.ask()
    assert "study 'miniature'" in refusal(begun, settings)
    assert (len(study.trials), study.user_attrs) == (trials, {})


# Sampler and pruner


def test_a_claimed_trial_is_suggested_its_baseline_and_then_what_the_sampler_draws(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    study, ledger = begun(settings)
    space = settings.search_space()
    points = []
    for _ in range(5):
        claim = ledger.claim(10, OWNER)
        assert claim.trial_id is not None
        trial, point = storage.suggest(study, claim.trial_id, space)
        assert space.from_params(study.trials[trial.number].params) == point
        points.append(point)
        ledger.end(claim.trial_id, TrialState.COMPLETE, 1.0, {"stop_reason": "finished"}, 2)
    clipped = [space.from_params(space.to_params(baseline.hyperparameters)[0]) for baseline in space.baselines]
    assert points[:3] == clipped
    assert len(set(points)) == 5


def first_values(seed: int, search: int) -> tuple[float, ...]:
    study = optuna.create_study(sampler=make_sampler(seed, search))
    return tuple(study.ask().suggest_float("lr", 0, 1) for _ in range(3))


def test_the_sampler_is_seeded_and_no_two_searches_draw_the_same() -> None:
    assert first_values(1, 1) == first_values(1, 1)
    drawn = [first_values(seed, search) for seed in (1, 2, 3, 2**31 - 1) for search in (1, 2, 3, 5000)]
    assert len(set(drawn)) == len(drawn)


def fired(settings: Settings, values: Sequence[float]) -> list[str | None]:
    """The rule that stops a trial after each of `values`, in a study with six completed trials of 1.0 throughout."""
    pruner = storage.make_pruner(settings, PREPARED)
    study = optuna.create_study(pruner=pruner)
    steps = evaluation_steps(settings.trial_horizon(PREPARED.train_clips), settings.training.evaluations)
    for _ in range(6):
        complete = study.ask()
        for step in steps:
            complete.report(1.0, step)
        study.tell(complete, 1.0)
    trial = study.ask()
    found = []
    for step, value in zip(steps, values, strict=False):
        trial.report(value, step)
        assert isinstance(pruner, FirstToFire)
        found.append(pruner.fired(study, study.trials[-1]))
    return found


@pytest.mark.parametrize(
    ("overrides", "values", "expected"),
    [
        ({}, [0.5, 0.4, 0.3, 0.2], [None] * 4),
        ({"pruning.warmup_evaluations": 3}, [3, 2.8, 2.6, 2.4], [None, None, None, "median"]),
        ({}, [1, 2, 3, 4], [None, None, None, "two_increases"]),  # of 4 gained since the base, half is undone
        ({}, [1, 2, 3.1], [None, None, "two_increases"]),
        ({"pruning.min_delta": 0.5}, [1, 1.6, 2.2], [None, None, "two_increases"]),
        ({"pruning.median": False}, [3, 2.8, 2.6, 2.4], [None] * 4),
        ({"pruning.two_increases": False}, [1, 2, 3, 4], [None, None, None, None]),  # its best is still the median
        ({"pruning.n_increases": 1}, [1, 3.1], [None, "two_increases"]),
    ],
)
def test_the_pruner_follows_the_settings(
    tmp_path: Path, overrides: dict[str, Any], values: list[float], expected: list[str | None]
) -> None:
    assert fired(miniature(tmp_path, overrides), values) == expected


@examples(deadline=None)
@given(st.integers(1, 10**6), st.integers(2, 50))
def test_evaluations_are_equally_spaced_and_end_with_the_run(horizon: int, count: int) -> None:
    steps = evaluation_steps(horizon, count)
    assert len(steps) == min(count, horizon)
    assert steps[-1] == horizon
    gaps = [b - a for a, b in zip([0, *steps], steps, strict=False)]
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 2
