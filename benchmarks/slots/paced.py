"""Supervisors whose runs take the time of training and none of its work: what is left is the service, and is timed.

Real supervisors with their slots, leases, ledger, sampler and pruners; in place of each child a
`Run` in the supervisor's own process, which says what a child says, at the times at which a child would. A hundred
processes that sleep would cost this machine more than the service does. Left out with them: the start of a child (a
fork, some 20 ms), the pipe and the decoding of its messages (some 0.1 ms each).
"""

import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import optuna
from sqlalchemy import event

from benchmarks.slots.history import RECORD, evaluation
from search.settings.settings import Settings
from search.study import storage
from search.study.leases import Leases
from search.trial import Evaluation, StopReason, TrialSpec
from search.workers.events import End, Extent, Start
from search.workers.launcher import Child, Launcher
from search.workers.supervisor import Supervisor
from search.workers.work import SearchWork
from tests import stub


@dataclass
class Wait:
    """A slot that waits for the service; times are those of the monotonic clock, which all processes share."""

    kind: str  # "decision": on an evaluation; "turnover": from a run's end to the next start; "start": to the first
    since: float
    until: float = float("inf")  # infinite: it still waited when the search ended


@dataclass
class Seen:
    """What one supervisor did and saw."""

    waits: list[Wait] = field(default_factory=list)
    statements: list[float] = field(default_factory=list)  # when each was executed, as SQLAlchemy sees it
    errors: list[str] = field(default_factory=list)  # anything beside an undisturbed search, also what was survived
    spoken: int = 0  # evaluations that the service has heard


class Pace:
    """In place of a `Launcher`: the runs of the slots of one supervisor, and what its slots waited for.

    A slot's first run is somewhere in its middle, so that the slots are in step neither at the start nor later.

    Args:
        seconds: Between two evaluations of a run, on average; half to one and a half times as long, evenly.
        begun: Called when a slot has its first run.
    """

    def __init__(self, seconds: float, seed: int, seen: Seen, begun: Callable[[], None]) -> None:
        self.seconds = seconds
        self.draw = random.Random(seed)
        self.seen = seen
        self._begun = begun
        self._slot = threading.local()
        self._since = time.monotonic()

    def start(self, _target: str, request: dict[str, Any], _log: Path, _device: str | None = None) -> "Run":
        spec = TrialSpec.from_json(request["spec"])
        first = not hasattr(self._slot, "wait")
        if first:
            self.wait("start", self._since)
        self.listens()
        skipped = self.draw.randrange(len(spec.evaluation_steps)) if first else 0
        if first:
            self._begun()
        return Run(self, spec, skipped, self.draw.random() * self.seconds if first else self.gap())

    def gap(self) -> float:
        return self.draw.uniform(0.5, 1.5) * self.seconds

    def wait(self, kind: str, since: float) -> None:
        """This thread's slot has something to do for its run since then; it waits from now, if it was busy before."""
        last = getattr(self._slot, "listened", 0.0)
        self._slot.wait = Wait(kind, max(since, last))
        self.seen.waits.append(self._slot.wait)

    def listens(self) -> None:
        """This thread's slot listens to its run again."""
        self._slot.listened = time.monotonic()
        if getattr(self._slot, "wait", None):
            self._slot.wait.until = self._slot.listened
            self._slot.wait = None


