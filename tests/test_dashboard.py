"""The dashboard: its pages on real databases."""

import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import TrialState
from werkzeug.test import Client, TestResponse, create_environ, run_wsgi_app

from search import artifacts, storage
from search.dashboard import gate, pages
from tests.postgres import PASSWORD, Server

PAGE = {"Sec-Fetch-Site": "same-origin"}
CHANGES = optuna.distributions.FloatDistribution(0.0, 1.0)


class Content:
    """In place of search.dashboard.content: one note, one file, and a count of the documents that it was given."""

    def __init__(self) -> None:
        self.asked = 0

    def study(self, document: dict[str, Any]) -> None:
        self.asked += 1
        document["note"]["body"] = f"{document['name']} ሰላም"

    def studies(self, document: dict[str, Any]) -> None:
        document["studies_seen"] = len(document["study_summaries"])

    def resource(self, path: str) -> tuple[str, bytes] | None:
        return ("text/html", b"<script>harm()</script>") if path == "/logs/voice/3" else None


class Dashboard:
    """The pages behind a gate, as `study.py dashboard --writable` has them, without a server."""

    def __init__(self, url: str, folder: Path, writable: bool = True) -> None:
        self.opened = storage.open_storage(url)
        self.opened.patience = 0.2
        self.content = Content()
        self.store = FileSystemArtifactStore(folder)
        self.pages = pages.Pages(self.opened, self.store, lambda _: self.content, read_only=not writable)  # type: ignore[arg-type,return-value]
        self.client = Client(gate.Gate(self.pages, None, writable))

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def study(self, number: int = 1, after: int = 0) -> dict[str, Any]:
        answer = self.get(f"/api/studies/{number}?after={after}")
        assert answer.status_code == 200, answer.text
        return answer.get_json()  # type: ignore[no-any-return]


@pytest.fixture
def dashboard(either: str, tmp_path: Path) -> Iterator[Dashboard]:
    made = Dashboard(either, tmp_path)
    yield made
    made.opened.engine.dispose()


def found(url: str, name: str = "voice", trials: int = 3) -> optuna.Study:
    """A study by another process, as far as the dashboard can tell."""
    study = optuna.create_study(study_name=name, storage=storage.open_storage(url))
    for i in range(trials):
        trial = study.ask({"lr": CHANGES})
        trial.report(i + 0.5, 1)
        study.tell(trial, float(i))
    return study


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


