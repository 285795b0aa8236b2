"""The dashboard: its pages on real databases."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.pages import dashboard_answers as pages
from search.study import storage
from tests.dashboards import CHANGES, PAGE, Dashboard, found
from tests.postgres import PASSWORD, Server


@pytest.fixture
def dashboard(either: str, tmp_path: Path) -> Iterator[Dashboard]:
    made = Dashboard(either, tmp_path)
    yield made
    made.opened.engine.dispose()


def test_what_did_not_change_is_not_read_again(either: str, dashboard: Dashboard) -> None:
    found(either)
    first = dashboard.get("/api/studies/1")
    assert [t["number"] for t in first.get_json()["trials"]] == [0, 1, 2]
    assert first.get_json()["note"]["body"] == "voice ሰላም"
    read: list[int] = []
    get_trials = dashboard.opened._get_trials

    def count(*arguments: Any, **named: Any) -> Any:
        trials = get_trials(*arguments, **named)
        read.append(len(trials))
        return trials

    dashboard.opened._get_trials = count  # type: ignore[method-assign]
    again = dashboard.get("/api/studies/1")
    assert (again.data, again.headers["ETag"]) == (first.data, first.headers["ETag"])
    assert dashboard.content.asked == 1
    assert dashboard.study(after=3)["trials"] == dashboard.study(after=3)["trials"] == []
    assert dashboard.content.asked == 2
    assert dashboard.get("/api/studies/1/param_importances").status_code == 200
    assert sum(read) == 0


def test_what_changed_is_shown_at_once(either: str, dashboard: Dashboard) -> None:
    study = found(either)
    running: list[optuna.Trial] = []
    changes: list[tuple[Callable[[], Any], Callable[[dict[str, Any]], Any], Any]] = [
        (lambda: running.append(study.ask({"lr": CHANGES})), lambda d: d["trials"][3]["state"], "Running"),
        (lambda: running[0].report(0.25, 1), lambda d: d["trials"][3]["intermediate_values"][0]["value"], 0.25),
        (lambda: running[0].set_user_attr("host", "gpu"), lambda d: d["trials"][3]["user_attrs"][0]["value"], "gpu"),
        (lambda: study.tell(running[0], -1.0), lambda d: d["best_trials"][0]["number"], 3),
        (lambda: study.set_user_attr("who", "me"), lambda d: d["user_attrs"][0]["value"], "me"),
        (lambda: study.enqueue_trial({"lr": 0.5}), lambda d: d["trials"][4]["state"], "Waiting"),
        (lambda: study.add_trial(optuna.trial.create_trial(value=-2.0)), lambda d: len(d["trials"]), 6),
        (
            lambda: dashboard.client.put("/api/studies/1/1/note", json={"version": 1, "body": "mine"}, headers=PAGE),
            lambda d: d["trials"][0]["note"]["body"],
            "mine",
        ),
    ]
    before = dashboard.get("/api/studies/1").headers["ETag"]
    for change, look, expected in changes:
        change()
        assert look(dashboard.study()) == expected
        after = dashboard.get("/api/studies/1").headers["ETag"]
        assert after != before
        before = after
    assert [t["number"] for t in dashboard.study(after=4)["trials"]] == [4, 5]

    asked = dashboard.content.asked
    confirmation = found(either, "voice.confirm", 0)
    dashboard.study()
    confirmation.ask({"lr": CHANGES})
    dashboard.study()
    assert dashboard.content.asked == asked + 2  # its figures are the search's, too
    found(either, "another")
    dashboard.study()
    assert dashboard.content.asked == asked + 2


def test_a_study_that_was_deleted_and_made_again(either: str, dashboard: Dashboard) -> None:
    """SQLite gives the new one the old one's number, and its trials the old numbers, too."""
    for trials in (3, 2, 5):
        study = found(either, trials=trials)
        study.set_user_attr("trials", trials)
        document = dashboard.study(study._study_id)
        assert len(document["trials"]) == trials
        assert [t["datetime_start"] for t in document["trials"]] == [t.datetime_start.isoformat() for t in study.trials]  # type: ignore[union-attr]
        optuna.delete_study(study_name="voice", storage=study._storage)
        assert dashboard.get(f"/api/studies/{study._study_id}").status_code == 404
        assert dashboard.get(f"/api/studies/{study._study_id}/param_importances").status_code == 404


def test_studies_of_others_do_no_harm(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    dashboard = Dashboard(url, tmp_path)
    found(url)
    two = optuna.create_study(study_name="two aims", storage=storage.open_storage(url), directions=["minimize"] * 2)
    two.add_trial(optuna.trial.create_trial(values=[1.0, float("inf")], user_attrs={"odd": [None, {"a": "\ud800"}]}))
    two.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, intermediate_values={0: float("nan")}))
    optuna.create_study(study_name="empty", storage=storage.open_storage(url), direction="maximize")
    assert dashboard.study(2)["trials"][0]["values"] == [1.0, "inf"]
    assert dashboard.study(3)["trials"] == []
    assert dashboard.get("/api/studies").get_json()["studies_seen"] == 3
    assert len(dashboard.study(1)["trials"]) == 3


def test_answers_travel_packed_and_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    dashboard = Dashboard(url, tmp_path)
    found(url)
    plain = dashboard.get("/api/studies/1")
    packed = dashboard.get("/api/studies/1", Accept_Encoding="br, gzip")
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert plain.headers["ETag"] != packed.headers["ETag"]
    for answer in (plain, packed):
        assert "no-cache" in answer.headers["Cache-Control"]
        headers = {
            "If_None_Match": answer.headers["ETag"],
            "Accept_Encoding": answer.headers.get("Content-Encoding", ""),
        }
        same = dashboard.get("/api/studies/1", **headers)
        assert (same.status_code, same.data) == (304, b"")
    assert len(dashboard.get("/api/studies/1?after=1&after=3").get_json()["trials"]) == 2
    assert len(dashboard.study(after=1)["trials"]) == 2
    for wrong in ("x", "", "1.5"):
        assert "after" in dashboard.get(f"/api/studies/1?after={wrong}").get_json()["reason"]


def test_many_questions_need_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "KEPT", 3)
    url = f"sqlite:///{tmp_path}/study.db"
    made = Dashboard(url, tmp_path)
    found(url)
    for after in range(6):
        made.study(after=after)
    assert len(made.pages._answers) == 3


def test_an_outage_is_told_and_survived(
    database: str, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Dashboard(database, tmp_path)
    found(database)
    caplog.clear()
    before = made.study()
    name = database.rpartition("/")[2]

    def allow(connections: str) -> None:
        with server.connect("postgres") as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {connections}".encode())

    allow("false")
    server.end_connections()
    for path in ("/api/studies/1", "/api/studies/1?after=3", "/api/studies", "/csv/1", "/artifacts/1/1/ab"):
        answer = made.get(path)
        assert answer.status_code == 503, path
        assert "database does not answer" in answer.get_json()["reason"]
        assert answer.headers["Retry-After"]
        assert PASSWORD not in answer.text
    assert made.get("/dashboard").status_code == 200
    assert not caplog.records
    allow("true")
    assert made.study() == before
    made.opened.engine.dispose()


def test_a_failure_of_ours_is_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    made = Dashboard(url, tmp_path)
    found(url)
    made.content.study = None  # type: ignore[assignment,method-assign]
    answer = made.get("/api/studies/1")
    assert (answer.status_code, answer.headers["X-Content-Type-Options"]) == (500, "nosniff")
    assert "not callable" not in answer.text
    assert "not callable" in caplog.text
