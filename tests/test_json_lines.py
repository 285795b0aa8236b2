"""`--json` as a script meets it: stdout is JSON lines and nothing else, however the command ends. No run trains."""

import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from search.commands.json_lines import JsonLines
from search.confirmation import confirm as confirmation
from search.settings.settings import load
from search.study.findings import Findings
from search.study.storage import load_study
from search.trial import Evaluation, StopReason
from search.workers import session
from search.workers.events import End, Extent, Start
from search.workers.listeners import Listeners
from search.workers.scoreboard import Board
from tests.conftest import ROOT
from tests.in_process import StudyPy, in_process
from tests.stub_confirm import searched
from tests.stub_study import stub
from tests.studies import BASE
from tests.test_view import POINT

Events = list[dict[str, Any]]


def events(text: str) -> Events:
    """The lines of `text`, each checked to be a line of the schema."""
    found: Events = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    for event in found:
        assert list(event)[:3] == ["version", "event", "time"] and event["version"] == 1
        assert abs(datetime.now(UTC) - datetime.fromisoformat(event["time"])) < timedelta(minutes=5)
        assert event["time"].endswith("Z")
    assert not text or text.endswith("\n")
    return found


def of(found: Events, name: str) -> Events:
    return [event for event in found if event["event"] == name]


# A process whose stdout is a pipe


class Started:
    """`study.py` in a process, its stdout a pipe that is read line by line."""

    def __init__(self, folder: Path, *arguments: str, seconds: float) -> None:
        (folder / "study.toml").write_text('[study]\ndirectory = "."\n')
        self.errors = folder / "stderr.txt"
        command = [sys.executable, "-m", "tests.stub_study", "--json", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "STUB_SECONDS": str(seconds)}
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self.process.stdout
        self.out = self.process.stdout

    def until(self, name: str) -> str:
        """What is read up to the first event of this name; each line comes when it is written."""
        text = ""
        for line in self.out:
            text += line
            if json.loads(line)["event"] == name:
                return text
        raise AssertionError(f"no {name!r}: {text} {self.errors.read_text()}")

    def end(self) -> tuple[int, str]:
        text = self.out.read()
        return self.process.wait(240), text


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    made: list[Started] = []

    def call(*arguments: str, seconds: float) -> Started:
        made.append(Started(tmp_path, *arguments, seconds=seconds))
        return made[-1]

    yield call
    for each in made:
        each.process.kill()
        each.process.wait()
        each.out.close()


def test_a_second_ctrl_c_leaves_at_once_and_says_so(start: Callable[..., Started]) -> None:
    run = start("--workers", "1", "--notify", "json://127.0.0.1:9/token", seconds=1000)
    text = run.until("started")
    run.process.send_signal(signal.SIGINT)
    text += run.until("note")
    run.process.send_signal(signal.SIGINT)
    code, rest = run.end()
    found = events(text + rest)
    assert code == 130, run.errors.read_text()
    assert found[-1]["event"] == "stopped" and len(found[-1]) == 3
    assert "Ctrl-C again to leave at once" in found[-2]["text"]
    assert not of(found, "ended")


def test_a_reader_that_goes_away_stops_the_search(start: Callable[..., Started], tmp_path: Path) -> None:
    run = start("--workers", "2", "--set", "service.heartbeat_seconds=1", seconds=0.1)
    run.until("evaluated")
    run.out.close()
    assert run.process.wait(240) == 141
    assert "Traceback" not in run.errors.read_text() and "BrokenPipe" not in run.errors.read_text()
    trials = load_study(load(tmp_path / "study.toml", {})).get_trials()
    assert any(trial.user_attrs.get("stop_reason") == "stopped_by_user" for trial in trials), "in order"


# In this process


@pytest.fixture
def study_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> StudyPy:
    stub(monkeypatch.setattr)
    return in_process(tmp_path, monkeypatch, capfd)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--json", "--trials", "0"], "study.trials is 0"),
        (["--trials", "many", "--json"], "'many' is not a valid integer"),
        (["confirm", "--json", "--bogus"], "--bogus"),
        (["confirm", "--study", "other", "--json"], "study 'other' does not exist"),
        (["checkpoints", "--json"], None),  # this command and the next have no lines
        (["--trials", "0"], None),
    ],
)
def test_bad_input_is_an_event_too(study_py: StudyPy, arguments: list[str], words: str | None) -> None:
    code, out, errors = study_py(*arguments)
    assert code == 2
    assert errors.startswith("study.py: ")
    found = events(out)
    assert [(event["event"], event["details"]) for event in found] == ([("error", [])] if words else [])
    if words:
        assert words in found[0]["message"] and errors == f"study.py: {found[0]['message']}\n"