def test_an_artifact_store_that_does_not_answer_is_told(
    either: str, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = found(either)
    trial = study.ask()
    store = dashboard.store
    known = optuna.artifacts.upload_artifact(artifact_store=store, file_path=__file__, study_or_trial=trial)

    def lost(_: str) -> None:
        raise OSError("cannot read from bucket 'sound'")

    for gone in (f"/artifacts/9/{trial._trial_id}/{known}", f"/artifacts/1/999/{known}", "/artifacts/9/999/f1"):
        assert dashboard.get(gone).status_code == 404, gone
    path = f"/artifacts/1/{trial._trial_id}/{known}"
    assert dashboard.get(path).status_code == 200
    monkeypatch.setattr(store, "open_reader", lost)
    assert dashboard.get(path).status_code == 503


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


def test_the_page_says_that_it_is_read_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    for writable in (True, False):
        made = Dashboard(url, tmp_path, writable)
        page = made.get("/dashboard/studies/1/trials", If_Modified_Since="Fri, 31 Dec 2049 23:59:59 GMT")
        assert page.status_code == 200
        assert '<script defer src="/static/bundle.js">' in page.text
        assert ("Read-only" in page.text, "--writable" in page.text) == (not writable, not writable)
        assert "script-src 'self' 'unsafe-eval'" in page.headers["Content-Security-Policy"]
        assert "Last-Modified" not in page.headers  # both pages have one address
    bundle = made.get("/static/bundle.js", Accept_Encoding="gzip")
    assert (bundle.status_code, bundle.headers["Content-Encoding"]) == (200, "gzip")
    assert made.get("/static/bundle.js", If_Modified_Since=bundle.headers["Last-Modified"]).status_code == 304
    assert made.get("/static/bundle.js").data == gzip.decompress(bundle.data)
    assert made.get("/").headers["Location"].endswith("/dashboard")


def test_a_head_has_no_body(tmp_path: Path) -> None:
    """As the application answers, before a server or a test's client would cut it off."""
    url = f"sqlite:///{tmp_path}/study.db"
    made = Dashboard(url, tmp_path)
    found(url)
    for path in ("/api/studies/1", "/api/studies/1", "/api/studies", "/dashboard", "/static/bundle.js", "/csv/1"):
        answer = run_wsgi_app(made.client.application, create_environ(path, method="HEAD"), buffered=True)
        assert (answer[1], b"".join(answer[0])) == ("200 OK", b""), path
        assert made.get(path).data


def keep(made: Dashboard, study: optuna.Study, number: int, name: str, mimetype: str, content: bytes) -> str:
    """The URL of a new artifact of a trial."""
    known = artifacts.artifact_id(content)
    made.store.write(known, io.BytesIO(content))
    trial = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    for key, value in artifacts.described({name: known}, mimetype).items():
        study._storage.set_trial_system_attr(trial, key, json.dumps(value))
    return f"/artifacts/{study._study_id}/{trial}/{known}"


def test_files_are_guests_on_this_origin(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    made = Dashboard(url, tmp_path)
    study = found(url)
    study.ask({"lr": CHANGES})
    sound = bytes(range(256)) * 40
    path = keep(made, study, 3, "spoken.wav", "audio/wav", sound)
    whole = made.get(path)
    assert (whole.status_code, whole.mimetype, whole.data) == (200, "audio/wav", sound)
    part = made.get(path, Range="bytes=100-199")
    assert (part.status_code, part.data) == (206, sound[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(sound)}"
    assert made.get(path, Range=f"bytes={len(sound)}-").status_code == 416
    for file in (
        whole,
        part,
        made.get(keep(made, study, 3, "x.html", "text/html", b"<script>")),
        made.get("/logs/voice/3"),
    ):
        policy = file.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox; default-src 'none'")
        assert "script" not in policy
        assert file.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in file.headers
    (tmp_path / path.rpartition("/")[2]).unlink()
    gone = made.get(path)
    assert (gone.status_code, gone.get_json()["reason"][:12]) == (404, "The artifact")
    assert made.get("/logs/voice/4").status_code == 404


def test_what_writing_does_when_allowed(tmp_path: Path) -> None:
    """Two trials share a clip, as trials do; a study is deleted whole, and what another study refers to stays."""
    url = f"sqlite:///{tmp_path}/study.db"
    made = Dashboard(url, tmp_path)
    study = found(url)
    for _ in range(2):
        study.ask({"lr": CHANGES})
    path = keep(made, study, 3, "reference.wav", "audio/wav", b"sound")
    keep(made, study, 4, "reference.wav", "audio/wav", b"sound")
    assert made.client.delete(f"/api{path}", headers=PAGE).get_json() == {}  # the page takes 204 for a failure
    assert made.study()["trials"][3]["artifacts"] == []
    assert made.get(f"/artifacts/1/5/{path.rpartition('/')[2]}").data == b"sound"
    assert made.client.delete("/api/studies/1").status_code == 403
    assert made.client.delete("/api/studies/1", headers=PAGE, json={}).status_code == 200
    assert made.get("/api/studies").get_json()["study_summaries"] == []
    assert (tmp_path / path.rpartition("/")[2]).exists()


def test_a_failure_of_ours_is_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    made = Dashboard(url, tmp_path)
    found(url)
    made.content.study = None  # type: ignore[assignment,method-assign]
    answer = made.get("/api/studies/1")
    assert (answer.status_code, answer.headers["X-Content-Type-Options"]) == (500, "nosniff")
    assert "not callable" not in answer.text
    assert "not callable" in caplog.text
