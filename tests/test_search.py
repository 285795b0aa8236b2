"""Whole searches with real processes and signals: exact counts, resumption, nobody left alive."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest
from click.testing import CliRunner
from optuna.trial import FrozenTrial, TrialState

from search.commands import group
from search.trial import TrialSpec
from search.workers.launcher import Child, Launcher
from tests.conftest import ROOT

# Silent trials of 20 optimizer steps, some 3 s each; gentle enough that most of them finish.
SHORT = ("--set", "training.steps=40", "--set", "training.truncation=0.5", "--set", "training.evaluations=5")
SHORT += ("--set", "speech.sentences=0")
PATIENCE = 1200.0  # seconds; however busy the machine is


class Search:
    """`study.py` as a user runs it, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study = folder / "runs" / "miniature"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "study.py"), *arguments]
        pipe, both = subprocess.PIPE, subprocess.STDOUT
        return subprocess.Popen(command, cwd=self.folder, stdout=pipe, stderr=both, text=True)

    def run(self, *arguments: str, code: int = 0) -> str:
        """The output of a command that must end with `code`."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, output
        return output

    def trials(self) -> list[FrozenTrial]:
        storage = f"sqlite:///{self.study / 'study.db'}"
        return optuna.load_study(study_name="miniature", storage=storage).get_trials()

    def states(self) -> Counter[TrialState]:
        return Counter(trial.state for trial in self.trials())


@pytest.fixture
def search(tmp_path: Path, cache: Path) -> Search:  # noqa: ARG001 (the cache is set up)
    return Search(tmp_path)


def wait_for(process: subprocess.Popen[str], text: str) -> list[psutil.Process]:
    """Reads the process's output up to the first line with `text`; all its descendants by then."""
    lines = []
    assert process.stdout
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return psutil.Process(process.pid).children(recursive=True)
    raise AssertionError(f"no {text!r} in:\n{''.join(lines)}")


def assert_all_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.timeout(6 * PATIENCE)
def test_whatever_is_killed_the_same_command_finishes_the_study(search: Search) -> None:
    """A child by kill -9, then the supervisor by Ctrl-C and by kill -9; then one trial more."""
    command = (*SHORT, "--trials", "4", "--workers", "2")

    process = search.start(*command)
    everyone = wait_for(process, "trial 1  step 4")
    runs = [child for p in everyone for child in p.children()]  # of the fork server, which is the one with children
    os.kill(runs[0].pid, signal.SIGKILL)
    wait_for(process, "crashed")
    everyone = wait_for(process, "step 4")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "the same command continues" in output
    assert_all_gone(everyone)
    assert TrialState.RUNNING not in search.states()

    process = search.start(*command)
    everyone = wait_for(process, "step 8")
    process.kill()
    process.wait()
    assert_all_gone(everyone)
    assert search.states()[TrialState.RUNNING] == 2

    output = search.run(*SHORT, "--trials", "5", "--workers", "2")
    assert "Exported" in output
    trials, states = search.trials(), search.states()
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == 5
    assert states[TrialState.RUNNING] == states[TrialState.WAITING] == 0
    assert [trial.number for trial in trials] == list(range(len(trials)))
    ended = [t for t in trials if t.state != TrialState.FAIL]
    assert sorted(t.user_attrs["baseline"] for t in ended if "baseline" in t.user_attrs) == ["V0", "V1", "V2"]
    retries = {t.user_attrs["retry_of"]: t for t in trials if "retry_of" in t.user_attrs}
    for trial in trials:
        if trial.state == TrialState.FAIL:
            assert retries[trial.number].params == trial.params or not trial.params


@pytest.mark.timeout(4 * PATIENCE)
def test_a_search_from_start_to_export(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, count, table, export, status and replay, as a user meets them."""
    output = search.run(*SHORT, "--trials", "3", "--set", "speech.sentences=1", "--set", "speech.share=1")
    assert output.splitlines()[0].startswith("Searching the miniature")
    for part in ("trial 0 (baseline V0)  started", "untouched base model", "Optimizer steps: ", "Time: "):
        assert part in output
    exported = json.loads((search.study / "best_config.json").read_text(), parse_constant=refuse_constant)
    best = min((t for t in search.trials() if t.state == TrialState.COMPLETE), key=lambda t: t.value)
    assert exported["evidence"]["trial"] == best.number
    assert exported["evidence"]["value"] == best.value
    assert exported["schedule"]["horizon"] == 40
    assert exported["coqui_config"]["lr"] == best.params["lr"]
    assert exported["confirmed"] is False
    for number in range(3):
        files = [f for f in (search.study / "trials" / str(number)).rglob("*") if f.is_file()]
        wanted = {"spec.json", "log.txt", "evaluations.csv", "steps.csv", "record.json"}
        assert wanted <= {f.name for f in files}
        assert sum(f.stat().st_size for f in files) < 2_000_000
    assert (search.study / "trials" / str(best.number) / "speech.json").is_file()

    monkeypatch.chdir(search.folder)
    status, replayed = (
        CliRunner().invoke(group.study, words.split()).output for words in ("status", f"replay {best.number}")
    )
    assert "3 finished trials" in status
    # Of a trial that a rule ended fewer were recorded than its replay makes, but at least one.
    assert re.search(r"^([1-9]\d*) of \1 recorded evaluations are the same bit for bit", replayed, re.MULTILINE)


def refuse_constant(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def start(launcher: Launcher, spec: TrialSpec) -> Child:
    return launcher.start("search.training.child:run", {"spec": spec.to_json()}, Path(spec.directory) / "log.txt")


def test_the_same_spec_gives_the_same_evaluations_side_by_side(make_spec: Callable[..., TrialSpec]) -> None:
    """Three children at once on two cores, one of them on another seed: the other two agree bit by bit."""
    launcher = Launcher()
    specs = [make_spec(12, evaluations=4), make_spec(12, evaluations=4), make_spec(12, evaluations=4, seed=2)]
    children = [start(launcher, spec) for spec in specs]
    results: list[list[float]] = []
    for child in children:
        values = []
        while (message := child.receive(120)) is not None and message["kind"] != "end":
            if message["kind"] == "evaluation":
                values.append(message["mel_ce"])
        child.close()
        results.append(values)
    assert len(results[0]) == 4
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_children_start_with_torch_loaded_wherever_the_search_runs(
    make_spec: Callable[..., TrialSpec], tmp_path: Path
) -> None:
    """The fork server passes over a module that it cannot find, and each child would import torch anew."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from search.workers.launcher import Launcher\n"
        "from pathlib import Path\n"
        "child = Launcher().start('search.training.child:run', {'spec': open(sys.argv[2]).read()}, Path('log.txt'))\n"
        "print(child.receive(120))\n"
    )
    spec = tmp_path / "spec.json"
    spec.write_text(make_spec(2).to_json())
    command = [sys.executable, "-c", code, str(ROOT), str(spec)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == "{'kind': 'started', 'preloaded': True}", done.stderr


def test_a_child_whose_supervisor_is_gone_ends_itself(make_spec: Callable[..., TrialSpec]) -> None:
    """Not through the supervisor's tests above, where the fork server dies with it: the pipe alone."""
    launcher = Launcher()
    child = start(launcher, make_spec(10_000, evaluations=50))
    assert (child.receive(120) or {})["kind"] == "started"
    process = psutil.Process(child.pid)
    child._connection.close()
    _, alive = psutil.wait_procs([process], timeout=PATIENCE)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