def test_details_of_a_refusal_are_a_list(study_py: StudyPy, tmp_path: Path) -> None:
    settings = load(tmp_path / "study.toml", {})
    settings.directory.mkdir()
    searched(settings)
    code, out, _ = study_py("confirm", "--json", "--set", "training.precision=bf16")
    assert (code, events(out)[-1]["details"]) == (2, ["precision: fp32 there, bf16 here"])


def test_a_stop_before_anything_was_found(study_py: StudyPy, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        print("to stdout")
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "search", interrupted)
    found = Findings("mine", [], 100, BASE, {})
    monkeypatch.setattr(confirmation, "confirm", lambda *_: confirmation.Result(None, found))
    for arguments, said in (([], "to stdout"), (["confirm"], "study.py confirm with the same settings continues")):
        code, out, errors = study_py(*arguments, "--json")
        assert (code, [event["event"] for event in events(out)]) == (130, ["stopped"])
        assert said in errors, "what is printed is not lost"


def test_a_fault_is_an_event_without_its_text(
    study_py: StudyPy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "search", lambda *_: [][1])
    with pytest.raises(IndexError):
        study_py("--json")
    assert [event["message"] for event in events(capfd.readouterr().out)] == ["a fault of this program: IndexError"]


# The lines themselves


def test_what_is_no_number_is_null_and_no_text_breaks_a_line() -> None:
    reader, writer = os.pipe()
    listeners = Listeners()
    listeners.add(JsonLines(writer, listeners.board, "a"))
    odd = 'ሰላም\n\u2028\udcff"{}\x1b'
    listeners.begin(Extent(4, 1, 1, math.nan, (0, math.inf)))
    listeners.status(odd)
    listeners.started(Start(0, 1, POINT, 120, None))
    listeners.evaluated(0, 1, Evaluation(12, math.nan, math.inf, 2.0, 4.0))
    listeners.ended(End(0, 1, StopReason.DIVERGED, None, None))
    os.close(writer)
    with open(reader, encoding="ascii") as file:
        begin, status, _, evaluated, ended = events(file.read())
    assert (begin["base_mel_ce"], begin["best"]) == (None, {"trial": 0, "mel_ce": None})
    assert status["text"] == odd
    assert (evaluated["mel_ce"], evaluated["text_ce"], evaluated["gap"], evaluated["step"]) == (None, None, None, 12)
    assert (ended["reason"], ended["lowest"], ended["is_best"]) == ("diverged", None, False)


def test_lines_of_many_threads_are_whole() -> None:
    reader, writer = os.pipe()
    lines = JsonLines(writer, Board(), "a")
    text = "x" * 9000  # more than a pipe takes at once
    for _ in range(4):
        threading.Thread(target=lambda: [lines.note(text) for _ in range(20)], daemon=True).start()
    with open(reader) as file:
        found = events("".join(file.readline() for _ in range(80)))
    assert [event["text"] for event in found] == [text] * 80
    os.close(writer)


@pytest.mark.parametrize("state", ["free", "being written to", "full", "not read any more"])
def test_the_last_line_of_a_process_that_ends_at_once_waits_for_nobody(state: str) -> None:
    reader, writer = os.pipe()
    lines = JsonLines(writer, Board(), "a")
    if state == "being written to":
        lines._lock.acquire()
    while state == "full" and select.select([], [writer], [], 0)[1]:
        os.write(writer, b"\n" * 4096)
    if state == "not read any more":
        os.close(reader)
    leaving = threading.Thread(target=lines.leave, daemon=True)
    leaving.start()
    leaving.join(30)
    assert not leaving.is_alive()
    os.close(writer)
    if state != "not read any more":
        with open(reader) as file:
            assert ('"stopped"' in file.read()) == (state == "free")
