"""Signs of life: whose silence ends a lease, by a clock of the test's own, and the threads that beat and reap."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from optuna.trial import TrialState

from search.settings.sections import Service
from search.study import leases
from search.study.database import StudyStorage
from search.study.leases import Leases, Watch, is_dead, owner
from search.study.ledger import Lease, Ledger
from search.study.server import DatabaseLost
from tests.conftest import ROOT, wait_until
from tests.ledgers import founded, states
from tests.postgres import Server

ELSEWHERE = {"host": "there", "machine": "another", "pid": 1, "started": 0.0, "grace_seconds": 60.0}
QUICK = Service(heartbeat_seconds=0.1, grace_seconds=60)


def start_of(pid: int) -> int:
    status = leases._status(pid)
    assert status
    return status[1]


@pytest.fixture(scope="module")
def gone() -> dict[str, Any]:
    """The owner of a process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        return {**owner(60), "pid": process.pid, "started": start_of(process.pid)}


# Owners


def test_a_process_that_ended_and_was_not_waited_for_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        zombie = psutil.Process(process.pid)
        signed = {**owner(60), "pid": process.pid, "started": start_of(process.pid)}
        assert not is_dead(signed)
        process.kill()
        wait_until(lambda: zombie.status() == psutil.STATUS_ZOMBIE)
        assert is_dead(signed)


@pytest.mark.parametrize(
    "change",
    [
        {"machine": "another", "host": "localhost"},  # its process ids mean nothing here
        {"host": "renamed"},
    ],
)
def test_only_silence_tells_of_an_owner_elsewhere(gone: dict[str, Any], change: dict[str, Any]) -> None:
    signed = {**gone, **change}
    assert is_dead(signed) == (signed["machine"] == leases.machine())


@pytest.mark.parametrize("hidepid", [1, 2])
def test_a_process_of_another_user_may_be_hidden(monkeypatch: pytest.MonkeyPatch, hidepid: int) -> None:
    """By the option of that name of /proc's mount; a signal still tells that there is one."""
    signed = owner(60)
    read_text = Path.read_text

    def hidden(path: Path, *arguments: Any, **named: Any) -> str:
        if path == Path(f"/proc/{os.getpid()}/stat"):
            raise PermissionError if hidepid == 1 else FileNotFoundError
        return read_text(path, *arguments, **named)

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", hidden)
    monkeypatch.setattr(os, "kill", refused)
    assert not is_dead(signed)


# Watch: a look is (seconds, {trial: heartbeat}), what follows is whom it finds expired

GRACE, LONGEST = 60.0, 10.0
Looks = list[tuple[float, dict[int, int | None], set[int]]]


