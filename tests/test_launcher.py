"""What lies between two runs of a slot is short."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from search.errors import UserError
from search.study import leases, storage
from search.trial import Caller
from search.workers import supervisor, work
from search.workers.events import View
from search.workers.launcher import Child, Failed, Launcher
from tests import stub
from tests.conftest import ROOT, wait_until
from tests.machines import PATIENCE


def tell_of_an_odd_name(caller: Caller) -> str:
    caller.say("progress", text="wavs/\udcff.wav")
    return "told"


def told(_caller: Caller) -> str:
    return "told"


def refuse(_caller: Caller) -> None:
    raise UserError("refused", ["a detail"])


def fail(_caller: Caller) -> None:
    raise ValueError("a fault\nof two lines")


def hang(caller: Caller) -> None:
    caller.say("hanging")
    time.sleep(3600)


def test_a_child_without_its_fork_server_can_be_killed(tmp_path: Path) -> None:
    """A hanging one would hold its slot for ever."""
    launcher = Launcher([])
    child = launcher.start("tests.test_launcher:hang", {}, tmp_path / "log.txt")
    while (child.receive(PATIENCE) or {})["kind"] != "hanging":
        pass
    hanging = psutil.Process(child.pid)
    server = hanging.parent()
    assert server is not None
    server.kill()
    wait_until(lambda: hanging.ppid() != server.pid, PATIENCE, "its end")
    assert launcher.call("tests.test_launcher:told", {}) == "told"  # a new one; the old process is looked at meanwhile
    child.kill()
    hanging.wait(PATIENCE)
    child.close()


def test_a_call_returns_and_a_name_that_is_no_text_silences_no_child(cache: Path) -> None:
    heard: list[dict[str, Any]] = []
    assert Launcher().call("tests.test_launcher:tell_of_an_odd_name", {}, heard.append) == "told"
    assert [m for m in heard if m["kind"] != "started"] == [{"kind": "progress", "text": "wavs/\udcff.wav"}]
    assert not list(cache.glob("test_launcher-*"))


def test_how_a_call_fails(cache: Path) -> None:
    launcher = Launcher()
    with pytest.raises(UserError, match=r"^refused$") as refused:
        launcher.call("tests.test_launcher:refuse", {})
    assert refused.value.details == ("a detail",)
    with pytest.raises(Failed, match=r"^ValueError: a fault; see .*\.log$"):
        launcher.call("tests.test_launcher:fail", {})
    [log] = cache.glob("test_launcher-fail-*.log")
    assert "of two lines" in log.read_text()
    log.unlink()


@pytest.mark.parametrize(("bytes_", "is_short"), [(75, True), (76, False)])
def test_a_folder_for_sockets_that_is_too_deep_is_refused(bytes_: int, is_short: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        deep = Path(folder, "x" * (bytes_ - len(folder) - 1))
        deep.mkdir()
        code = "from search.workers.launcher import Launcher as L; print(L([]).call('tests.test_launcher:told', {}))"
        environment = {**os.environ, "TMPDIR": str(deep)}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ("told" in done.stdout) == is_short, done.stderr
    assert ("UserError: TMPDIR is" in done.stderr) != is_short


def test_modules_in_the_users_folder_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "space.py").write_text("raise SystemExit('mine')", encoding="utf-8")
    code = "from search.workers.launcher import Launcher as L; print(L([]).call('tests.test_launcher:told', {}))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr


class Lingering(Child):
    """A child whose run has ended, and whose process goes slowly. It stands for the launcher that starts it, too."""

    def __init__(self, events: list[str]) -> None:
        self.events, self.silent_seconds = events, 0.0
        losses = dict.fromkeys(("mel_ce", "text_ce", "probe_mel_ce", "probe_text_ce"), 2.0)
        self.left: list[dict[str, Any]] = [
            {"kind": "evaluation", "step": 200, **losses},
            {"kind": "end", "result": {"reason": "finished", "record": None}},
        ]

    def start(self, *_: Any) -> "Lingering":
        return self

    def receive(self, _: float) -> dict[str, Any]:
        return self.left.pop(0)

    def close(self) -> None:
        self.events.append("its process is gone")


def test_a_result_is_told_while_its_process_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one of the slot starts only then: never two of them on one GPU."""
    settings = stub.settings_of(f"sqlite:///{tmp_path}/study.db", tmp_path, trials=1, slots=1)
    database = storage.open_storage(settings.storage_url)
    study, ledger = storage.open_study(settings, stub.PREPARED, database)
    held = leases.Leases(ledger, settings.service, 0, print)
    events: list[str] = []
    end, claim = held.end, held.claim
    monkeypatch.setattr(held, "end", lambda *given: (events.append("told"), end(*given))[1])
    monkeypatch.setattr(held, "claim", lambda *given: (events.append("asked"), claim(*given))[1])
    todo = work.SearchWork(study, settings, stub.PREPARED)
    child: Any = Lingering(events)
    supervisor.Supervisor(todo, held, settings, stub.PREPARED, child, View(), [None]).run(database.hurry)
    assert study.trials[0].value == 2.0
    assert events == ["asked", "told", "its process is gone", "asked"]
