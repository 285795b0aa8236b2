"""One measurement of the service: what a window of time shows, in which all slots have runs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.slots.paced import Seen, Wait
from benchmarks.slots.supervisors import History, Supervisors, name_of
from tests.postgres import Server

PACE = 10.0  # seconds between two evaluations of a run


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    slots: int
    trials: int  # finished before
    pace: float  # seconds between two evaluations of a run
    seconds: float  # of the window in which all slots have runs


@dataclass(frozen=True)
class Found:
    """What a window showed."""

    cell: Cell
    decision: list[float]  # seconds that slots waited, for each evaluation
    turnover: list[float]  # ... between two runs
    start: list[float]  # ... for the first run, all slots having asked at once
    waited: float  # share of the slots' time
    statements: float  # a second
    transactions: float  # a second, with the pool's pings
    connections: int  # at most
    server_cpu: float  # cores
    supervisor_cpu: float  # cores, of all supervisors
    errors: list[str]

    @property
    def evaluations(self) -> float:
        """A second."""
        return len(self.decision) / self.cell.seconds

    @property
    def share(self) -> float:
        """Of their time that slots wait at `PACE`."""
        if self.cell.pace == PACE:
            return self.waited
        waits = sum(self.decision + self.turnover) / len(self.decision) if self.decision else 1.0
        return waits / (PACE + waits)


class Meter:
    """What server and supervisors have used so far: take it twice, and subtract."""

    def __init__(self, server: Server, url: str, supervisors: Sequence[Any]) -> None:
        postmaster = psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))
        reaped = postmaster.cpu_times()  # backends that have ended are in its children's times
        self.at = time.monotonic()
        self.server = reaped.children_user + reaped.children_system + _cpu([postmaster, *postmaster.children()])
        self.supervisors = _cpu([psutil.Process(p.pid) for p in supervisors if p.is_alive()])
        with server.connect("postgres") as connection:
            row = connection.execute(
                "SELECT xact_commit + xact_rollback, numbackends FROM pg_stat_database WHERE datname = %s",
                (name_of(url),),
            ).fetchone()
        assert row
        self.transactions, self.connections = row


def _cpu(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def measure(server: Server, past: History, folder: Path, cell: Cell) -> Found:
    """One cell, in a database and processes of its own."""
    with past.clone() as url:
        supervisors = Supervisors(url, folder, past.known, cell.slots, cell.pace)
        try:
            supervisors.begin()
            meters = [Meter(server, url, supervisors.processes)]
            while meters[-1].at - meters[0].at < cell.seconds:
                time.sleep(min(2.0, max(0.05, meters[0].at + cell.seconds - time.monotonic())))
                meters.append(Meter(server, url, supervisors.processes))
        finally:
            seen = supervisors.end()
        errors = [error for each in seen for error in each.errors] + unkept(url, past.trials, seen)
    first, last = meters[0], meters[-1]
    seconds = last.at - first.at
    waits = [wait for each in seen for wait in each.waits]
    lasted: dict[str, list[float]] = {"decision": [], "turnover": [], "start": []}
    for wait in waits:
        if wait.kind == "start" or first.at <= wait.until <= last.at:
            lasted[wait.kind].append(wait.until - wait.since)
    statements = sum(first.at <= when <= last.at for each in seen for when in each.statements)
    return Found(
        cell,
        **lasted,
        waited=sum(_within(wait, first.at, last.at) for wait in waits) / (cell.slots * seconds),
        statements=statements / seconds,
        transactions=(last.transactions - first.transactions) / seconds,
        connections=max(meter.connections for meter in meters),
        server_cpu=(last.server - first.server) / seconds,
        supervisor_cpu=(last.supervisors - first.supervisors) / seconds,
        errors=errors,
    )


def _within(wait: Wait, since: float, until: float) -> float:
    return max(0.0, min(wait.until, until) - max(wait.since, since))


def unkept(url: str, known: int, seen: Sequence[Seen]) -> list[str]:
    """What the database should hold after an undisturbed search, and does not.

    Args:
        known: How many trials there were before.
    """
    with psycopg.connect(url, autocommit=True) as connection:

        def count(query: str) -> int:
            row = connection.execute(query.encode(), {"known": known}).fetchone()
            assert row
            return int(row[0])

        kept = count(
            "SELECT count(*) FROM trial_intermediate_values JOIN trials USING (trial_id) WHERE number >= %(known)s"
        )
        left = count("SELECT count(*) FROM trials WHERE state = 'RUNNING'")
        total, last = count("SELECT count(*) FROM trials"), count("SELECT max(number) + 1 FROM trials")
        failed = count(
            "SELECT count(*) FROM trials WHERE state = 'FAIL' AND NOT EXISTS (SELECT FROM trial_user_attributes a WHERE"
            " a.trial_id = trials.trial_id AND key = 'stop_reason' AND value_json = '\"stopped_by_user\"')"
        )
    spoken = sum(each.spoken for each in seen)
    found = {
        f"{spoken} evaluations were heard, {kept} are stored": spoken != kept,
        f"{left} trials were left RUNNING": left > 0,
        f"{total} trials are numbered up to {last - 1}": total != last,
        f"{failed} trials failed": failed > 0,
    }
    return [text for text, wrong in found.items() if wrong]
