"""Supervisors as processes of their own, on clones of a study that has a history."""

import itertools
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.slots import history, paced
from benchmarks.slots.paced import Seen
from search.settings.settings import Settings
from search.trial import evaluation_steps
from search.workers.work import SearchWork
from tests import stub
from tests.postgres import Server

NODE = 8  # slots of a supervisor; its three connections make 48 for 128 slots, of the 100 that a server allows
PATIENCE = 300.0  # seconds, for all slots to have their first run

_fork = multiprocessing.get_context("fork")  # a hundred imports of Optuna would take longer than what is measured


class History:
    """A study with finished trials, to be cloned; and what a cache knows of it, once read."""

    def __init__(self, server: Server, folder: Path, trials: int) -> None:
        self._server = server
        self.trials = trials
        self.url = server.empty_database()
        settings = paced.settings_of(self.url, folder)
        study, _, database = paced.opened(settings, Seen())
        steps = evaluation_steps(settings.trial_horizon(stub.PREPARED.train_clips), settings.training.evaluations)
        history.fill(self.url, study._study_id, settings.search_space(), steps, trials)
        study.get_trials(deepcopy=False)
        known = vars(study._storage)
        read = ("_studies", "_trial_id_to_study_id_and_number", "_study_id_and_number_to_trial_id")
        self.known = {name: known[name] for name in read}
        database.engine.dispose()

    @contextmanager
    def clone(self) -> Iterator[str]:
        """The URL of a database with this history, for as long as the block lasts."""
        name = f"cell_{time.monotonic_ns()}"
        with self._server.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {name_of(self.url)} STRATEGY = file_copy".encode())
            try:
                yield self._server.url(name)
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


class Supervisors:
    """The processes of a cell; each tells what it has seen when it ends."""

    def __init__(self, url: str, folder: Path, known: dict[str, Any], slots: int, pace: float) -> None:
        self._ready = _fork.Semaphore(0)
        self._go = _fork.Event()
        self._begun = _fork.Semaphore(0)
        self._pipes = []
        self.processes = []
        self._slots = slots
        for number, first in enumerate(range(0, slots, NODE)):
            ours, theirs = _fork.Pipe(duplex=False)
            arguments = (url, folder / str(number), known, min(NODE, slots - first), pace, number, theirs)
            process = _fork.Process(target=self._run, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self.processes.append(process)

    def _run(
        self, url: str, folder: Path, known: dict[str, Any], slots: int, pace: float, number: int, pipe: Any
    ) -> None:
        def ready() -> None:
            self._ready.release()
            self._go.wait()

        settings = paced.settings_of(url, folder)
        pipe.send(paced.search(settings, known, slots, pace, number, ready, self._begun.release))

    def begin(self) -> None:
        """Returns when every slot has its first run, or never will."""
        self._take(self._ready, len(self.processes))
        self._go.set()
        self._take(self._begun, self._slots)

    def _take(self, semaphore: Any, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while count and time.monotonic() < deadline and all(p.is_alive() and not c.poll() for p, c in self._each()):
            count -= semaphore.acquire(timeout=0.5)

    def _each(self) -> Iterator[tuple[Any, Any]]:
        return zip(self.processes, self._pipes, strict=True)

    def end(self) -> list[Seen]:
        for process in self.processes:
            assert process.pid
            if process.is_alive():
                os.kill(process.pid, signal.SIGTERM)
        found = []
        for number, (process, pipe) in enumerate(self._each()):
            try:
                if not pipe.poll(60):
                    raise EOFError
                found.append(pipe.recv())
            except EOFError:
                process.kill()
                found.append(Seen(errors=[f"supervisor {number} did not end well"]))
            process.join()
        return found


def opening(past: History, folder: Path) -> dict[str, float]:
    """What it costs to start a search in this history, and then to take trials, with nobody else there."""
    with past.clone() as url:
        ours, theirs = _fork.Pipe(duplex=False)
        process = _fork.Process(target=lambda: theirs.send(_open(paced.settings_of(url, folder))), daemon=True)
        process.start()
        theirs.close()
        try:
            result: dict[str, float] = ours.recv()
        finally:
            process.join()
    return result


def _open(settings: Settings) -> dict[str, float]:
    memory = psutil.Process().memory_info().rss
    before, cpu = time.monotonic(), time.process_time()
    study, ledger, _ = paced.opened(settings, Seen())
    study.get_trials(deepcopy=False)
    found = {
        "opening, s": time.monotonic() - before,
        "opening, CPU s": time.process_time() - cpu,
        "a study in memory, MB": (psutil.Process().memory_info().rss - memory) / 1e6,
    }
    work = SearchWork(study, settings, stub.PREPARED)

    def takes() -> tuple[float, float]:
        """Milliseconds of a claim and of its sampling."""
        times = []
        for _ in range(8):
            times.append(time.monotonic())
            claim = ledger.claim(10**6, {"host": "here"})
            times.append(time.monotonic())
            assert claim.trial_id is not None
            work.begin(claim.trial_id)
            times.append(time.monotonic())
        steps = [1e3 * (b - a) for a, b in itertools.pairwise(times)]
        return statistics.median(steps[0::3]), statistics.median(steps[1::3])

    found["claim, ms"], found["sampling, ms"] = takes()
    return found
