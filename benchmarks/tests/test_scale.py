"""The benchmark of the service counts what it says: waiting, statements, and everything that goes wrong."""

from collections.abc import Callable
from pathlib import Path

import optuna
import psycopg
import pytest

from benchmarks import scale
from benchmarks.slots import cell, supervisors
from benchmarks.slots.cell import Cell, Found
from benchmarks.slots.supervisors import History, opening
from search.study.storage import open_storage
from search.trial import Evaluation, StopReason
from search.workers import following
from search.workers.work import told
from tests.postgres import Server

CELL = Cell(slots=4, trials=30, pace=0.1, seconds=1.0)


@pytest.fixture(scope="module")
def past(server: Server, tmp_path_factory: pytest.TempPathFactory) -> History:
    return History(server, tmp_path_factory.mktemp("history"), CELL.trials)


@pytest.fixture
def measured(server: Server, past: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Found]:
    """Measures CELL with two supervisors of two slots."""
    monkeypatch.setattr(supervisors, "NODE", 2)
    return lambda: cell.measure(server, past, tmp_path, CELL)


def test_what_an_undisturbed_cell_shows(measured: Callable[[], Found], capsys: pytest.CaptureFixture[str]) -> None:
    found = measured()
    assert found.errors == []
    assert len(found.start) == 4
    assert found.decision
    assert 0 < found.share < 1
    assert 2 <= found.connections <= 6
    assert found.statements > 3 * found.evaluations
    assert found.transactions > found.evaluations
    assert found.supervisor_cpu > 0
    scale.show_row(found)
    assert capsys.readouterr().out.startswith("| 4 | 30 | 0.1 s | ")


def evaluations_are_dropped(monkeypatch: pytest.MonkeyPatch, _: Server) -> None:
    monkeypatch.setattr(following, "decide", lambda _work, _job, each, before: before.append(each))


@pytest.mark.parametrize(
    ("fault", "errors"),
    [
        (evaluations_are_dropped, ["evaluations were heard, 0 are stored"]),
    ],
)
def test_what_goes_wrong_is_counted(
    measured: Callable[[], Found],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch, Server], None],
    errors: list[str],
) -> None:
    fault(monkeypatch, server)
    found = measured().errors
    for error in errors:
        assert any(error in text for text in found), found


def test_a_history_is_what_optuna_would_have_written(server: Server, past: History) -> None:
    """Row for row, but for the ids that the database gives; values are those that a search tells."""
    storage = open_storage(past.url)
    url = server.empty_database()
    try:
        (name,) = optuna.get_all_study_names(storage)
        trials = optuna.load_study(study_name=name, storage=storage).get_trials()
    finally:
        storage.engine.dispose()
    assert {trial.state.name for trial in trials} == {"COMPLETE", "PRUNED"}
    for trial in trials:
        evaluations = [Evaluation(**each) for each in trial.system_attrs["run"]["evaluations"]]
        assert {e.step: e.mel_ce for e in evaluations} == trial.intermediate_values
        assert told(StopReason(trial.user_attrs["stop_reason"]), evaluations) == (trial.state, trial.value)
    theirs = open_storage(url)
    optuna.create_study(storage=theirs).add_trials(trials)
    theirs.engine.dispose()
    for table, columns in {
        "trials": "state, datetime_start, datetime_complete",
        "trial_values": "objective, value, value_type",
        "trial_params": "param_name, param_value, distribution_json",
        "trial_intermediate_values": "step, intermediate_value, intermediate_value_type",
        "trial_user_attributes": "key, value_json",
        "trial_system_attributes": "key, value_json",
    }.items():
        query = f"SELECT number, {columns} FROM {table}" + (
            " JOIN trials USING (trial_id)" if table != "trials" else ""
        )
        found = []
        for place in (past.url, url):
            with psycopg.connect(place) as connection:
                found.append(sorted(connection.execute(query.encode()).fetchall()))
        assert found[0] == found[1], table
        assert len(found[0]) >= CELL.trials


def test_opening_a_study_is_measured(past: History, tmp_path: Path) -> None:
    found = opening(past, tmp_path)
    assert all(value >= 0 for value in found.values())
    assert found["opening, s"] > found["opening, CPU s"] > 0
    assert found["sampling, ms"] > 0
