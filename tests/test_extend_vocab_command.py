"""`study.py extend-vocab` from outside: the command, what it refuses, and that nothing is left where it fails."""

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from search.commands.group import main
from search.errors import UserError
from search.tools import extend
from search.trial import Caller
from tests.conftest import wait_until
from tests.extensions import make, settings_of, write_sources


@pytest.fixture(scope="module")
def sources(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources"), cache)


@pytest.fixture
def here(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; its settings, which name base and data, are elsewhere."""
    (tmp_path / "study.toml").write_text(
        f'[data]\npath = "{sources}/data"\neval = "eval.csv"\nlanguage = "am"\n[base]\npath = "{sources}/base"\n'
    )
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The exit code of `study.py extend-vocab`, in this process."""

    def run(*arguments: str) -> int:
        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(sys, "argv", ["study.py", "extend-vocab", *arguments, "--settings", "../study.toml"])
        with pytest.raises(SystemExit) as ended:
            main()
        signal.signal(signal.SIGTERM, before)
        return int(ended.value.code or 0)

    return run


def test_the_command(here: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """Into an empty folder that is there; fewer merges than asked for are said, and are no failure."""
    (here / "new").mkdir()
    assert command("--output", "new", "--init", "stock", "--set", "study.seed=7") == 0
    out, err = capsys.readouterr()
    assert "writing model.pth" in err
    lines = out.splitlines()
    assert lines[0].startswith("vocabulary: 98 rows and ")
    assert "the tag [am], 15 letters, 9 tokens by merges" in lines[0]
    assert "of the 1000 asked for; no further pair of tokens with a new letter occurs twice" in lines[1]
    assert lines[-2:] == [
        "texts without a new letter are cut into the same tokens as before",
        "Written: new; name it by base.path",
    ]
    note = json.loads((here / "new" / "extension.json").read_text(encoding="utf-8"))
    assert (note["init"], note["seed"], note["learned"]) == ("stock", 7, {"asked": 1000, "any_letters": False})
    assert [p.name for p in here.iterdir()] == ["new"]
    assert (here / "new").stat().st_mode & 0o777 == 0o755


def test_bad_input_is_one_line(here: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").touch()
    (here / "full").mkdir()
    (here / "full" / "file").touch()
    (here / "link").symlink_to("nowhere")
    before = sorted(here.rglob("*"))
    for arguments, message in (
        (["--output", "new", "--vocabulary", "none.json"], "--vocabulary is none.json, which is not a file"),
        (["--output", "new", "--vocabulary", "x", "--tokens", "5"], "--vocabulary has its own merges"),
        (["--output", "new", "--set", "base.path=nowhere"], "base.path is nowhere, which is not a folder"),
        (["--output", "full"], "--output full exists and is not an empty folder; nothing"),
        (["--output", "link"], "--output link exists and is not an empty folder"),
        (["--output", "file/new"], "--output file/new cannot be written ("),
    ):
        assert command(*arguments) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), err
        assert message in err
    assert sorted(here.rglob("*")) == before


def test_a_full_disk_is_one_line(sources: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for it; model.pth is what hits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(UserError, match=r"--output out cannot be written \(File too large\); nothing of it"):
            make(settings_of(sources), tmp_path / "base")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# In place of what the process does


def slow_child(_caller: Caller, request: extend.Request) -> None:
    (request.folder / "model.pth").write_text("half")
    time.sleep(60)


def dying_child(_caller: Caller, request: extend.Request) -> None:
    (request.folder / "model.pth").write_text("half")
    os._exit(9)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_nothing(
    here: Path, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, by: signal.Signals
) -> None:
    def stop() -> None:
        wait_until(lambda: any(here.rglob("model.pth")))
        os.kill(os.getpid(), by)

    monkeypatch.setattr(extend, "TARGET", f"{__name__}:slow_child")
    threading.Thread(target=stop, daemon=True).start()
    assert command("--output", "out") == 130
    assert list(here.iterdir()) == []


def test_a_failure_leaves_nothing(
    here: Path, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extend, "TARGET", f"{__name__}:dying_child")
    assert command("--output", str(here / "out")) == 2
    assert "exit code 9; see " in capsys.readouterr().err
    assert list(here.iterdir()) == []