def every_5(until: int, heartbeat: Callable[[int], int | None], expired_from: float) -> Looks:
    return [(t, {1: heartbeat(t)}, {1} if t >= expired_from else set()) for t in range(0, until, 5)]


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param(every_5(90, lambda _: 7, 65), id="silent past the grace"),
        pytest.param(every_5(300, lambda t: t // 50, 10**6), id="heartbeats, if late ones"),
        pytest.param(every_5(200, lambda t: min(t // 50, 2), 165), id="fell silent at 100"),
        pytest.param(every_5(200, lambda t: None if t < 50 else 7, 115), id="a first heartbeat is a sign, too"),
        pytest.param(every_5(90, lambda t: -t, 10**6), id="clocks that go backwards"),
        pytest.param(
            [(0, {1: 7}, set()), *((10_000 + t, {1: 7}, {1} if t > 50 else set()) for t in range(0, 80, 5))],
            id="an outage, and silence after it",
        ),
        pytest.param(
            [(t, {1: 7, **({2: t} if t != 30 else {})}, {1} if t > 60 else set()) for t in range(0, 90, 10)],
            id="one by one",
        ),
        pytest.param(
            [(t, {} if t == 30 else {1: 7}, {1} if t > 100 else set()) for t in range(0, 130, 10)],
            id="who was away begins anew",
        ),
    ],
)
def test_watch(looks: Looks) -> None:
    watch = Watch(GRACE, LONGEST)
    for now, heartbeats, expected in looks:
        seen = [
            Lease(trial, trial, beat if beat is None else datetime.fromtimestamp(10**9 + beat), None)
            for trial, beat in heartbeats.items()
        ]
        assert {lease.trial_id for lease in watch.expired(seen, now)} == expected, now


@pytest.mark.parametrize(
    ("signed", "seconds"),
    [
        ({**ELSEWHERE, "grace_seconds": 20.0}, 20),
        ({**ELSEWHERE, "grace_seconds": 200.0}, 200),
        (None, 100),
    ],
    ids=["less", "more", "unsigned"],
)
def test_the_owner_s_own_grace_wins(signed: dict[str, Any] | None, seconds: float) -> None:
    watch = Watch(100.0, LONGEST)
    lease = Lease(1, 0, datetime(2026, 1, 1), signed)
    first = next(now for now in count(0, 5) if watch.expired([lease], now))
    assert first == seconds + 5


def test_a_dead_process_of_this_machine_loses_its_trial_at_the_first_look(gone: dict[str, Any]) -> None:
    found = [Lease(i, i, datetime(2026, 1, 1), signed) for i, signed in enumerate([gone, owner(60), ELSEWHERE])]
    assert Watch(GRACE, LONGEST).expired(found, 0) == found[:1]


# The threads


@pytest.fixture
def ledger(storage: StudyStorage) -> Ledger:
    return founded(storage, [({"lr": 0.1 * i}, {}) for i in range(1, 5)])


@pytest.fixture
def held(ledger: Ledger) -> Iterator[Leases]:
    """Leases with running threads."""
    with Leases(ledger, QUICK, 2, lambda _: None) as held:
        yield held
    held._closing.set()


def claimed(held: Leases) -> int:
    trial_id = held.claim(100).trial_id
    assert trial_id is not None
    return trial_id


def heartbeat(ledger: Ledger, trial_id: int) -> datetime | None:
    return next(lease.heartbeat for lease in ledger.look()[1] if lease.trial_id == trial_id)


def beats(ledger: Ledger, trial_id: int) -> None:
    before = heartbeat(ledger, trial_id)
    wait_until(lambda: heartbeat(ledger, trial_id) != before)


def test_what_is_claimed_is_kept_alive_until_it_ends(ledger: Ledger, held: Leases) -> None:
    first, second = claimed(held), claimed(held)
    for trial_id in (first, second):
        beats(ledger, trial_id)
    assert held.end(first, TrialState.COMPLETE, 1.0, {"stop_reason": "finished"}) == 1
    beats(ledger, second)
    assert held._held == {second}
    assert not held.is_lost(first) and not held.is_lost(second)
    assert held.error is None


def test_signs_of_life_go_on_after_errors_of_the_database(
    ledger: Ledger, held: Leases, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_id = claimed(held)
    for _ in range(3):
        beats(ledger, trial_id)
        assert server.end_connections() > 0
    lost: set[str] = set()
    survive = ledger._storage.survive

    def watched(transaction: Callable[[], Any]) -> Any:
        try:
            return survive(transaction)
        except DatabaseLost:
            lost.add(threading.current_thread().name)
            raise

    monkeypatch.setattr(ledger._storage, "survive", watched)
    ledger._storage.patience = 0.2
    server.stop()
    try:
        wait_until(lambda: {"_beat", "_reap"} <= lost)
    finally:
        server.start()
    ledger._storage.patience = 20.0
    beats(ledger, trial_id)
    assert held.error is None
    assert states(ledger)[0] == "R"


@pytest.mark.parametrize("work", ["_beat", "_reap"])
def test_an_unexpected_error_is_kept_for_the_supervisor(ledger: Ledger, held: Leases, work: str) -> None:
    claimed(held)
    ledger._storage.delete_study(ledger.study_id)

    def explode(*_: object) -> None:
        raise ZeroDivisionError(work)

    setattr(ledger, "renew" if work == "_beat" else "look", explode)
    wait_until(lambda: held.error)
    assert isinstance(held.error, ZeroDivisionError)
    assert held.error.args == (work,)


def test_own_trials_are_not_reaped(ledger: Ledger) -> None:
    """However silent: the heartbeat's thread may be late on a busy machine, and the run goes on."""
    held = Leases(ledger, QUICK, 2, lambda _: None)
    held._owner["grace_seconds"] = -1.0
    trial_id = claimed(held)
    held._reap()
    assert not held.is_lost(trial_id)
    assert states(ledger)[0] == "R"


@pytest.mark.parametrize(
    ("signed", "described"),
    [
        (ELSEWHERE, "trial 0 of process 1 on there, which fell silent; it is queued again"),
        ("gone", "which is gone; it is queued again"),
        (None, "trial 0 of nobody, started by a process that died before it signed; it is queued again"),
    ],
    ids=["silent", "gone", "unsigned"],
)
def test_a_trial_of_somebody_who_is_gone_is_taken_and_told(
    ledger: Ledger, gone: dict[str, Any], signed: dict[str, Any] | str | None, described: str
) -> None:
    told: list[str] = []
    held = Leases(ledger, QUICK, 2, told.append)
    held._watch = Watch(-1.0, 0.0)
    if signed is None:  # as Optuna's own `ask` takes it from the queue
        ledger._storage.set_trial_state_values(1, TrialState.RUNNING)
    else:
        ledger.claim(100, gone if signed == "gone" else {**ELSEWHERE, "grace_seconds": -1.0})
    held._reap()
    held._reap()
    assert len(told) == 1
    assert told[0].endswith(described)
    assert states(ledger) == "FWWWW"


def test_a_trial_that_a_peer_took_is_lost(ledger: Ledger, held: Leases) -> None:
    first, second = claimed(held), claimed(held)
    wait_until(lambda: expired(ledger, first))
    wait_until(lambda: held.is_lost(first))
    assert held.end(first, TrialState.COMPLETE, 1.0, {"stop_reason": "finished"}) is None
    assert not held.is_lost(first)
    assert not held.is_lost(second)
    assert states(ledger) == "FRWWW"


def expired(ledger: Ledger, trial_id: int) -> bool:
    """As a peer does, which a heartbeat in between may frustrate."""
    lease = next(lease for lease in ledger.look()[1] if lease.trial_id == trial_id)
    return ledger.expire(lease, 2)


SUPERVISOR = """
import sys, time
from search.study.ledger import Ledger
from search.study.leases import Leases
from search.settings.sections import Service
from search.study.storage import open_storage
held = Leases(Ledger(open_storage(sys.argv[1]), int(sys.argv[2])), Service(), 2, print)
with held:
    held.claim(100)
    print("running", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_s_trial_is_taken_at_once(ledger: Ledger, database: str) -> None:
    peer = Leases(ledger, QUICK, 2, lambda _: None)
    command = [sys.executable, "-c", SUPERVISOR, database, str(ledger.study_id)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        assert process.stdout.readline() == b"running\n"
        peer._reap()
        assert states(ledger) == "RWWW"
        os.kill(process.pid, signal.SIGKILL)
    peer._reap()
    assert states(ledger) == "FWWWW"
