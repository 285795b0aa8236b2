"""The cache of a machine: folders are made once, appear whole, and are removed only when nobody uses them."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from search.errors import UserError
from search.preparation.cache import entries, in_use, make_once, make_room, remove
from search.workers.session import hold
from tests import stub
from tests.conftest import ROOT

# A process that makes the folder prepared-a of the cache, says what it does, and half-way waits to be told to go on.
MAKER = """
import sys
from pathlib import Path
from search.preparation.cache import make_once
cache = Path(sys.argv[1])
def build(folder):
    (folder / "half").write_text("half")
    print("building", flush=True)
    sys.stdin.readline()
    (folder / "whole").write_text("whole")
make_once(cache / "prepared-a", build, lambda: print("waiting", flush=True))
print("there" if (cache / "prepared-a" / "whole").exists() else "missing", flush=True)
"""

HOLDER = """
import sys
from pathlib import Path
from search.preparation.cache import in_use
with in_use(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Ended with the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def folder(cache: Path, name: str, size: int, age: float = 0.0) -> Path:
    """An entry of `size` bytes, last used `age` seconds ago."""

    def build(target: Path) -> None:
        (target / "content").write_bytes(os.urandom(size))

    make_once(cache / name, build, lambda: None)
    os.utime(cache / name, (time.time() - age, time.time() - age))
    return cache / name


def names(cache: Path) -> list[str]:
    return [entry.path.name for entry in entries(cache)]


@pytest.mark.parametrize("first_dies", [False, True])
def test_one_of_two_processes_builds_and_the_other_waits(
    tmp_path: Path, processes: list[subprocess.Popen[str]], first_dies: bool
) -> None:
    first = start(MAKER, tmp_path)
    assert line(first) == "building"
    second = start(MAKER, tmp_path)
    processes += [first, second]
    assert line(second) == "waiting"
    if first_dies:  # the kernel frees its lock, and nothing lies under the name
        os.kill(first.pid, signal.SIGKILL)
        go_on(second)
        assert [line(second), line(second)] == ["building", "there"]
    else:
        go_on(first)
        assert [line(first), line(second)] == ["there", "there"]
    assert not list(tmp_path.glob(".*"))


def test_what_others_had_begun_goes_after_a_day(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    (tmp_path / ".prepared-dead.x").mkdir()
    processes.append(start(MAKER, tmp_path))
    assert line(processes[0]) == "building"
    (slow,) = tmp_path.glob(".prepared-a.*")
    folder(tmp_path, "prepared-b", 10)
    assert (tmp_path / ".prepared-dead.x").exists()  # it might be another's, at work
    for begun in (slow, tmp_path / ".prepared-dead.x"):
        os.utime(begun, (0, 0))
    folder(tmp_path, "prepared-c", 10)
    assert not (tmp_path / ".prepared-dead.x").exists()
    assert slow.exists()  # work of more than a day: its lock is held


def full(target: Path) -> None:
    (target / "half").write_text("half")
    try:
        raise OSError(errno.ENOSPC, "full")
    finally:  # as `torch.save` does: an error of its own, and the disk's behind it
        raise RuntimeError("unexpected pos 64 vs 0")


def broken(target: Path) -> None:
    (target / "half").write_text("half")
    raise OSError(errno.EIO, "broken")


@pytest.mark.parametrize(
    ("build", "kind", "words"),
    [(full, UserError, r"^the cache .* cannot be written \(full\); free some room"), (broken, OSError, "broken")],
)
def test_a_failure_leaves_nothing(
    tmp_path: Path, build: Callable[[Path], None], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        make_once(tmp_path / "prepared-a", build, lambda: None)
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]
    assert folder(tmp_path, "prepared-a", 10).exists()


def test_the_oldest_make_room(tmp_path: Path) -> None:
    for name, age in (("recordings-new", 0), ("prepared-old", 900), ("miniature-base-x", 9_000), ("prepared-mid", 90)):
        folder(tmp_path, name, 400_000, age)
    make_room(tmp_path, 2e6, 300_000, "it")
    assert len(names(tmp_path)) == 4  # it fits
    make_room(tmp_path, 2e6, 500_000, "it")
    assert names(tmp_path) == ["recordings-new", "prepared-mid", "miniature-base-x"]


def test_what_is_used_is_not_removed(tmp_path: Path, processes: list[subprocess.Popen[str]]) -> None:
    used, idle = folder(tmp_path, "prepared-used", 400_000, 900), folder(tmp_path, "prepared-idle", 400_000, 90)
    before = used.stat().st_mtime
    make_once(used, lambda _: pytest.fail("it is there"), lambda: None)
    assert used.stat().st_mtime > before  # the oldest are removed first
    os.utime(used, (before, before))
    processes.append(start(HOLDER, used))
    assert line(processes[0]) == "held"
    with in_use(idle, used):  # by any number of users
        assert [entry.in_use for entry in entries(tmp_path)] == [True, True]
        assert not any(remove(entry) for entry in entries(tmp_path))
    os.utime(used, (before, before))
    assert [entry.in_use for entry in entries(tmp_path)] == [False, True]
    with pytest.raises(UserError, match=r"service.cache_gb is 0.001: .* are in use, and it needs about"):
        make_room(tmp_path, 1e6, 900_000, "it")
    assert used.exists()
    assert not idle.exists()
    (entry,) = entries(tmp_path)
    assert not remove(entry)
    processes[0].kill()
    processes[0].wait()
    assert remove(entry) and remove(entry)  # the second time it is gone already
    assert not used.exists()


def test_a_search_holds_the_base_that_an_extended_one_links_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTTS_STUDY_CACHE", str(tmp_path / "alias"))
    (tmp_path / "alias").symlink_to(tmp_path)
    prepared, base = folder(tmp_path, "prepared-a", 10), folder(tmp_path, "miniature-base-a", 10)
    folder(tmp_path, "recordings-a", 10)  # its audio has a second name in the prepared folder
    (prepared / "base").mkdir()
    (prepared / "base" / "mel_stats.pth").symlink_to(base / "content")
    files = {"xtts_checkpoint": "model.pth", "dvae_checkpoint": "mel_stats.pth", "mel_norm_file": "mel_stats.pth"}
    names_of = {key: str(tmp_path / "alias" / "prepared-a" / "base" / name) for key, name in files.items()}
    made = replace(
        stub.PREPARED, directory=str(tmp_path / "alias" / "prepared-a"), coqui_config={"model_args": names_of}
    )
    with hold(made):
        assert sorted(e.path.name for e in entries(tmp_path) if e.in_use) == ["miniature-base-a", "prepared-a"]
    assert not any(entry.in_use for entry in entries(tmp_path))


def test_a_folder_that_is_gone_cannot_be_held(tmp_path: Path) -> None:
    """Between the making and the lock another process may have cleared the cache."""
    first, second = folder(tmp_path, "prepared-a", 10), folder(tmp_path, "recordings-a", 10)
    shutil.rmtree(second)
    with (
        pytest.raises(UserError, match="recordings-a was removed by another process meanwhile; run"),
        in_use(first, second),
    ):
        pytest.fail("it is not there")
    assert not any(entry.in_use for entry in entries(tmp_path))


def test_more_than_the_limit_or_the_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"service.cache_gb is 1, and the audio needs about 2 GB: raise it"):
        make_room(tmp_path, 1e9, 2e9, "the audio")
    with pytest.raises(UserError, match=r"GB free in .*, and the audio needs about 1e\+09 GB; free some"):
        make_room(tmp_path, 1e30, 1e18, "the audio")


def study(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "study.py", "cache", *arguments],
        env={**os.environ, "XTTS_STUDY_CACHE": str(cache)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_lists_and_clears(tmp_path: Path) -> None:
    assert study(tmp_path / "none").stdout.strip() == f"{tmp_path / 'none'}: nothing is kept."
    old = folder(tmp_path, "prepared-old", 2_000_000, 3 * 86_400)
    (old / "about.txt").write_text("/data/\x1b[31mred")
    os.utime(old, (time.time() - 3 * 86_400 - 5,) * 2)
    used = folder(tmp_path, "recordings-used", 1_000_000)
    with in_use(used):
        listed = study(tmp_path).stdout
        assert "\x1b" not in listed
        rows = [row.split(maxsplit=4) for row in listed.splitlines()]
        assert rows[1][:4] == ["recordings-used", "1.0", "MB", "in"]
        assert rows[2][:3] == ["prepared-old", "2.0", "MB"]
        wrong = study(tmp_path, "--clear", "prepared-none")
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
        assert "has no 'prepared-none'" in wrong.stderr
        assert study(tmp_path, "prepared-old").returncode == 2  # without --clear
        assert study(tmp_path, "--clear").stdout == "recordings-used: in use, left alone\n2.0 MB freed\n"
    assert names(tmp_path) == ["recordings-used"]
    assert study(tmp_path, "--clear", "recordings-used").stdout == "1.0 MB freed\n"
    assert names(tmp_path) == []
