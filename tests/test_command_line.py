import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search import __version__
from search.settings.settings import Settings, load
from search.study import storage
from search.study.leases import owner
from tests.conftest import ROOT
from tests.in_process import in_process
from tests.postgres import ESCAPED, PASSWORD
from tests.stub import PREPARED


class CommandLine:
    """`study.py` in this process, in a folder of its own, with a cache beside it. No password is ever shown."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.cwd, self.cache = folder / "cwd", folder / "cache"
        self.cwd.mkdir()
        monkeypatch.setenv("XTTS_STUDY_CACHE", str(self.cache))
        self._call = in_process(self.cwd, monkeypatch, capfd)
        (self.cwd / "study.toml").unlink()

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code, out, err = self._call(*arguments)
        assert not [word for word in (PASSWORD, ESCAPED, "hunter2") if word in out + err]
        return code, out, err

    def refused(self, *arguments: str, code: int = 2) -> str:
        """The one line that is said, for bad input or with another exit code, checked to be all that it leaves."""
        before = sorted(self.cwd.parent.rglob("*"))
        ended, _, err = self(*arguments)
        assert (ended, err.count("\n")) == (code, 1), err
        assert err.startswith("study.py: ")
        assert sorted(self.cwd.parent.rglob("*")) == before
        return err


@pytest.fixture
def study_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capfd)


TORCH = {"torch", "TTS", "trainer"}


@pytest.mark.parametrize(
    ("ran", "loaded", "slow"),
    [
        (
            "import study; sys.argv = ['study.py', '--help']\ntry: study.main()\nexcept SystemExit: pass",
            "search.commands.group",
            TORCH | {"optuna", "sqlalchemy", "rich", "pydantic"},
        ),
        ("import search.workers.supervisor, search.confirmation.confirm, search.pages.dashboard", "optuna", TORCH),
        (
            "import search.commands.export",
            "optuna",
            TORCH | {"transformers", "scipy.stats", "sklearn", "pandas", "matplotlib", "plotly"},
        ),
    ],
    ids=["--help", "the supervisor", "export"],
)
def test_nothing_slow_is_loaded_that_is_not_needed(ran: str, loaded: str, slow: set[str]) -> None:
    code = f"import sys\n{ran}\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(result.stdout.splitlines()[-1].split())
    assert loaded in modules and not slow & modules


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_another_system_than_linux_is_refused_in_one_line(platform: str) -> None:
    """Before anything is imported that does not exist there."""
    code = f"import sys, runpy; sys.platform = {platform!r}; sys.modules['fcntl'] = None; runpy.run_path('study.py')"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "WSL 2" in result.stderr


def test_the_version_is_told_and_search_is_a_command(study_py: CommandLine) -> None:
    assert study_py("--version")[1] == f"xtts-study, version {__version__}\n"
    assert study_py.refused("search", "--trials", "0") == study_py.refused("--trials", "0")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--trials", "0"], ["study.trials is 0", "greater than or equal to 1"]),
        (["--settings", "nowhere.toml"], ["nowhere.toml does not exist", "study.example.toml"]),
        (["--set", "training"], ["--set 'training'", "section.key=value"]),
        (["--trials", "tgram://a'hunter2 b/chat"], ["'--trials': \"tgram://…\" is not a valid integer"]),
        (["--study", "tgram://hunter2/chat"], ["study.name is a URL"]),
        (["--set", "postgresql://me:hunter2@db/x?a=b"], ["--set 'postgresql://…' is not", "section.key=value"]),
        (["status", "--study", "other"], ["study 'other' does not exist", "--study"]),
        (["status", "--set", "data.path=gone"], ["study 'cwd' does not exist"]),  # it needs no data
        (["export", "--set", "base.path=gone"], ["study 'cwd' does not exist"]),
        (["replay", "3"], ["trial 3 of study 'miniature'", "spec.json"]),
        (["--bogus"], ["--bogus"]),
        (["watch"], ["'watch'"]),
        (["--study", "other", "status"], ["options go after the command: study.py status"]),
    ],
)
def test_bad_input_gives_one_line_and_leaves_nothing(
    study_py: CommandLine, arguments: list[str], parts: list[str]
) -> None:
    line = study_py.refused(*arguments)
    assert all(part in line for part in parts), line


# Databases


def search_a_little(settings: Settings) -> None:
    """A trial that finished and one that runs."""
    study, ledger = storage.open_study(settings, PREPARED, storage.open_storage(settings.storage_url))
    ids = [ledger.claim(9, owner(60)).trial_id for _ in range(2)]
    for trial_id in ids:
        assert trial_id is not None
        trial, _ = storage.suggest(study, trial_id, settings.search_space())
        trial.report(4.5, 20)
    evaluation = {**PREPARED.base_evaluation, "step": 20, "mel_ce": 4.5}
    run = {"evaluations": [evaluation], "record": None, "error": None}
    assert ids[0] is not None
    ledger.end(ids[0], TrialState.COMPLETE, 4.5, {"stop_reason": "finished", "run": run}, 2)
    ledger._storage.engine.dispose()


@pytest.mark.parametrize("where", ["sqlite", "postgresql, the password in the environment"])
def test_status_shows_a_running_trial_and_the_results(
    study_py: CommandLine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, where: str
) -> None:
    options = []
    if where != "sqlite":
        url: str = request.getfixturevalue("database")
        options = ["--storage", url.replace(f":{ESCAPED}", "")]
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
    settings = load(None, {"study.storage": options[1]} if options else {})
    settings.directory.mkdir(parents=True)
    search_a_little(settings)
    code, out, err = study_py("status", *options)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("running for ")
    assert "trial 1  step 20/50  eval 4.5000  lr " in lines[0]
    assert any(line.split()[:3] == ["0", "4.5000", "20"] for line in lines)
    assert "1 finished trials: 1 finished" in lines
    assert not study_py.cache.exists()
