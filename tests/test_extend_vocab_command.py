"""`study.py extend-vocab` from outside: the command, what it refuses, and that nothing is left where it fails."""

import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from search.commands.group import main
from search.errors import UserError
from search.preparation import parentage
from search.settings.settings import Settings
from search.tools import extend
from search.tools.extension_request import Made
from search.trial import Caller
from tests.extensions import make, settings_of, write_sources


@pytest.fixture(scope="module")
def sources(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sources(tmp_path_factory.mktemp("sources"), cache)


def test_a_full_disk_is_one_line(sources: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for it; model.pth is what hits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(UserError, match=r"--output out cannot be written: File too large; nothing is left of it"):
            make(settings_of(sources), tmp_path / "base")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_known_to_be_too_small(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extend.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1_000_000))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"needs 0.0 GB, and 0.0 GB are free; make room, or name a folder on another"):
        run(settings_of(sources), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def run(settings: Settings, output: Path, progress: Callable[[str], None] = lambda _: None) -> Made:
    return extend.extend(settings, output, 5, None, "matched", None, False, progress)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: p.mkdir() or (p / "file").touch(), "is a folder with files in it; nothing is overwritten"),
        (lambda p: p.touch(), "exists and is not a folder; nothing is overwritten"),
        (lambda p: p.symlink_to(p.parent / "nowhere"), "exists and is not a folder"),
    ],
)
def test_nothing_is_overwritten(sources: Path, tmp_path: Path, prepare: Callable[[Path], object], message: str) -> None:
    prepare(tmp_path / "out")
    with pytest.raises(UserError, match=message):
        run(settings_of(sources), tmp_path / "out")


@contextmanager
def process(monkeypatch: pytest.MonkeyPatch, target: Callable[..., Any]) -> Iterator[None]:
    """`target` in place of what the process does."""
    monkeypatch.setattr(extend, "TARGET", f"{__name__}:{target.__name__}")
    yield


def slow_child(caller: Caller, request: dict[str, Any]) -> None:
    """Writes half a base, and waits."""
    folder = Path(request["folder"])
    (folder / "model.pth").write_text("half")
    caller.say("progress", text="half")
    time.sleep(60)


def dying_child(_caller: Caller, request: dict[str, Any]) -> None:
    (Path(request["folder"]) / "model.pth").write_text("half")
    os._exit(9)


def late_child(_caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """Someone else takes the name meanwhile."""
    (Path(request["folder"]) / "model.pth").write_text("whole")
    Path(request["output"]).mkdir()
    (Path(request["output"]) / "theirs").touch()
    return {"tokens_before": 9, "tokens_after": 12, "tag": "[am]", "letters": "ሰ", "others": 1, "words": 5} | {
        "tokens_per_word_before": 2.0, "tokens_per_word_after": 1.5
    }  # fmt: skip


@pytest.mark.parametrize("by", ["Ctrl-C", "SIGTERM"])
def test_a_stop_leaves_nothing(
    sources: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Also no folder that was made on the way to it."""

    def stop(text: str) -> None:
        if text == "half":
            os.kill(os.getpid(), signal.SIGINT if by == "Ctrl-C" else signal.SIGTERM)
            time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    with process(monkeypatch, slow_child), pytest.raises(KeyboardInterrupt):
        run(settings_of(sources), tmp_path / "new" / "deep" / "out", stop)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before
    assert not list(cache.glob(f"extend*-{os.getpid()}*"))


def test_a_process_that_dies_leaves_nothing(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with process(monkeypatch, dying_child), pytest.raises(UserError, match=r"failed: .* exit code 9; see .*\.log"):
        run(settings_of(sources), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_was_taken_meanwhile(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with process(monkeypatch, late_child), pytest.raises(UserError, match=r"cannot be written .*not empty"):
        run(settings_of(sources), tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "theirs"]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `study.py extend-vocab`, in this process."""
    monkeypatch.setattr(sys, "argv", ["study.py", "extend-vocab", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into an empty folder that is there; fewer merges than asked for are said, and no failure."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(
        f'[data]\npath = "{sources}/data"\neval = "eval.csv"\nlanguage = "am"\n[base]\npath = "{sources}/base"\n'
    )
    (tmp_path / "new").mkdir()
    assert command(monkeypatch, "--output", "new", "--init", "stock", "--seed", "7") == 0
    out, err = capsys.readouterr()
    assert "writing model.pth" in err
    lines = out.splitlines()
    assert (
        lines[0].startswith("vocabulary: 98 rows and ") and "the tag [am], 15 letters, 9 tokens by merges" in lines[0]
    )
    assert "of the 1000 asked for; no further pair of tokens with a new letter occurs twice" in lines[1]
    assert lines[-2] == "texts without a new letter are cut into the same tokens as before"
    assert lines[-1] == "Written: new; name it by base.path"
    note = parentage.read(tmp_path / "new")
    assert note and (note.init, note.seed) == ("stock", 7)
    assert note.learned == parentage.Learning(asked=1000, any_letters=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "study.toml"]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o777 & ~_umask()
    assert command(monkeypatch, "--output", "new") == 2
    assert capsys.readouterr().err.count("\n") == 1


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        (["--output", "new", "--vocabulary", "none.json"], "--vocabulary is none.json, which is not a file"),
        (["--output", "new", "--vocabulary", "x", "--tokens", "5"], "--vocabulary brings its own merges"),
        (["--output", "new", "--vocabulary", "x", "--any-letters"], "--vocabulary brings its own merges"),
        (["--output", "new", "--tokens", "-1"], "-1 is not in the range"),
        ([], "Missing option '--output'"),
        (["--output", "new", "--set", "base.path=nowhere"], "base.path is nowhere, which is not a folder"),
    ):
        assert command(monkeypatch, *arguments) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert message in err
    assert list(tmp_path.iterdir()) == []
