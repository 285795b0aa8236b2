"""What processes and folders hold: memory with shared pages counted once, and bytes on the disk."""

import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

LOOK = 0.5  # seconds between two looks, at least
SHARE = 20  # a look may cost this share of one core's time, as 1 / SHARE


class Peak:
    """The most memory that processes had together while this context was open, in bytes.

    The proportional set size of `roots`, processes by id, and of all below them: a page that n processes share counts
    1/n for each. What starts and ends between two looks is missed.
    """

    def __init__(self) -> None:
        self.roots: set[int] = set()
        self.bytes = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ending.set()
        self._thread.join()

    def _look(self) -> None:
        pause = 0.0
        while not self._ending.wait(pause):
            started = time.thread_time()
            self.bytes = max(self.bytes, sum(map(pss, set(tree(list(self.roots))))))
            pause = max(LOOK, SHARE * (time.thread_time() - started))


def tree(roots: Iterable[int]) -> Iterable[int]:
    for root in roots:
        try:
            yield root
            yield from (child.pid for child in psutil.Process(root).children(recursive=True))
        except psutil.NoSuchProcess:
            continue


def pss(pid: int) -> int:
    """Bytes; 0 for a process that is gone."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def bytes_in(folder: Path) -> int:
    """Of all files below `folder`, one with several names once."""
    status = [path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({(s.st_dev, s.st_ino): s.st_size for s in status}.values())
