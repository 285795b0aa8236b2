"""What a scheduler learns from the exit code: never, look at it, or try again. docs/operations.md has the table."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.in_process import StudyPy
from tests.machines import Machine


@pytest.mark.parametrize("command", ["search", "confirm", "status"])
def test_a_database_that_is_away_may_be_tried_again(study_py: StudyPy, command: str) -> None:
    """A search and a confirmation say that they wait; what only reads does not wait."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://reader:hunter2@127.0.0.1:{closed.getsockname()[1]}/db"
        code, out, err = study_py(command, "--storage", url, "--set", "service.start_minutes=0")
    assert code == 75
    assert ("the database does not accept connections yet" in out) == (command != "status")
    assert err.count("\n") == 1 and "hunter2" not in out + err


def test_bad_input_is_for_ever(study_py: StudyPy) -> None:
    assert study_py("--set", "study.trials=none")[0] == 2
    assert study_py("--storage", "postgresql://reader@nowhere.invalid/db")[0] == 2


def test_runs_that_keep_failing_end_the_search(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    machine = Machine(["-m", "tests.stub", url, ".", "--slots", "1", "--run", "run_broken"], tmp_path / "a")
    machine.process.wait(240)
    assert machine.process.returncode == 1, machine.output
    last = machine.output.splitlines()[-1]
    assert last.startswith("study.py: 6 runs in a row ended as crashed (") and last.endswith("same command again")


CTRL_C_AMID_GARBAGE = """
import os, signal, time, weakref
from search.commands import group
class Thing: pass
def collected(_):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
def command(**_):
    thing = Thing()
    kept = weakref.ref(thing, collected)
    del thing
    time.sleep(60)
group.study = command
group.main()
"""


def test_ctrl_c_is_not_lost_while_garbage_is_collected() -> None:
    done = subprocess.run([sys.executable, "-c", CTRL_C_AMID_GARBAGE], cwd=ROOT, capture_output=True, timeout=50)
    assert (done.returncode, done.stderr) == (130, b"")
