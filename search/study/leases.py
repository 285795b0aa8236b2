"""Who runs which trial: its owner's signs of life, and the reaper that takes trials from owners that fell silent."""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from search.settings.sections import Service
from search.study.control import Control
from search.study.ledger import Claim, Lease, Ledger
from search.study.server import DatabaseLost


def owner(grace_seconds: float, gpus: float = 0.0) -> dict[str, Any]:
    """This process as the owner of a trial, and how many seconds its peers wait when it falls silent.

    `gpus` is the share of a GPU that each of its slots has; 0 on a CPU.
    """
    status = _status(os.getpid())
    return {
        "host": socket.gethostname(),
        "machine": machine(),
        "pid": os.getpid(),
        "started": status and status[1],
        "grace_seconds": grace_seconds,
        "gpus": gpus,
    }


def machine() -> str:
    """A name for this boot of the kernel and this namespace of process ids: within it a pid means one process.

    A host's name would not do: two machines may share one, and containers of one machine have process ids of their own.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def is_dead(owned_by: Mapping[str, Any] | None) -> bool:
    """Whether the owner was a process of this machine that has ended. Only silence tells of an owner elsewhere."""
    if not owned_by or owned_by.get("machine") != machine():
        return False
    status = _status(owned_by["pid"])
    if status is None:
        return not _exists(owned_by["pid"])
    return status[0] == "Z" or status[1] != owned_by["started"]


def _status(pid: int) -> tuple[str, int] | None:
    """A process's state, and its start in clock ticks since the boot; None when no process of this id is visible.

    The start tells a process from a later one of the same id. A date would move when the machine's clock is set.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return fields[0], int(fields[19])  # the 3rd and 22nd of proc(5)


def _exists(pid: int) -> bool:
    """Also of a process that /proc hides from other users (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Watch:
    """How long each lease has been silent, by this process's clock.

    Clocks of two machines are never compared: a heartbeat is new when it differs from the one at the last look.
    A lease ages only between looks. An outage of the database, in which nobody can write a heartbeat, or a stop of this
    process adds no more than `longest_look`.

    Args:
        grace: Seconds of silence after which a lease ends, unless its owner named its own.
        longest_look: The most seconds that the time between two looks counts.
    """

    def __init__(self, grace: float, longest_look: float) -> None:
        self._grace = grace
        self._longest_look = longest_look
        self._last_look: float | None = None
        self._silences: dict[int, tuple[datetime | None, float]] = {}  # trial id: (heartbeat, seconds)

    def expired(self, leases: list[Lease], now: float) -> list[Lease]:
        """Those of `leases` that have ended. `leases` are all that there are at `now`, in seconds."""
        passed = 0.0 if self._last_look is None else min(now - self._last_look, self._longest_look)
        self._last_look = now
        silences = {}
        for lease in leases:
            before = self._silences.get(lease.trial_id)
            silent = before[1] + passed if before and before[0] == lease.heartbeat else 0.0
            silences[lease.trial_id] = (lease.heartbeat, silent)
        self._silences = silences
        return [x for x in leases if self._silences[x.trial_id][1] > self._grace_of(x) or is_dead(x.owner)]

    def _grace_of(self, lease: Lease) -> float:
        return float((lease.owner or {}).get("grace_seconds", self._grace))


class Leases:
    """The trials that this supervisor holds. As a context it keeps them alive, and reaps those of others.

    Args:
        note: Called with a line for the user, from any thread.
        gpus: The share of a GPU that each slot has; 0 on a CPU.
    """

    def __init__(
        self,
        ledger: Ledger,
        service: Service,
        max_retries: int,
        note: Callable[[str], None],
        gpus: float = 0.0,
    ) -> None:
        self.ledger = ledger
        self._owner = owner(service.grace_seconds, gpus)
        self._interval = service.heartbeat_seconds
        self._max_retries = max_retries
        self._note = note
        self._watch = Watch(service.grace_seconds, longest_look=service.heartbeat_seconds)
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._lost: set[int] = set()
        self._closing = threading.Event()
        self.control = Control()  # what people told all machines, as far as this one has read
        self.error: BaseException | None = None  # what ended one of the threads, for the supervisor to raise

    def __enter__(self) -> "Leases":
        self._reap()  # what died on this machine is queued before the first slot asks
        for work, interval in ((self._beat, self._interval), (self._reap, self._interval / 2)):
            threading.Thread(target=self._repeat, args=(work, interval), name=work.__name__, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()

    def claim(self, total: int | None, known: int | None = None) -> Claim:
        """A trial to run, held from now on; see `Ledger.claim`."""
        claim = self.ledger.claim(total, self._owner, known)
        self._hear(claim.control)
        if claim.trial_id is not None:
            with self._lock:
                self._held.add(claim.trial_id)
        return claim

    def end(self, trial_id: int, state: TrialState, value: float | None, attributes: Mapping[str, Any]) -> int | None:
        """Ends a held trial; see `Ledger.end`."""
        try:
            return self.ledger.end(trial_id, state, value, attributes, self._max_retries)
        finally:
            self.drop(trial_id)

    def drop(self, trial_id: int) -> None:
        """Holds the trial no longer."""
        with self._lock:
            self._held.discard(trial_id)
            self._lost.discard(trial_id)

    def is_lost(self, trial_id: int) -> bool:
        """Whether a peer took the trial, as the last heartbeat saw."""
        with self._lock:
            return trial_id in self._lost

    def _repeat(self, work: Callable[[], None], interval: float) -> None:
        while not self._closing.wait(interval):
            try:
                work()
            except DatabaseLost:
                continue  # the slots wait for it, too, and say so
            except Exception as error:
                self.error = error
                return

    def _beat(self) -> None:
        with self._lock:
            held = set(self._held)
        if held:
            alive = self.ledger.renew(sorted(held))
            with self._lock:
                self._lost |= (held - alive) & self._held

    def _hear(self, control: Control) -> None:
        """Claims and the reaper read at the same time: an older reading may come later."""
        with self._lock:
            if control.changes > self.control.changes:
                self.control = control

    def _reap(self) -> None:
        control, leases = self.ledger.look()
        self._hear(control)
        for lease in self._watch.expired(leases, time.monotonic()):
            with self._lock:
                own = lease.trial_id in self._held
            queued = None if own else self.ledger.expire(lease, self._max_retries)
            if queued is not None:
                self._note(
                    f"trial {lease.number} of {_described(lease)}; it is {'queued' if queued else 'not run'} again"
                )


def _described(lease: Lease) -> str:
    if lease.owner is None:
        return "nobody, started by a process that died before it signed"
    who = f"process {lease.owner['pid']} on {lease.owner['host']}"
    return f"{who}, which is gone" if is_dead(lease.owner) else f"{who}, which fell silent"
