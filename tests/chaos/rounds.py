"""A round: one study, some machines that search it through a proxy, and what must hold once the faults are over."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
from optuna.trial import TrialState

from tests.chaos.proxy import Proxy
from tests.chaos.search import MACHINE
from tests.conftest import wait_until
from tests.machines import PATIENCE, Machine, Study
from tests.postgres import ESCAPED, PASSWORD, Server

MARK = "CHAOS_ROUND"  # in the environment of all processes of a round, however they are found
CALM = 3.0  # seconds that a fault is waited with where nothing is evaluated any more
DISK = 16  # MB of a small one
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)  # of Debian's libfaketime
PLAIN = "tests.chaos.search"
SUPERVISORS = (PLAIN, "search.workers.ray_node")
OPTIONS = {
    "training.truncation": 0.2,
    "training.evaluations": 10,
    "service.heartbeat_seconds": 0.5,
    "service.grace_seconds": 2,
    "service.outage_minutes": 5,
    "study.stall_minutes": 0.1,
    "speech.sentences": 0,
}


class JumpingServer(Server):
    """A server whose clock is what the file `clock` says: "+90" is ahead by so many seconds."""

    @property
    def clock(self) -> Path:
        return self.directory / "clock"

    def as_user(self) -> dict[str, Any]:
        if FAKETIME is None:
            return super().as_user()
        if not self.clock.exists():
            self.clock.write_text("+0")
            self.clock.chmod(0o644)
        jumping = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1"}
        jumping |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        return super().as_user() | {"env": os.environ | jumping}


class NoTarget(Exception):
    """There is nothing that the fault could happen to."""


class Round:
    """A plain round of `trials` trials; as a context it leaves nothing. Machines a and b are of one host."""

    SECONDS = "0.05"  # of an evaluation, on average

    def __init__(self, server: JumpingServer, folder: Path, seed: int, trials: int) -> None:
        self.server, self.folder, self.seed = server, folder, seed
        self.mark = str(folder)
        self.draw = random.Random(seed)
        direct = server.empty_database()
        self.proxy = Proxy(server.port)
        self.url = direct.replace(f":{server.port}/", f":{self.proxy.port}/")
        self.study = Study(direct, folder, trials)
        self.machines: dict[str, Machine] = {}
        self.codes: dict[str, set[int]] = {}  # with which a machine may end, besides 0
        self.names = "abcd"[: self.draw.randint(2, 4)]
        self.undone: list[tuple[int, Callable[[], object]]] = []  # (faults that it still lasts for, its end)
        self.happened: Counter[str] = Counter()  # faults, by kind
        self._evaluations = 0
        folder.mkdir(parents=True)

    # Machines

    def __enter__(self) -> "Round":
        for name in self.names:
            self._equip(name)
            self.launch(name)
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.close()
        for process in self.mine():
            process.kill()
        for machine in self.machines.values():
            machine.process.wait()
        for disk in self.folder.glob("*/runs"):
            subprocess.run(["umount", "--lazy", disk], check=False, capture_output=True)
        self.study.__exit__()

    def _equip(self, name: str) -> None:
        folder = self.folder / name
        (folder / "runs").mkdir(parents=True)
        (folder / "temporary").mkdir()
        if name in "ac" and can_mount():
            options = ("mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(folder / "runs"))
            subprocess.run(options, check=True)

    def command(self, name: str) -> list[str]:
        flags = [f"--set={key}={value}" for key, value in OPTIONS.items()]
        return [PLAIN, "search", "--storage", self.url, "--trials", str(self.study.total), "--workers", "2", *flags]

    def environment(self, name: str) -> dict[str, str]:
        folder = self.folder / name
        found = {MARK: str(self.folder), MACHINE: "one" if name in "ab" else name, "STUB_SECONDS": self.SECONDS}
        found |= {"STUB_FOLDER": str(folder), "TMPDIR": str(folder / "temporary"), "PGCONNECT_TIMEOUT": "10"}
        found["XTTS_STUDY_CACHE"] = str(self.folder / "cache")
        return found

    def launch(self, name: str) -> None:
        self.codes[name] = {0}
        machine = Machine(["-m", *self.command(name)], self.folder / name, **self.environment(name))
        self.machines[name] = self.study.add(machine)

    def revive(self) -> None:
        """Starts again what has ended before its study, and judges how it ended."""
        for name, machine in self.machines.items():
            if machine.process.poll() is None or (machine.process.returncode == 0 and self.is_finished()):
                continue
            self.judge_end(name, machine)
            self.launch(name)

    def judge_end(self, name: str, machine: Machine) -> None:
        """Its exit code is one that what happened to it explains (docs/operations.md), and it said why in a line."""
        code, output = machine.process.returncode, machine.output
        assert "Traceback" not in output, f"{name}: {output[-6000:]}"
        explained = self.codes[name] | ({75} if "study.py: " in output else set())
        explained |= {1} if "runs in a row ended as" in output else set()
        assert code in explained, f"{name} ended with {code}, not {sorted(explained)}:\n{output[-3000:]}"

    def name_of(self, process: psutil.Process) -> str | None:
        return next((name for name, machine in self.machines.items() if machine.process.pid == process.pid), None)

    def processes(self, role: str = "") -> list[psutil.Process]:
        """Of this round, the oldest first: those of a role, or all."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and role in (role_of(process), ""):
                    found.append((process.create_time(), process.pid, process))
            except psutil.Error:
                continue  # it has gone, or is a zombie
        return [process for *_, process in sorted(found, key=lambda entry: entry[:2])]

    def mine(self) -> list[psutil.Process]:
        """All that a round must not leave."""
        return self.processes()

    def pick(self, draw: random.Random, role: str) -> psutil.Process:
        return one_of(draw, self.processes(role))

    def orders_to(self, draw: random.Random) -> Path:
        """The folder where the runs of one machine, whose disk is large, look for orders."""
        return self.folder / draw.choice([name for name in self.names if name in "bd"])

    def allow(self, process: psutil.Process, *codes: int) -> None:
        if name := self.name_of(process):
            self.codes[name] |= set(codes)

    # Time

    def evaluations(self) -> int:
        """Stored so far, as far as the server tells."""
        try:
            self._evaluations = self.study.evaluations()
        except psycopg.Error:  # it is away, or has no tables yet
            return self._evaluations
        return self._evaluations

    def is_finished(self) -> bool:
        try:
            return self.study.finished() >= self.study.total
        except psycopg.Error:
            return False

    def wait(self, evaluations: int) -> None:
        """Until so many more are stored, or nothing has been for CALM seconds."""
        start = known = self.evaluations()
        until = time.monotonic() + CALM
        while known < start + evaluations and time.monotonic() < until:
            time.sleep(0.03)
            if (now := self.evaluations()) != known:
                known, until = now, time.monotonic() + CALM

    def undo(self) -> None:
        """A fault more has happened: what lasted for so many is over."""
        due = [end for left, end in self.undone if left <= 0]
        self.undone = [(left - 1, end) for left, end in self.undone if left > 0]
        for end in due:
            end()

    def finish(self) -> None:
        """All faults are over: the study ends undisturbed."""
        while self.undone:
            self.undo()
        until = time.monotonic() + PATIENCE
        while any(machine.process.poll() != 0 for machine in self.machines.values()) or not self.is_finished():
            assert time.monotonic() < until, f"stuck:\n{self.tails()}"
            self.revive()
            time.sleep(0.2)

    def tails(self) -> str:
        return "\n".join(f"{name}: {machine.output[-1500:]}" for name, machine in self.machines.items())

    # What must hold

    def judge(self) -> None:
        for name, machine in self.machines.items():
            self.judge_end(name, machine)
        trials = self.study.assert_exact(baselines=None)
        wait_until(lambda: not self.mine(), PATIENCE, f"the end of {self.mine()}")
        self.assert_no_file_left()
        done = [t for t in trials if t.state == TrialState.COMPLETE]
        best = min(done, key=lambda trial: trial.value or math.inf)
        for file in self.folder.glob("*/runs/miniature/best_config.json"):
            evidence = json.loads(file.read_text())["evidence"]
            assert (evidence["trial"], evidence["value"]) == (best.number, best.value), file

    def assert_no_file_left(self) -> None:
        """Nothing half-written, nothing in TMPDIR but Python's sockets of fork servers, no password anywhere."""
        files = [file for file in self.folder.rglob("*") if not file.is_symlink()]
        strange = [f for f in files if f.suffix == ".tmp" or (f.name.startswith(".") and f.name != ".lock")]
        strange += [f for f in self.folder.glob("*/temporary/*") if not f.name.startswith("pymp-")]
        assert not strange, strange
        for file in files:
            if file.is_file() and file.stat().st_size < 10_000_000:
                content = file.read_bytes()
                assert PASSWORD.encode() not in content and ESCAPED.encode() not in content, file


def role_of(process: psutil.Process) -> str:
    """supervisor, server (fork server), run, or other."""
    line = " ".join(process.cmdline())
    if "multiprocessing.forkserver" in line:
        parent = process.parent()
        return "run" if parent and "multiprocessing.forkserver" in " ".join(parent.cmdline()) else "server"
    return "supervisor" if any(name in line for name in SUPERVISORS) else "other"


def one_of(draw: random.Random, targets: list[Any]) -> Any:
    if not targets:
        raise NoTarget
    return draw.choice(targets)


def can_mount() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Also to one that has gone meanwhile."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        raise NoTarget from None
