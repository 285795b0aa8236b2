"""`study.py dashboard` as a process: what it refuses, waits for and serves."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from search.errors import UserError
from search.pages import dashboard as server
from search.pages import gate
from search.settings.settings import Settings, load
from tests import studies
from tests.conftest import ROOT, wait_until
from tests.postgres import ESCAPED, PASSWORD

SECRET = "pages-are-mine"
PATIENCE = 240  # seconds that a test waits for what must come


@pytest.fixture
def serve() -> Iterator[Callable[..., None]]:
    """`server.serve` in this process, where it refuses."""
    before = signal.getsignal(signal.SIGTERM)

    def call(settings: Settings, host: str = "127.0.0.1", port: int = 0, **given: Any) -> None:
        asked = {"writable": False, "password_file": None, **given}
        server.serve(settings, host, port, say=pytest.fail, **asked)

    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"host": "0.0.0.0"}, "--host 0.0.0.0 can be reached from other machines, so a password is required"),
        ({"host": "10.0.0.5"}, "a password is required"),
        ({"host": ""}, "--host '' is no address"),
        ({"host": "no.such.host.invalid"}, "is no address of this machine"),
        ({"host": "203.0.113.1", "password": SECRET}, "cannot be listened on"),
        ({"password": ""}, "XTTS_STUDY_DASHBOARD_PASSWORD is empty"),
    ],
)
def test_what_it_cannot_do_is_refused(
    given: dict[str, Any], said: str, serve: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "password" in given:
        monkeypatch.setenv(gate.VARIABLE, given["password"])
    with pytest.raises(UserError) as refused:
        serve(load(None, {"study.directory": str(tmp_path)}), **{k: v for k, v in given.items() if k != "password"})
    assert said in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_port_in_use_is_refused(serve: Callable[..., None], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} cannot be listened on: Address already in use"):
            serve(load(None, {"study.directory": str(tmp_path)}), port=port)


def test_the_command(database: str, tmp_path: Path) -> None:
    """Started before the study; with a password; what it answers is what the pages above do; ended by a signal."""
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    settings = studies.miniature(tmp_path, {"study.storage": database.replace(f":{ESCAPED}", "")})
    command = [sys.executable, str(ROOT / "study.py"), "dashboard", "--host", "0.0.0.0", "--port", "0"]
    command += ["--password-file", str(file), "--storage", settings.storage_url]
    log = tmp_path / "log.txt"
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, "PGPASSWORD": PASSWORD}, stdout=output, stderr=output
        )
    try:
        waiting = "Waiting for study 'miniature': the first search makes it\n"
        wait_until(lambda: log.read_text() or process.poll() is not None, PATIENCE)
        assert log.read_text() == waiting
        study = studies.new_study(load(None, {"study.directory": str(tmp_path), "study.storage": database}))
        studies.run(study, studies.FLAT, [4.5, 4.25])
        place = re.compile(r"Dashboard, read-only: (http://127.0.0.1:\d+)(\S+)\n")
        shown = wait_until(lambda: place.search(log.read_text()), PATIENCE)
        assert shown[2] == "/dashboard/studies/1"

        def ask(path: str, method: str = "GET", password: str | None = SECRET) -> tuple[int, str]:
            request = urllib.request.Request(shown[1] + path, method=method)
            if password:
                request.add_header("Authorization", "Basic " + base64.b64encode(f"me:{password}".encode()).decode())
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    assert "Server" not in answer.headers
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        assert [ask(shown[2], password=p)[0] for p in (None, "wrong", SECRET)] == [401, 401, 200]
        assert ask("/api/studies/1", "DELETE")[0] == 403
        status, document = ask("/api/studies/1")
        assert (status, len(json.loads(document)["trials"])) == (200, 1)
        assert "lr 1.00e-03" in json.loads(document)["trials"][0]["note"]["body"], "it was repaired at the start"
        assert SECRET.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 130
        assert log.read_text() == waiting + shown[0]
    finally:
        process.kill()
        process.wait()
