"""The cache of a machine: folders that are made once for all trials, slots and searches on it.

A folder's name depends on its content, and it appears complete or not at all. A file in `locks/` is locked while the
folder is being made (exclusive) or used (shared); the kernel releases the lock when the process ends in any way.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import platformdirs

from search.errors import UserError, named_full_disk
from search.files import is_locked, lock, wait_for_lock, wait_for_shared_lock, whole_folder

KINDS = {
    "recordings": "decoded audio",
    "prepared": "audio codes, tokens and evaluation batches of a study",
    "miniature-speech": "the generated speech",
    "miniature-base": "the miniature base model",
}
_LEFT_OVER_SECONDS = 86_400


def cache_directory() -> Path:
    """Where prepared data is stored: XTTS_STUDY_CACHE, or else the user's cache directory."""
    return Path(os.environ.get("XTTS_STUDY_CACHE") or platformdirs.user_cache_path("xtts-study")).absolute()


def make_cache_directory() -> Path:
    """`cache_directory`, created if necessary. Raises UserError, also if this user may not write to it."""
    cache = cache_directory()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except OSError as error:
        raise UserError(
            f"cache folder {cache} cannot be created or written to ({error.strerror}); set XTTS_STUDY_CACHE to another"
        ) from error
    return cache


@dataclass(frozen=True)
class Entry:
    """A folder of the cache."""

    path: Path
    kind: str  # of KINDS
    bytes: int  # on the disk; files that two folders share are counted once, with the first that is listed
    used: float  # seconds since the epoch at which it was last asked for
    in_use: bool  # it is being made or used
    about: str  # what it was made from


def entries(cache: Path) -> list[Entry]:
    """The content of the cache, the most recently used first."""
    folders: list[tuple[float, str, Path]] = []
    for kind in KINDS:
        for folder in cache.glob(f"{kind}-*"):
            with suppress(FileNotFoundError):  # another process removes it at this moment
                folders.append((folder.stat().st_mtime, kind, folder))
    found, seen = [], set[tuple[int, int]]()
    for used, kind, folder in sorted(folders, reverse=True):
        size = 0
        with suppress(FileNotFoundError):
            for file in folder.rglob("*"):
                stat = file.lstat()
                if (stat.st_dev, stat.st_ino) not in seen:
                    seen.add((stat.st_dev, stat.st_ino))
                    size += 512 * stat.st_blocks
            about = folder / "about.txt"
            text = about.read_text(encoding="utf-8").strip() if about.is_file() else ""
            found.append(Entry(folder, kind, size, used, is_locked(_lock_of(folder)), text))
    return found


def make_once(target: Path, build: Callable[[Path], None], wait: Callable[[], None]) -> None:
    """Lets `build` fill a folder that is named `target` on success; does nothing if `target` exists.

    Only one of several processes builds; the others call `wait` once and wait for it.
    """
    while True:
        if not target.exists():
            with _made_alone(target, wait):
                if not target.exists():
                    _build(target, build)
        try:
            os.utime(target)  # the oldest are removed first
        except FileNotFoundError:  # removed meanwhile: it is not locked until its maker uses it
            continue
        return


@contextmanager
def in_use(*folders: Path) -> Iterator[None]:
    """Keeps these folders of a cache from being removed within the block. Raises UserError if one is gone already."""
    with ExitStack() as locks:
        for folder in folders:
            locks.enter_context(wait_for_shared_lock(_lock_of(folder)))
            if not folder.exists():  # between the making of it and this lock anybody may have removed it
                raise UserError(f"{folder} was removed by another process meanwhile; run the same command again")
        yield
        with suppress(FileNotFoundError):
            for folder in folders:
                os.utime(folder)  # used until now


def make_room(cache: Path, limit_bytes: float, needed_bytes: float, what: str) -> None:
    """Removes the least recently used folders until `needed_bytes` more fit under the limit.

    Raises UserError if they do not fit under the limit or on the disk.
    """
    limit, needs = f"service.cache_gb is {limit_bytes / 1e9:g}", f"{what} needs about {needed_bytes / 1e9:.2g} GB"
    if needed_bytes > limit_bytes:
        raise UserError(f"{limit}, and {needs}: raise it")
    for entry in reversed(entries(cache)):
        if _held(cache) + needed_bytes <= limit_bytes:
            break
        if not entry.kind.startswith("miniature"):
            remove(entry)
    held, free = _held(cache), shutil.disk_usage(cache).free
    if held + needed_bytes > limit_bytes:
        raise UserError(
            f"{limit}: {held / 1e9:.2g} GB are in use, and {needs} more; raise it, or wait for the other searches"
        )
    if needed_bytes > free:
        raise UserError(
            f"the cache's disk has {free / 1e9:.2g} GB free in {cache}, and {needs}; free some (study.py cache lists"
            " the folders), or set XTTS_STUDY_CACHE to another folder"
        )


def _held(cache: Path) -> int:
    """Bytes; files that two folders share are counted once, and are freed with the last of these."""
    return sum(entry.bytes for entry in entries(cache))


def remove(entry: Entry) -> bool:
    """Whether the folder is gone: False if it is in use. It disappears at once, with all files."""
    try:
        with lock(_lock_of(entry.path)):
            if not entry.path.exists():
                return True  # another process was faster
            doomed = Path(tempfile.mkdtemp(dir=entry.path.parent, prefix=f".{entry.path.name}."))
            os.rename(entry.path, doomed / "removed")
            shutil.rmtree(doomed)
    except BlockingIOError:
        return False
    return True


def _build(target: Path, build: Callable[[Path], None]) -> None:
    _remove_left_over(target)
    step = "free some room (study.py cache lists it), or set XTTS_STUDY_CACHE to another folder"
    with named_full_disk(f"the cache {target.parent} cannot be written", step), whole_folder(target) as folder:
        build(folder)
        for file in folder.rglob("*"):  # otherwise a power loss could leave a complete folder of empty files
            if file.is_file() and not file.is_symlink():
                with open(file, "rb") as content:
                    os.fsync(content.fileno())


def _remove_left_over(target: Path) -> None:
    """Unfinished folders of killed processes: of `target`, whose lock the caller holds, at once; others after a day."""
    for left in target.parent.glob(".*-*.*"):
        name = left.name[1:].rpartition(".")[0]
        with suppress(FileNotFoundError):  # its maker has just finished
            old = time.time() - left.stat().st_mtime > _LEFT_OVER_SECONDS
            # A maker that needs more than a day holds the lock.
            if name == target.name or (old and not is_locked(_lock_of(target.with_name(name)))):
                shutil.rmtree(left, ignore_errors=True)


def _lock_of(folder: Path) -> Path:
    """The file whose lock says that a folder of a cache is in use."""
    return folder.parent / "locks" / folder.name


def _made_alone(target: Path, wait: Callable[[], None]) -> IO[str]:
    """The lock of `target`. While another process holds it, calls `wait` once and waits."""
    try:
        return lock(_lock_of(target))
    except BlockingIOError:
        wait()
        return wait_for_lock(_lock_of(target))
