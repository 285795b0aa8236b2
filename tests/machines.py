"""Supervisors as processes, on machines that share nothing but a database, and what must hold of their study."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import psutil
import psycopg
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.study.storage import parse
from search.trial import StopReason
from tests import stub
from tests.conftest import ROOT, wait_until
from tests.postgres import Server

STATES = {
    StopReason.FINISHED: TrialState.COMPLETE,
    StopReason.TWO_INCREASES: TrialState.COMPLETE,
    StopReason.STOPPED_BY_NAME: TrialState.COMPLETE,
    StopReason.MEDIAN: TrialState.PRUNED,
}


@contextmanager
def outage(server: Server, how: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """The server is down within the block."""
    server.stop(how)
    try:
        yield
    finally:
        server.start()


PATIENCE = 240.0  # seconds that a test waits for what must come: a machine may be slow, and busy with other tests


class Machine:
    """One supervisor, its output in a file. `everyone` are its processes, as far as they were seen."""

    def __init__(self, command: list[str], folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._log = folder / f"output-{len(list(folder.glob('output-*')))}.txt"
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT), **environment},
                stdout=log,
                stderr=log,
            )
        self.everyone: set[psutil.Process] = set()

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def send(self, number: signal.Signals) -> None:
        """A signal to the supervisor alone, as in an accident; its fork server and children get none."""
        with_children = psutil.Process(self.process.pid).children(recursive=True)
        self.everyone |= set(with_children)
        self.process.send_signal(number)

    def wait_for(self, text: str, count: int = 1) -> None:
        """Until the output holds `text` so many times."""

        def said() -> bool:
            ended = self.process.poll() is not None
            enough = self.output.count(text) >= count
            assert enough or not ended, f"ended with {self.process.returncode} before {text!r}:\n{self.output}"
            return enough

        wait_until(said, PATIENCE, f"{text!r} of {self.folder.name}")

    def assert_runs(self) -> None:
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output[-3000:]}"

    def wait(self, seconds: float = PATIENCE, code: int = 0) -> None:
        """Until it has ended, with exit code `code`."""
        self.process.wait(seconds)
        assert self.process.returncode == code, self.output[-3000:]
        assert "Traceback" not in self.output

    def children(self) -> list[psutil.Process]:
        """The processes that train: children of the fork server, which is the one with children."""
        return [c for p in psutil.Process(self.process.pid).children() for c in p.children()]

    def kill(self) -> None:
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait(PATIENCE)

    def hold(self, count: int) -> None:
        """From now on each run of a stub waits after `count` evaluations, until `release`."""
        (self.folder / stub.HOLD).write_text(str(count))

    def release(self, number: int | None = None) -> None:
        """All runs go on, or that of trial `number` alone."""
        if number is None:
            (self.folder / stub.HOLD).unlink()
        else:
            (self.folder / f"{stub.HOLD}-not-{number}").touch()


class Study:
    """A study in a database of its own, and the machines that search it. As a context it leaves no process."""

    def __init__(self, url: str, folder: Path, trials: int, retries: int = 5) -> None:
        self.url = url
        self.total = trials
        self.retries = retries
        self._folder = folder
        self._machines: list[Machine] = []
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self._machines:
            machine.kill()
        processes = [p for machine in self._machines for p in machine.everyone]
        if self._connection is not None:
            self._connection.close()
        _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
        orphans = [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
        for process in orphans:
            process.kill()
        assert not orphans, "a supervisor's processes outlived it"

    def start(self, machine: str | None, folder: str = "", held: int | None = None, **options: float | str) -> Machine:
        """A supervisor with stub runs; None for `machine` is this one. Options are those of `tests.stub`.

        Each run waits after `held` evaluations, of ten, until the machine's `release`.
        """
        folder = folder or machine or "here"
        if held is not None:
            (self._folder / folder).mkdir(exist_ok=True)
            (self._folder / folder / stub.HOLD).write_text(str(held))
        named = {"trials": self.total, "retries": self.retries, **options, **({"machine": machine} if machine else {})}
        flags = [word for name, value in named.items() for word in (f"--{name}", str(value))]
        started = Machine(["-m", "tests.stub", self.url, ".", *flags], self._folder / folder)
        return self.add(started)

    def add(self, machine: Machine) -> Machine:
        self._machines.append(machine)
        return machine

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Its rows, over one connection, which is made anew when the server has ended it."""
        if self._connection is not None:
            try:
                return self._connection.execute(query, values).fetchall()
            except psycopg.OperationalError:
                self._connection.close()
        self._connection = psycopg.connect(self.url, autocommit=True)
        return self._connection.execute(query, values).fetchall()

    def taken(self) -> int:
        """Trials that finished or run: never more than the study's number."""
        return int(self.sql("SELECT count(*) FROM trials WHERE state IN ('RUNNING', 'COMPLETE', 'PRUNED')")[0][0])

    def finished(self) -> int:
        return int(self.sql("SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')")[0][0])

    def running_of(self, machine: Machine) -> list[int]:
        """Numbers of the trials that the machine's supervisor runs."""
        rows = self.sql(
            "SELECT number FROM trials JOIN trial_system_attributes USING (trial_id) WHERE state = 'RUNNING'"
            " AND key = 'owner' AND (value_json::json ->> 'pid')::int = %s ORDER BY number",
            machine.process.pid,
        )
        return [number for (number,) in rows]

    def evaluations(self) -> int:
        """Stored, of all trials."""
        return int(self.sql("SELECT count(*) FROM trial_intermediate_values")[0][0])

    def heartbeat_of(self, number: int) -> datetime:
        rows = self.sql("SELECT heartbeat FROM trial_heartbeats JOIN trials USING (trial_id) WHERE number = %s", number)
        found: datetime = rows[0][0]
        return found

    def successor_of(self, number: int) -> datetime | None:
        """When the trial that runs, or ran, in place of trial `number` was started; None while it is not."""
        found = self.sql(
            "SELECT datetime_start FROM trials JOIN trial_user_attributes USING (trial_id)"
            " WHERE key = 'retry_of' AND value_json = %s",
            str(number),
        )
        assert len(found) <= 1
        return found[0][0] if found else None

    def trials(self, name: str = "miniature") -> list[FrozenTrial]:
        storage = RDBStorage(parse(self.url).render_as_string(hide_password=False), skip_table_creation=True)
        try:
            return optuna.load_study(study_name=name, storage=storage).get_trials()
        finally:
            storage.engine.dispose()

    # What must hold

    def assert_exact(self, baselines: int | None = 1) -> list[FrozenTrial]:
        """Exactly `total` finished trials, numbered without a gap, none left over, each with what its run measured.

        `baselines`: how often each finished; None where so many machines died that its retries may be used up.
        """
        trials = self.trials()
        states = Counter(t.state.name for t in trials)
        assert states["COMPLETE"] + states["PRUNED"] == self.total, states
        assert states["RUNNING"] == states["WAITING"] == 0, states
        assert [t.number for t in trials] == list(range(len(trials)))
        done = [t for t in trials if t.state.is_finished() and t.state != TrialState.FAIL]
        found = Counter(t.user_attrs["baseline"] for t in done if "baseline" in t.user_attrs)
        if baselines is None:
            assert all(count == 1 for count in found.values()), found
        else:
            assert found == dict.fromkeys(("V0", "V1", "V2"), baselines)
        for trial in done:
            assert_whole(trial)
        assert_run_again_once(trials, self.retries)
        self.assert_acknowledged_is_stored(trials)
        return trials

    def assert_acknowledged_is_stored(self, trials: list[FrozenTrial]) -> None:
        """Each evaluation and end that a supervisor printed, which it does once the database has said yes."""
        for machine in self._machines:
            for number, step, value in re.findall(r"trial (\d+)  step (\d+)  eval ([\d.]+)", machine.output):
                stored = trials[int(number)].intermediate_values.get(int(step))
                # It may have heard so at this very report, and have been killed before it said more.
                taken_away = trials[int(number)].user_attrs.get("stop_reason") == StopReason.PREEMPTED
                assert taken_away or (stored is not None and f"{stored:.4f}" == value), (number, step, value, stored)
            for number, reason in re.findall(rf"trial (\d+)  ({'|'.join(STATES)})\b", machine.output):
                assert trials[int(number)].state == STATES[StopReason(reason)], (number, reason)
                assert trials[int(number)].user_attrs["stop_reason"] == reason