class Run(Child):
    """In place of a `Child`: evaluations by the formula of the stub, at the times of `pace`, whether heard or not."""

    def __init__(self, pace: Pace, spec: TrialSpec, skipped: int, delay: float) -> None:
        count = len(spec.evaluation_steps)
        values = stub.values(spec.number, spec.hyperparameters.lr, count)
        self._evaluations = list(zip(spec.evaluation_steps, values, strict=True))[skipped:]
        self._pace = pace
        self._began = time.monotonic()
        self._due = self._began + delay
        self._stopped = threading.Event()

    def receive(self, timeout: float) -> dict[str, Any] | None:
        self._pace.listens()
        if not self._stopped.is_set() and self._evaluations:
            delay = self._due - time.monotonic()
            if delay > 0 and (self._stopped.wait(min(delay, timeout)) or delay > timeout):
                return None
            step, value = self._evaluations.pop(0)
            self._pace.wait("decision", self._due)
            self._pace.seen.spoken += 1
            if self._evaluations:
                self._due += self._pace.gap()
            return {"kind": "evaluation", **evaluation(step, value, self._due - self._began)}
        reason = StopReason.STOPPED_BY_USER if self._stopped.is_set() else StopReason.FINISHED
        self._pace.wait("turnover", time.monotonic())
        return {"kind": "end", "result": {"reason": reason, "record": RECORD}}

    silent_seconds = 0.0

    def stop(self) -> None:
        self._stopped.set()

    drop = finish = kill = stop

    def close(self) -> None:
        pass


class Quiet:
    """A view that shows nothing. A note is an error, but for the one that a stop is answered with."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def note(self, text: str) -> None:
        if not text.startswith("stopping; "):
            self._seen.errors.append(text)

    def ended(self, end: End) -> None:
        if end.is_failure or end.reason == StopReason.PREEMPTED:
            self._seen.errors.append(f"trial {end.number}: {end.reason}, {end.error}")

    def status(self, text: str) -> None: ...
    def begin(self, extent: Extent) -> None: ...
    def counted(self, finished: int, best: tuple[int, float] | None, worth: str | None = None) -> None: ...
    def started(self, start: Start) -> None: ...
    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None: ...
    def refresh(self) -> None: ...
    def close(self) -> None: ...
    def leave(self) -> None: ...


def opened(settings: Settings, seen: Seen) -> tuple[optuna.Study, storage.Ledger, storage.StudyStorage]:
    """The study as a search opens it; its statements and whatever goes wrong with one are noted in `seen`."""
    database = storage.open_storage(settings.storage_url, settings.service.connections)
    study, ledger = storage.open_study(settings, stub.PREPARED, database)

    def executed(*_: Any) -> None:
        seen.statements.append(time.monotonic())

    def failed(context: Any) -> None:
        seen.errors.append(f"the database: {context.original_exception!r}")

    def retried(state: Any) -> None:  # also for what the database does not know of, as a pool that has no connection
        seen.errors.append(f"asked again: {state.outcome.exception()!r}")

    event.listen(database.engine, "before_cursor_execute", executed)
    event.listen(database.engine, "handle_error", failed)
    database._note_outage = retried  # type: ignore[method-assign]
    return study, ledger, database


def search(
    settings: Settings,
    known: dict[str, Any],
    slots: int,
    seconds: float,
    seed: int,
    ready: Callable[[], None],
    begun: Callable[[], None],
) -> Seen:
    """One supervisor with `slots`, from when `ready` returns until SIGTERM.

    Args:
        known: What Optuna's cache has read of the history; a search that just starts would read it first.
        seconds: Between two evaluations of a run.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # but while the supervisor runs, which has its own answer
    seen = Seen()
    try:
        study, ledger, database = opened(settings, seen)
        vars(study._storage).update(known)
        view = Quiet(seen)
        database.on_outage = view.note
        todo = SearchWork(study, settings, stub.PREPARED)
        leases = Leases(ledger, settings.service, settings.study.max_retries, view.note)
        devices: list[str | None] = [None] * slots
        ready()
        launcher = cast(Launcher, Pace(seconds, seed, seen, begun))
        Supervisor(todo, leases, settings, stub.PREPARED, launcher, view, devices).run(database.hurry)
    except BaseException as error:
        seen.errors.append(f"the supervisor ended: {error!r}")
    return seen


def settings_of(url: str, folder: Path) -> Settings:
    """Those of a search of the miniature that comes to no end; everything that a user can set is the default."""
    folder.mkdir(parents=True, exist_ok=True)
    return stub.settings_of(url, folder, trials=10**6, slots=1)
