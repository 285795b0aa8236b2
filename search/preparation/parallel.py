"""Runs preparation on all cores of the machine, with the same results in the same order as on one core."""

import ctypes
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Made = TypeVar("Made")

_CHUNK = 8  # items per task: enough to make passing it cheap, few enough for smooth progress
_PR_SET_PDEATHSIG = 1


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def on_all_cores(make: Callable[[Item], Made], items: Sequence[Item]) -> Iterator[Made]:
    """`make` of each item, in order. Its exceptions are raised here.

    The workers are forked, so `make` may use everything that is loaded, without a copy. Each process computes with one
    thread, so that the results do not depend on the number of cores.
    """
    if cores() == 1 or len(items) <= _CHUNK:
        yield from map(make, items)
        return
    chunks = [items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK)]
    workers = min(cores(), len(chunks))
    # A thread pool of torch would hang in a forked process; with one thread there is none.
    assert torch.get_num_threads() == 1
    # The launcher's children are daemons, which may not have children of their own.
    multiprocessing.current_process().daemon = False
    global _make
    _make = make
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, fork, initializer=_die_with, initargs=(os.getpid(),)) as pool:
        # Results wait in memory for their turn, so only a few are requested ahead.
        waiting: deque[Future[list[Made]]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_make_all, chunk))
                if len(waiting) > 3 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_make: Callable[..., object]  # a global, which the fork copies: a closure cannot be sent to a process


def _make_all(items: Sequence[Item]) -> list[Made]:
    return [_make(item) for item in items]  # type: ignore[misc]


def _die_with(parent: int) -> None:
    """Ends the worker when a killed preparation leaves it behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before the line above
        os._exit(1)
