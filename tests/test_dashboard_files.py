"""The dashboard's pages: what they serve of files, what odd addresses get, and what may be changed."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from werkzeug.test import create_environ, run_wsgi_app

from tests.dashboards import CHANGES, PAGE, Dashboard, found, keep


@pytest.fixture
def dashboard(either: str, tmp_path: Path) -> Iterator[Dashboard]:
    made = Dashboard(either, tmp_path)
    yield made
    made.opened.engine.dispose()


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


def test_odd_addresses_are_answered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    made = Dashboard(url, tmp_path)
    found(url)
    caplog.clear()
    for path, status in {
        "/api/studies/99999999999999999999": 404, "/api/studies/-1": 404, "/api/studies/1;x": 404,
        "/api//studies/1": 404, "/api/studies/1?after=-5": 200, f"/api/studies/1?after={10**30}": 200,
        "/api/studies/9/param_importances": 404, "/csv/9": 404, "/csv/x": 404, "/static/..%2f..%2f_app.py": 403,
        "/static/%2e%2e/index.html": 403, "/artifacts/1/..": 404, "/artifacts/1/1/..%2f..%2fstudy.db": 404,
        "/artifacts/1/1/f1%0a": 404, "/logs/%2e%2e/0": 404, "/logs/voice%00/3": 404, "/logs/..%2fvoice/3": 404,
        "/metrics": 404, "/dashboard/%3Cscript%3Eharm()%3C/script%3E": 200,
    }.items():  # fmt: skip
        answer = made.get(path)
        assert answer.status_code == status, path
        assert "harm()" not in answer.text
    assert not caplog.records


def test_a_head_has_no_body(tmp_path: Path) -> None:
    """As the application answers, before a server or a test's client would cut it off."""
    url = f"sqlite:///{tmp_path}/study.db"
    made = Dashboard(url, tmp_path)
    found(url)
    for path in ("/api/studies/1", "/api/studies/1", "/api/studies", "/dashboard", "/static/bundle.js", "/csv/1"):
        answer = run_wsgi_app(made.client.application, create_environ(path, method="HEAD"), buffered=True)
        assert (answer[1], b"".join(answer[0])) == ("200 OK", b""), path
        assert made.get(path).data
