import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from search.commands.group import refuse
from search.settings.settings import Settings, load
from search.study import storage
from search.study.leases import owner
from tests.conftest import ROOT
from tests.postgres import ESCAPED, PASSWORD, Server
from tests.stub import PREPARED


class CommandLine:
    """`study.py` run in a folder of its own, with a cache beside it."""

    def __init__(self, folder: Path) -> None:
        self.cwd, self.cache = folder / "cwd", folder / "cache"
        self.cwd.mkdir()

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(ROOT / "study.py"), *arguments]
        environment = {**os.environ, "XTTS_STUDY_CACHE": str(self.cache)}
        return subprocess.run(
            command, cwd=self.cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def refused(self, *arguments: str) -> str:
        """The one line that bad input gives, checked to be all that it leaves."""
        before = sorted(self.cwd.parent.rglob("*"))
        result = self(*arguments)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
        assert result.stderr.startswith("study.py: ")
        assert sorted(self.cwd.parent.rglob("*")) == before
        assert_no_password(result)
        return result.stderr


def assert_no_password(result: "subprocess.CompletedProcess[str]") -> None:
    assert not [word for word in (PASSWORD, ESCAPED, "hunter2") if word in result.stdout + result.stderr]


@pytest.fixture
def study_py(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_help_takes_less_than_a_second_of_cpu(study_py: CommandLine) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = study_py("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0
    assert "--trials" in result.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_help_does_not_load_what_it_does_not_need() -> None:
    ran = "import sys, study\nsys.argv = ['study.py', '--help']\ntry: study.main()\nexcept SystemExit: pass"
    code = f"{ran}\nprint('loaded', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = result.stdout.splitlines()[-1].split()
    assert loaded[0] == "loaded"
    assert not {"torch", "TTS", "trainer", "optuna", "sqlalchemy"} & set(loaded)


def test_the_supervisor_loads_no_torch() -> None:
    modules = (
        "search.workers.supervisor, search.confirmation.confirm, search.confirmation.export, search.pages.dashboard"
    )
    code = f"import sys, {modules}\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert {"search.workers.supervisor", "optuna"} <= loaded
    assert not {"torch", "TTS", "trainer"} & loaded


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--trials", "0"], ["study.trials is 0", "greater than or equal to 1"]),
        (["--settings", "nowhere.toml"], ["nowhere.toml does not exist", "study.example.toml"]),
        (["--set", "training.precision=fp64"], ["training.precision is 'fp64'", "'fp32', 'tf32' or 'bf16'"]),
        (["--set", "training"], ["--set 'training'", "section.key=value"]),
        (["--trials", "tgram://a'hunter2 b/chat"], ["'--trials': \"tgram://…\" is not a valid integer"]),
        (["--study", "tgram://hunter2/chat"], ["study.name is 'tgram://…': it must be"]),
        (["--set", "tgram://hunter2/chat"], ["--set 'tgram://…' is not", "section.key=value"]),
        (["--set", "postgresql://me:hunter2@db/x?a=b"], ["--set 'postgresql://…' is not", "section.key=value"]),
        (["status", "--study", "other"], ["study 'other' does not exist", "--study"]),
        (["status", "--set", "data.path=gone"], ["study 'cwd' does not exist"]),  # it needs no data
        (["report", "--set", "data.path=gone"], ["study 'cwd' does not exist"]),
        (["export", "--set", "base.path=gone"], ["study 'cwd' does not exist"]),
        (["replay", "3"], ["trial 3 of study 'miniature'", "spec.json"]),
        (["--trials", "many"], ["--trials", "'many'", "integer"]),
        (["--bogus"], ["--bogus"]),
        (["watch"], ["'watch'"]),
        (["replay"], ["NUMBER"]),
        (["--study", "other", "status"], ["options go after the command: study.py status"]),
    ],
)
def test_bad_input_gives_one_line_and_leaves_nothing(
    study_py: CommandLine, arguments: list[str], parts: list[str]
) -> None:
    line = study_py.refused(*arguments)
    assert all(part in line for part in parts), line
    assert "hunter2" not in line


def test_details_follow_a_refusal_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert refuse("made with\nother settings:", ["seed: 1 there, 2 here", "lr: 3"]) == 2
    assert capsys.readouterr() == ("", "study.py: made with other settings:\n  seed: 1 there, 2 here\n  lr: 3\n")


# Databases

BOTH = pytest.mark.parametrize("command", [[], ["status"]], ids=["search", "status"])


@BOTH
def test_an_unreachable_database_gives_one_line_without_its_password(study_py: CommandLine, command: list[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = study_py.refused(*command, "--storage", f"postgresql://reader:hunter2@127.0.0.1:{port}/db")
    assert f"reader:***@127.0.0.1:{port}/db" in line
    assert "Connection refused" in line


@BOTH
@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"password": "hunter2"}, "password authentication failed"),
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"query": {"sslmode": "require"}}, "server does not support SSL"),
    ],
    ids=["password", "database", "TLS"],
)
def test_a_database_that_lets_nobody_in_gives_one_line_without_its_password(
    study_py: CommandLine, server: Server, command: list[str], change: dict[str, Any], part: str
) -> None:
    url = make_url(server.url("postgres")).set(**change)
    line = study_py.refused(*command, "--storage", url.render_as_string(hide_password=False))
    assert part in line
    assert f"xtts:***@127.0.0.1:{server.port}/" in line


def test_tables_of_another_optuna_are_said_in_one_line(study_py: CommandLine, server: Server, database: str) -> None:
    with server.connect(make_url(database).database or "") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    assert "tables of an older Optuna" in study_py.refused("status", "--storage", database)


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


@pytest.mark.parametrize("where", ["sqlite", "postgresql", "postgresql, the password in the environment"])
def test_status_shows_a_running_trial_and_the_results(
    study_py: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    where: str,
) -> None:
    monkeypatch.chdir(study_py.cwd)
    options = []
    if where != "sqlite":
        url: str = request.getfixturevalue("database")
        if "environment" in where:
            url = url.replace(f":{ESCAPED}", "")
            monkeypatch.setenv("PGPASSWORD", PASSWORD)
        options = ["--storage", url]
    settings = load(None, {"study.storage": options[1]} if options else {})
    settings.directory.mkdir(parents=True)
    search_a_little(settings)
    result = study_py("status", *options)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("running for ")
    assert "trial 1  step 20/200  eval 4.5000  lr " in lines[0]
    assert any(line.split()[:3] == ["0", "4.5000", "20"] for line in lines)
    assert "1 finished trials: 1 finished" in lines
    assert_no_password(result)
    assert not study_py.cache.exists()
