"""Files that are either the old or the new version, folders that are there whole or not at all, and locks."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_text(path: Path, text: str) -> None:
    """Replaces `path`, or the file that it is a link to, by one with `text` (UTF-8), also across a power loss.

    Raises OSError for what is there and is no file: as root a rename would replace /dev/null for the whole machine.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is there, and no file", str(path))
    with replacing(path.resolve()) as file:
        file.write(text.encode())


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` once the block ends well, also across a power loss."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # makes the rename last
    finally:
        os.close(folder)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` that takes its name once the block ends well, and is removed otherwise."""
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield folder
        os.chmod(folder, 0o755)  # mkdtemp made it private
        os.rename(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lock(path: Path) -> IO[str]:
    """The open file `path`, locked until it is closed or its process ends, however it ends.

    Raises BlockingIOError while another process holds it.
    """
    return _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)


def wait_for_lock(path: Path) -> IO[str]:
    """As `lock`, once no other process holds it."""
    return _locked(path, fcntl.LOCK_EX)


def wait_for_shared_lock(path: Path) -> IO[str]:
    """As `wait_for_lock`, but several processes may share it. None of the other kind is given meanwhile."""
    return _locked(path, fcntl.LOCK_SH)


def _locked(path: Path, how: int) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (the caller closes it)
    try:
        fcntl.flock(file, how)
    except BaseException:
        file.close()
        raise
    return file


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock of either kind on the file. It need not be writable."""
    try:
        with open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # nobody ever locked it
        return False
    except BlockingIOError:
        return True
    return False


def link(source: Path, target: Path) -> None:
    """`target` is `source`'s file under a second name, so that its gigabytes lie on the disk once; or a copy of it."""
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
