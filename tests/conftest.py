"""Shared fixtures.

The suite has a cache of its own, which its workers share: what another run, or another processor, left in the user's
would decide with.
"""

import dataclasses
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from search.preparation.places import locate
from search.settings.settings import load
from search.study.database import StudyStorage
from search.study.storage import open_storage
from search.trial import Prepared, TrialSpec, evaluation_steps
from search.workers import child
from search.workers.launcher import Launcher
from space.hyperparameters import Hyperparameters
from tests.in_process import StudyPy, in_process
from tests.postgres import Server

ROOT = Path(__file__).parent.parent
# Files that take half a minute and more begin first, so that no worker is left alone with one at the end.
LONG = (
    "search", "chaos", "faults", "service", "in_browser", "confirm", "confirm_real", "recordings", "confirm_command",
    "parity", "train_with_coqui", "deployment", "full_run", "state", "ledger_faults", "ray", "training", "speech",
    "handover", "preempted", "slurm", "own_database", "pgbouncer", "control",
)  # fmt: skip

hypothesis.settings.register_profile("fuzz", max_examples=5000, print_blob=True)  # make fuzz

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's & ignores it, and so would whatever the tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # xdist would begin with the files of many tests, which are short ones
    if not hasattr(config, "workerinput"):  # xdist's workers get the environment of the process that starts them
        os.environ["XTTS_STUDY_CACHE"] = tempfile.mkdtemp(prefix="xtts-study-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["XTTS_STUDY_CACHE"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"test_{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> Iterator[None]:
    """A process has one fork server, with the modules that its first launcher asks for: here those of all children.

    Those of the other launchers would import torch, or Optuna, run by run.
    """
    everything = [*child.PRELOAD, "search.confirmation.confirm", "tests.shown"]
    init = Launcher.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Launcher, "__init__", lambda launcher, _preload=(): init(launcher, everything))
        yield


def wait_until(condition: Callable[[], Any], seconds: float = 240.0, what: str = "") -> Any:
    """What `condition` returns once it is true; an AssertionError that names `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return result


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server, for databases of the tests' own."""
    server = Server()
    yield server
    server.remove()


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database with Optuna's tables; dropped afterwards, connections or not."""
    url = server.create_database(lambda template: open_storage(template).engine.dispose())
    yield url
    with server.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)".encode())


@pytest.fixture
def storage(database: str) -> Iterator[StudyStorage]:
    """A fresh PostgreSQL database, opened."""
    opened = open_storage(database)
    yield opened
    opened.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh database: the test runs over SQLite and over PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    url: str = request.getfixturevalue("database")
    return url


@pytest.fixture
def study_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> StudyPy:
    """`study.py` in this process, in a folder of its own."""
    return in_process(tmp_path, monkeypatch, capfd)


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where the prepared miniature lies; children of the tests use the same."""
    return Path(os.environ["XTTS_STUDY_CACHE"])


@pytest.fixture(scope="session")
def miniature(cache: Path) -> Path:
    """The miniature base as generated, English only."""
    return locate(load(None, {}), cache, lambda _: None)[1]


@pytest.fixture(scope="session")
def prepared(cache: Path) -> Prepared:
    """The miniature, extended and encoded, as a search prepares it."""
    from search.preparation.prepare import prepare

    return prepare(load(None, {}), cache, lambda _: None)


@pytest.fixture
def make_spec(prepared: Prepared, tmp_path: Path) -> Callable[..., TrialSpec]:
    """As `make_spec_in`, for one test."""
    return make_spec_in(prepared, tmp_path)


def make_spec_in(prepared: Prepared, folder: Path) -> Callable[..., TrialSpec]:
    """Makes specs of short runs, each with a folder of its own; hyperparameters by keyword, the rest as given."""
    count = 0

    def make(horizon: int = 6, evaluations: int = 2, **values: Any) -> TrialSpec:
        nonlocal count
        count += 1
        directory = folder / f"run-{count}"
        directory.mkdir()
        given = {f.name for f in dataclasses.fields(Hyperparameters)} & values.keys()
        point = Hyperparameters(**{"lr": 5e-4, "weight_decay": 0.01, **{name: values.pop(name) for name in given}})
        fields: dict[str, Any] = {
            "seed": 1,
            "batch_size": 2,
            "accumulation": 1,
            "eval_batch_size": 20,
            "precision": "fp32",
            "prepared": prepared.directory,
            **values,
        }
        return TrialSpec(
            study="test",
            number=count,
            hyperparameters=point,
            horizon=horizon,
            evaluation_steps=evaluation_steps(horizon, evaluations),
            directory=str(directory),
            **fields,
        )

    return make


def as_another_user(check: Callable[[], bool]) -> bool:
    """What `check` finds in a process that has no rights beyond its own user's: root may read and write everything."""
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65_534)
                os.setuid(65_534)
            os._exit(0 if check() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
