"""What lies between two runs of a slot is short."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search.show.plain import PlainView
from search.study import leases, storage
from search.workers import supervisor, work
from search.workers.child import Line
from search.workers.launcher import MAIN_NEEDS, Launcher
from tests import stub
from tests.conftest import ROOT


def test_children_need_not_import_what_study_py_does() -> None:
    """Each runs it again, as multiprocessing's main module."""
    tree = ast.parse((ROOT / "study.py").read_text(encoding="utf-8"))
    names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert "search.commands.output" in names
    loaded = f"import sys, {', '.join(MAIN_NEEDS)}; print(set({names}) - set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def tell_of_an_odd_name(connection: Any) -> None:
    line = Line(connection)
    line.say("progress", text="wavs/\udcff.wav")
    line.say("end", reason="finished")
    line.close()


def test_a_name_that_is_no_text_silences_no_child() -> None:
    child = Launcher().start(tell_of_an_odd_name)
    assert child.receive(240) == {"kind": "progress", "text": "wavs/\udcff.wav"}
    assert child.receive(240) == {"kind": "end", "reason": "finished"}
    child.close()


class Lingering:
    """A child whose run has ended, and whose process goes slowly. It stands for the launcher that starts it, too."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.messages: list[dict[str, Any]] = [
            {
                "kind": "evaluation",
                "step": 200,
                "mel_ce": 2.0,
                "text_ce": 2.0,
                "probe_mel_ce": 2.0,
                "probe_text_ce": 2.0,
            },
            {"kind": "end", "reason": "finished", "record": None},
        ]

    def start(self, *_: Any) -> "Lingering":
        return self

    def receive(self, _: float) -> dict[str, Any]:
        return self.messages.pop(0)

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
    supervisor.Supervisor(todo, held, settings, stub.PREPARED, child, PlainView(), [None]).run(database.hurry)
    assert study.trials[0].value == 2.0
    assert events == ["asked", "told", "its process is gone", "asked"]