def assert_whole(trial: FrozenTrial) -> None:
    """Its values are the first so many of its own run, without a gap, and its end is the one that they ask for."""
    measured = [(e["step"], e["mel_ce"]) for e in trial.system_attrs["run"]["evaluations"]]
    assert dict(measured) == trial.intermediate_values, trial.number
    values = [value for _, value in measured]
    assert values == stub.values(trial.number, trial.params["lr"], 10)[: len(values)], trial.number
    reason = StopReason(trial.user_attrs["stop_reason"])
    assert trial.state == STATES[reason]
    assert len(values) == 10 or reason != StopReason.FINISHED
    assert trial.value == (min(values) if trial.state == TrialState.COMPLETE else values[-1])


def assert_run_again_once(trials: list[FrozenTrial], retries: int) -> None:
    """Each failed trial that has retries left has one successor, with its parameters; nothing else has any."""
    successors = {t.user_attrs["retry_of"]: t for t in trials if "retry_of" in t.user_attrs}
    assert len(successors) == sum("retry_of" in t.user_attrs for t in trials), "a trial was run again twice"
    for trial in trials:
        successor = successors.pop(trial.number, None)
        if trial.state != TrialState.FAIL:
            assert successor is None, trial
            continue
        by_user = trial.user_attrs["stop_reason"] == StopReason.STOPPED_BY_USER  # says nothing against the trial
        attempt = trial.user_attrs.get("attempt", 0) + (not by_user)
        assert (successor is not None) == bool(parameters(trial) and attempt <= retries), trial
        if successor is not None:
            # One that was taken while it was asked for its parameters had one more stored after that, and never ran.
            asked = parameters(trial) if trial.intermediate_values else trial.system_attrs.get("fixed_params", {})
            assert asked.items() <= parameters(successor).items(), (trial, successor)
            assert successor.user_attrs["attempt"] == attempt
    assert not successors


def parameters(trial: FrozenTrial) -> dict[str, Any]:
    """What it was asked for and, where it was cut short before that, what it was queued with."""
    queued = trial.system_attrs.get("fixed_params", {})
    assert all(queued.get(name, value) == value for name, value in trial.params.items())
    return {**queued, **trial.params}
