import socket
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from optuna.pruners import NopPruner

from search import storage
from search.errors import UserError
from search.pruners import FirstToFire
from search.settings import Settings, load
from search.trial import Prepared, evaluation_steps

PREPARED = Prepared(
    directory="prepared",
    train_clips=100,
    eval_clips=20,
    probe_clips=20,
    train_seconds=300.0,
    eval_seconds=60.0,
    dropped=[],
    added_tokens=[],
    vocabulary_size=60,
    base_evaluation={"step": 0, "mel_ce": 5.0, "text_ce": 2.0, "probe_mel_ce": 5.0, "probe_text_ce": 2.0},
    coqui_config={"optimizer_params": {"betas": [0.9, 0.96]}},
    data_fingerprint="data-1",
    base_fingerprint="base-1",
    versions={"python": "3.11.7", "torch": "2.8.0"},
)


def miniature(directory: Path, overrides: dict[str, Any] | None = None) -> Settings:
    """Trials of 200 optimizer steps, evaluated every 20."""
    (directory / "study.toml").touch()  # an empty file is the miniature
    settings = load(directory / "study.toml", {"study.directory": str(directory), **(overrides or {})})
    settings.directory.mkdir(parents=True, exist_ok=True)
    return settings


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that exists."""
    directory = tmp_path_factory.mktemp("runs")
    storage.open_study(miniature(directory), PREPARED).ask()
    return directory


def refusal(action: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        action(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Databases


def test_sqlite_writes_ahead(tmp_path: Path) -> None:
    storage.open_storage(f"sqlite:///{tmp_path}/study.db")
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_sqlite_is_read_while_another_process_writes(stored: Path) -> None:
    with sqlite3.connect(stored / "miniature/study.db", isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")  # a rollback journal would keep readers out
        try:
            assert len(storage.load_study(miniature(stored)).trials) == 1
        finally:
            writer.execute("ROLLBACK")


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("action", [storage.check_reachable, storage.open_storage])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://reader:hunter2@127.0.0.1:{port}/db",
        "postgres://reader:hunter2@127.0.0.1:{port}/db",
        "postgresql+psycopg://reader:hunter2@127.0.0.1:{port}/db",
        "postgresql://reader@127.0.0.1:{port}/db?password=hunter2",
    ],
)
def test_a_server_that_does_not_answer_is_said_in_one_line(action: Any, url: str, closed_port: int) -> None:
    message = refusal(action, url.format(port=closed_port))
    assert f"127.0.0.1:{closed_port}/db" in message
    assert "Connection refused" in message
    assert "psycopg" in message
    assert "hunter2" not in message


def test_a_folder_that_is_a_file_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file/study.db cannot be" in refusal(storage.open_storage, f"sqlite:///{tmp_path}/file/study.db")


def test_a_driver_that_is_not_installed_is_named() -> None:
    message = refusal(storage.check_reachable, "mysql+mysqldb://reader:hunter2@127.0.0.1/db")
    assert "mysql+mysqldb://reader:***@127.0.0.1/db needs the Python package MySQLdb" in message


def test_a_file_that_is_no_database_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("not a database " * 100)
    message = refusal(storage.open_storage, f"sqlite:///{tmp_path}/study.db")
    assert f"{tmp_path}/study.db cannot be opened: file is not a database" in message


def test_check_reachable_creates_nothing(tmp_path: Path) -> None:
    storage.check_reachable(f"sqlite:///{tmp_path}/study.db")
    assert not list(tmp_path.iterdir())


# Studies


def test_a_study_that_is_not_there_is_refused_and_nothing_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(None, {})
    assert not storage.exists(settings)
    message = refusal(storage.load_study, settings)
    assert "study 'miniature' does not exist in sqlite:///" in message
    assert "--study" in message
    assert not list(tmp_path.iterdir())


def test_another_name_in_the_same_database_is_refused(stored: Path) -> None:
    url = f"sqlite:///{stored}/miniature/study.db"
    settings = miniature(stored, {"study.name": "other", "study.storage": url})
    assert not storage.exists(settings)
    assert "study 'other' does not exist" in refusal(storage.load_study, settings)


def test_a_new_study_keeps_what_its_trials_run_under(stored: Path) -> None:
    study = storage.load_study(miniature(stored))
    assert study.user_attrs["horizon"] == 200
    assert study.user_attrs["full_horizon"] == 1000
    assert Prepared(**study.user_attrs["prepared"]) == PREPARED
    assert study.user_attrs["fingerprint"]["data"] == "data-1"
    assert study.directions == [optuna.study.StudyDirection.MINIMIZE]


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"study.trials": 99},
        {"study.workers": 2},
        {"study.max_retries": 0},
        {"study.stall_minutes": 5},
        {"training.eval_batch_size": 3},
    ],
)
def test_the_same_study_is_resumed(stored: Path, overrides: dict[str, Any]) -> None:
    study = storage.open_study(miniature(stored, overrides), PREPARED)
    assert len(study.trials) == 1


def test_a_study_is_resumed_under_another_python(stored: Path) -> None:
    there = replace(PREPARED, directory="elsewhere", versions={**PREPARED.versions, "python": "3.12.0"})
    assert len(storage.open_study(miniature(stored), there).trials) == 1


SPACE = "version = 1\n[lr]\nlow = 1e-5\nhigh = 1e-3\n[weight_decay]\nvalue = 0\n"


@pytest.mark.parametrize(
    ("overrides", "differences"),
    [
        ({"study.seed": 2}, ["seed: 1 there, 2 here"]),
        (
            {"training.batch_size": 5},
            ["batch_size: 4 there, 5 here", "horizon: 200 there, 160 here", "full_horizon: 1000"],
        ),
        (
            {"training.accumulation": 5},
            ["accumulation: 1 there, 5 here", "horizon: 200", "full_horizon: 1000 there, 200"],
        ),
        ({"training.truncation": 0.5}, ["horizon: 200 there, 500 here"]),
        ({"training.evaluations": 5}, ["evaluations: 10 there, 5 here"]),
        ({"training.precision": "bf16"}, ["precision: fp32 there, bf16 here"]),
        ({"pruning.min_delta": 0.5}, ["pruning: {'median': True", "'min_delta': 0.0} there", "'min_delta': 0.5} here"]),
        ({"data.min_conditioning_seconds": 0.6}, ["conditioning_seconds: [0.5, 1.0] there, [0.6, 1.0] here"]),
        ({"space.preset": "xtts-v2"}, ["space: "]),
        (
            {"study.seed": 2, "training.precision": "bf16"},
            ["seed: 1 there, 2 here", "precision: fp32 there, bf16 here"],
        ),
    ],
)
def test_other_settings_are_refused_with_each_difference(
    stored: Path, overrides: dict[str, Any], differences: list[str]
) -> None:
    message = refusal(storage.open_study, miniature(stored, overrides), PREPARED)
    assert all(difference in message for difference in differences), message
    # "a: 1 there, 2 here; b: ..." names what differs and nothing else
    named = {difference.split(":")[0] for difference in differences if not difference.startswith("'")}
    assert {part.split(":")[0] for part in message.split("(")[1].split(")")[0].split("; ")} == named
    assert "--study" in message


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"data_fingerprint": "data-2"}, "data: data-1 there, data-2 here"),
        ({"base_fingerprint": "base-2"}, "base: base-1 there, base-2 here"),
        ({"versions": {"torch": "2.9.0"}}, "versions: {'torch': '2.8.0'} there, {'torch': '2.9.0'} here"),
        ({"train_clips": 200}, "full_horizon: 1000 there, 2000 here"),
    ],
)
def test_other_data_base_or_versions_are_refused(stored: Path, change: dict[str, Any], difference: str) -> None:
    assert difference in refusal(storage.open_study, miniature(stored), replace(PREPARED, **change))


def test_a_study_of_another_tool_is_refused(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    optuna.create_study(study_name="miniature", storage=settings.storage_url, direction="maximize").ask()
    assert "study 'miniature'" in refusal(storage.open_study, settings, PREPARED)


def test_a_look_leaves_a_foreign_database_alone(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    with sqlite3.connect(settings.directory / "study.db") as connection:
        connection.execute("CREATE TABLE cookbook (recipe)")
    before = (settings.directory / "study.db").read_bytes()
    assert not storage.exists(settings)
    assert (settings.directory / "study.db").read_bytes() == before


# Sampler and pruner


def first_values(seed: int, trials: int) -> list[float]:
    study = optuna.create_study(sampler=storage.make_sampler(seed, trials))
    return [study.ask().suggest_float("lr", 0, 1) for _ in range(3)]


def test_the_sampler_is_seeded_and_a_resumed_study_draws_on() -> None:
    assert first_values(1, 0) == first_values(1, 0)
    assert first_values(1, 0) != first_values(2, 0)
    assert first_values(1, 0) != first_values(1, 12)


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
        ({}, [1, 2, 3, 4], [None, None, "two_increases", "two_increases"]),
        ({"pruning.warmup_evaluations": 0}, [3, 2], ["median", "median"]),
        ({"pruning.startup_trials": 7}, [3, 2.8, 2.6, 2.4], [None] * 4),
        ({"pruning.median": False}, [3, 2.8, 2.6, 2.4], [None] * 4),
        ({"pruning.two_increases": False}, [1, 2, 3, 4], [None, None, None, None]),  # its best is still the median
        ({"pruning.n_increases": 1}, [1, 2], [None, "two_increases"]),
        ({"pruning.min_delta": 1}, [1, 2, 3], [None, None, None]),
    ],
)
def test_the_pruner_follows_the_settings(
    tmp_path: Path, overrides: dict[str, Any], values: list[float], expected: list[str | None]
) -> None:
    assert fired(miniature(tmp_path, overrides), values) == expected


def test_without_rules_nothing_is_pruned(tmp_path: Path) -> None:
    settings = miniature(tmp_path, {"pruning.median": False, "pruning.two_increases": False})
    assert isinstance(storage.make_pruner(settings, PREPARED), NopPruner)


@examples(deadline=None)
@given(st.integers(1, 10**6), st.integers(2, 50))
def test_evaluations_are_equally_spaced_and_end_with_the_run(horizon: int, count: int) -> None:
    steps = evaluation_steps(horizon, count)
    assert len(steps) == min(count, horizon)
    assert steps[-1] == horizon
    gaps = [b - a for a, b in zip([0, *steps], steps, strict=False)]
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 2
