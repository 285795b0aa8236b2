"""`confirm`, `status` and `--confirm` as a user meets them: messages, files and exit codes. No run trains."""

import fcntl
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import create_trial

from search.settings import best_config
from search.settings.sections import CONFIRMATION
from search.settings.settings import Settings, load
from search.study.storage import load_study
from search.trial import StopReason
from tests.conftest import ROOT
from tests.in_process import in_process
from tests.machines import Machine
from tests.stub import FIFTHS
from tests.stub_confirm import keys, runs_of, searched, truth
from tests.stub_study import stub
from tests.studies import FLAT, miniature, new_study, run

Command = Callable[..., tuple[int, list[str], list[str]]]
STUDY = (
    '[study]\ndirectory = "."\n[confirm]\ntop = 3\nrates = []\n'
    "[training]\nfull_evaluations = 20\ntruncation = 0.2\nevaluations = 10\n"
)


@pytest.fixture
def study_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """`study.py` in the folder of a study: (exit code, lines printed, lines of errors)."""
    stub(monkeypatch.setattr)
    run = in_process(tmp_path, monkeypatch, capfd)
    (tmp_path / "study.toml").write_text(STUDY)

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        code, out, err = run(*arguments)
        return code, out.splitlines(), err.splitlines()

    return call


@pytest.fixture
def empty(tmp_path: Path, study_py: Command) -> Settings:  # noqa: ARG001 (study.toml is there)
    """Of a study whose folder is there, and nothing else."""
    settings = load(tmp_path / "study.toml", {})
    settings.directory.mkdir()
    return settings


@pytest.fixture
def settings(empty: Settings) -> Settings:
    """Of a search that is over."""
    return searched(empty)


def machine(folder: Path, *arguments: str, seconds: float) -> Machine:
    """`study.py` as a process; an evaluation takes so many seconds."""
    return Machine(["-m", "tests.stub_study", *arguments], folder, PYTHONPATH=str(ROOT), STUB_SECONDS=str(seconds))


def after(lines: list[str], start: str) -> list[str]:
    """From the last line on that starts so."""
    place = max(i for i, line in enumerate(lines) if line.startswith(start))
    return lines[place:]


def test_the_winner_is_shown_exported_and_in_the_status(study_py: Command, settings: Settings, tmp_path: Path) -> None:
    truth(settings, lr=2.5e-4, noise=0.003)  # trials 1 and 2 are equally good
    confirm = ("confirm", "--audit", "1", "--workers")
    code, lines, errors = study_py(*confirm, "2")
    assert (code, errors) == (0, [])
    told = "\n".join(line.partition("  ")[2] for line in lines)
    for words in ("data: 100", "audit of pruning: trial ", "rate line 4 runs, 4,000 steps", "race 8 runs, 8,000 steps"):
        assert words in told, words
    assert told.index("rate line: ") < told.index("race: "), "what is next"
    assert not [line for line in lines if "best so far" in line], "one run of a config is no winner"
    shown = after(lines, "Confirmation of miniature")
    winner = next(line for line in shown if "lowest mean, exported" in line)
    assert winner.startswith("trial 1 ") or winner.startswith("trial 2 ")
    assert shown[-1] == "Exported (confirmed): miniature/best_config.json"
    assert best_config.read(tmp_path / "miniature" / "best_config.json").confirmed

    code, status, errors = study_py("status")
    assert (code, errors) == (0, [])
    assert after(status, "Confirmation of miniature") == shown[:-1]
    assert "not proven" not in "".join(status), "above the proof"

    code, lines, _ = study_py(*confirm, "1")
    assert code == 0 and after(lines, "Confirmation of miniature") == shown
    assert not [line for line in lines if "  started  " in line]

    load_study(settings, CONFIRMATION).add_trial(create_trial(value=2.0))
    code, lines, errors = study_py("status")
    assert (code, len(errors)) == (2, 1) and "of miniature.confirm cannot be read by this release" in errors[0]
    assert lines[:6] == status[:6] and lines[0] == "Study miniature", "the search is shown"


def test_a_search_that_confirms_in_a_hopeless_space_exports_the_stock_recipe(
    study_py: Command, empty: Settings, tmp_path: Path
) -> None:
    """The search itself has no trial of the recipe, at 1e-3, and would export one that has learnt nothing."""
    truth(empty, lr=1e-3, noise=0.001)
    space = tmp_path / "space.toml"
    space.write_text("version = 1\n[lr]\nlow = 1e-7\nhigh = 2e-7\n[weight_decay]\nvalue = 0.01\n")
    given = ["--set", f'space.file="{space}"', "--set", "confirm.top=1", "--set", "confirm.seeds=3"]
    code, lines, errors = study_py("--trials", "1", "--confirm", "--workers", "2", *given)
    assert (code, errors) == (0, [])
    assert sum("  data: 100 training clips" in line for line in lines) == 1
    assert "Exported (not confirmed at full length): miniature/best_config.json" in lines
    assert lines[-1] == "Exported (confirmed): miniature/best_config.json"
    exported = json.loads((tmp_path / "miniature" / "best_config.json").read_text())
    proof = exported["confirmation"]
    assert (proof["verdict"], proof["winner"]) == ("no better than the stock recipe", "V0")
    assert (exported["hyperparameters"]["lr"], exported["confirmed"], exported["evidence"]) == (1e-3, True, None)
    assert exported["status"] == proof["text"] and proof["text"] in lines
    assert {c["name"] for c in proof["candidates"]} == {"V0", "V0 within the space", "trial 0"}


def test_ctrl_c_ends_a_confirmation_with_130_and_the_same_command_continues(
    study_py: Command, settings: Settings, tmp_path: Path
) -> None:
    before = machine(tmp_path, "confirm", "--workers", "2", seconds=0.04)
    before.wait_for("finished  best", count=1)
    before.send(signal.SIGINT)
    before.wait(code=130)
    assert before.output.splitlines()[-1].startswith("Stopped; study.py confirm with the same settings continues")
    assert not (settings.directory / "best_config.json").exists()
    done = keys(runs_of(settings))
    assert 1 <= sum(done.values()) < 12
    code, lines, _ = study_py("status")
    assert code == 0
    shown = after(lines, f"Confirmation: {sum(done.values())} runs finished, 0 running, ")
    assert len(shown) >= 5  # a line per config
    code, lines, _ = study_py("confirm", "--workers", "2")
    assert (code, lines[-1]) == (0, "Exported (confirmed): miniature/best_config.json")
    assert done.items() <= keys(runs_of(settings)).items() and set(keys(runs_of(settings)).values()) == {1}


def test_a_search_that_is_stopped_confirms_nothing(tmp_path: Path) -> None:
    stopped = machine(tmp_path, "--trials", "9", "--confirm", "--workers", "2", seconds=0.1)
    stopped.wait_for("trial 1  step")
    stopped.send(signal.SIGINT)
    stopped.wait(code=130)
    assert stopped.output.splitlines()[-1] == "Stopped; the same command continues the study."
    assert "confirmation" not in stopped.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["confirm", "--seeds", "1"], "confirm.seeds is 1: it must be greater than or equal to 3"),
        (["--confirm", "status"], "options go after the command: study.py status"),
        (["--set", "pruning.min_delta=seed_noise"], "pruning.min_delta is 'seed_noise'"),
    ],
)
def test_bad_input_is_refused_in_one_line(study_py: Command, tmp_path: Path, arguments: list[str], words: str) -> None:
    code, _, errors = study_py(*arguments)
    assert code == 2
    assert words in errors[0]
    assert len(errors) == 1
    assert not (tmp_path / "miniature" / "confirm").exists()


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (StopReason.DIVERGED, "2 trials diverged and none completed, so nothing is exported; more --trials may"),
        (StopReason.MEDIAN, "none of the 2 finished trials completed, so nothing is exported"),
    ],
)
def test_no_command_succeeds_on_a_study_without_a_completed_trial(
    study_py: Command, empty: Settings, reason: StopReason, words: str
) -> None:
    made = new_study(empty)
    for _ in range(2):
        run(made, FLAT, [4.9], reason)
    made._storage.remove_session()
    for command in (["--trials", "2", "--confirm"], ["confirm"], ["export"]):
        code, _, errors = study_py(*command)
        assert (code, len(errors)) == (2 if reason == StopReason.MEDIAN and len(command) == 1 else 1, 1), command
        assert words in errors[0] or code == 2
    assert study_py("status")[0] == 0


def test_a_confirmation_whose_runs_all_diverge_exports_nothing(
    study_py: Command, settings: Settings, tmp_path: Path
) -> None:
    truth(settings, diverges=0)
    code, lines, errors = study_py("confirm", "--audit", "0")
    assert (code, len(errors)) == (1, 1) and "; give lower rates, such as --set confirm.rates=" in errors[0]
    assert "Do not fine-tune: every config diverged." in lines
    assert study_py("export")[0] == 1 and not (tmp_path / "miniature" / "best_config.json").exists()
    truth(settings, diverges=2e-4)
    code, lines, errors = study_py("confirm", "--audit", "0", "--set", "confirm.rates=[0.1]")
    assert (code, errors, lines[-1]) == (0, [], "Exported (confirmed): miniature/best_config.json")


def test_what_cannot_be_confirmed_is_refused(study_py: Command, empty: Settings) -> None:
    made = new_study(empty)
    code, lines, errors = study_py("confirm")
    assert (code, lines, len(errors)) == (2, [], 1) and "'miniature' has no completed trial to confirm" in errors[0]
    run(made, FLAT, [4.5, 4.0], baseline="V0")
    made._storage.remove_session()
    with open(empty.directory / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, lines, errors = study_py("confirm")
    assert (code, lines, len(errors)) == (2, [], 1)
    assert "study 'miniature' is being searched by another process" in errors[0]


def test_a_machine_without_the_study_s_folder_confirms_too(
    study_py: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one on which no run is left to do: both export. The study's name is as long as it may be."""
    name = ("Odd-na.me_" * 7)[:64]
    shared = {"study.storage": f"sqlite:///{tmp_path}/shared.db", "confirm.audit": 0, "study.name": name}
    settings = miniature(tmp_path, shared)
    study = new_study(settings)
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    study._storage.remove_session()
    os.rmdir(settings.directory)
    given = ["--study", name, "--storage", settings.storage_url, "--set", "confirm.rates=[]"]
    given += [word for key, value in FIFTHS.items() for word in ("--set", f"{key}={value}")]
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        code, lines, _ = study_py("confirm", *given)
        assert (code, lines[-1]) == (0, f"Exported (confirmed): runs/{name}/best_config.json")
        assert any(line.startswith(f"Confirmation of {name}") for line in lines)
