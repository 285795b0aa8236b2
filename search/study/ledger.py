"""Who owns which trial: the transactions by which the supervisors of all machines share a study exactly.

Each locks the row of the study or of a trial, so that no two machines count or take trials at the same time. Each may
be repeated after a commit whose answer was lost. They write Optuna's own tables, which any Optuna tool can read.
"""

import itertools
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from optuna.trial import TrialState
from sqlalchemy import Connection, func, select, text, update

from search.errors import UserError
from search.settings.settings import safe_url
from search.study import control, rows
from search.study.control import NOTHING_SAID, Control
from search.study.database import StudyStorage
from search.study.optuna_private import BEATS, STUDY_ATTRS, STUDY_SYSTEM_ATTRS, TRIALS, read_trial
from search.study.recorded import ORIGIN, SLOT_SECONDS, STATE, Kept
from search.trial import StopReason

FINISHED_STATES = (TrialState.COMPLETE, TrialState.PRUNED)
# Attributes that say what a trial is, and where its run can go on: a retry has them.
KEPT = ("baseline", ORIGIN, "repeat", "candidate", "seed", "length", STATE)

Result = TypeVar("Result")
Entry = tuple[dict[str, Any], dict[str, Any]]  # parameters and attributes of a trial to queue


@dataclass(frozen=True)
class Claim:
    """What a slot got when it asked for a trial."""

    trial_id: int | None  # None: the finished and the running ones make up the study's number, or will
    finished: int  # COMPLETE and PRUNED, of all machines
    best: tuple[int, float] | None  # (number, value) of the best COMPLETE trial, of all machines
    control: Control = NOTHING_SAID  # what people told all machines
    is_stale: bool = False  # a peer has claimed since the caller looked at the study


@dataclass(frozen=True)
class Lease:
    """A RUNNING trial as the reaper sees it."""

    trial_id: int
    number: int
    heartbeat: datetime | None  # by the database's clock; None: there never was one
    owner: dict[str, Any] | None  # who runs it, as `leases.owner` describes itself
    now: datetime | None = None  # when it was read, by the database's clock

    @property
    def held_seconds(self) -> float | None:
        """From its first heartbeat to its last, by the database's clock; None where nobody wrote the first."""
        since = (self.owner or {}).get("since")
        if since is None or self.heartbeat is None:
            return None
        return (self.heartbeat - datetime.fromisoformat(since)).total_seconds()

    @property
    def age(self) -> float | None:
        """Seconds since its first heartbeat, which of a silent owner are counted to the last."""
        if (held := self.held_seconds) is None or self.now is None or self.heartbeat is None or self.owner is None:
            return held
        silent = (self.now - self.heartbeat).total_seconds()
        return held + silent if 0 <= silent <= self.owner["grace_seconds"] else held


class Ledger:
    """The trials of one study in its storage.

    What people tell all machines is read from study `steered_by`: a confirmation's is the search that it confirms.
    """

    def __init__(self, storage: StudyStorage, study_id: int, steered_by: int | None = None) -> None:
        self._storage = storage
        self.study_id = study_id
        self._steered_by = study_id if steered_by is None else steered_by

    def found(
        self, attributes: Mapping[str, Any], queue: Sequence[Entry], documents: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Gives a new study its attributes, system attributes (`documents`) and its first trials in the queue, once.

        Returns the study's attributes, which are those of the first founder. An empty dictionary means that the study
        has trials or attributes of another tool. Each call adds one to the attribute "searches", so that no two
        searches of a study get the same number.
        """
        key = {"study_id": self.study_id}

        def transaction(connection: Connection, _: bool) -> dict[str, Any]:
            found = select(STUDY_ATTRS.c.key, STUDY_ATTRS.c.value_json).where(STUDY_ATTRS.c.study_id == self.study_id)
            stored = {name: json.loads(value) for name, value in connection.execute(found)}
            if not attributes.keys() <= stored.keys():
                if stored or rows.counts_of(connection, self.study_id):
                    return {}
                stored = dict(attributes)
                rows.upsert(connection, STUDY_ATTRS, key, stored)
                rows.upsert(connection, STUDY_SYSTEM_ATTRS, key, documents or {})
                self._add(connection, queue, 0)
            stored["searches"] = stored.get("searches", 0) + 1
            rows.upsert(connection, STUDY_ATTRS, key, {"searches": stored["searches"]})
            return stored

        return self._alone(transaction)

    def queue(self, entries: Sequence[Entry], known: int) -> bool:
        """Queues trials, as `found` does, if the study still has the `known` number that the caller planned them from.

        False: it has other trials by now, queued by a peer or by this call, whose answer was lost. Plan again.
        """

        def transaction(connection: Connection, _: bool) -> bool:
            if sum(rows.counts_of(connection, self.study_id).values()) != known:
                return False
            self._add(connection, entries, known)
            return True

        return self._alone(transaction)

    def claim(self, total: int | None, owner: Mapping[str, Any], known: int | None = None) -> Claim:
        """A trial to run, taken from the queue or new, with its owner and first heartbeat, in one transaction.

        No trial is given while the finished and the running ones, of all machines, make up `total`: so it is never
        exceeded. With None only queued trials are given. None is given while the study is paused or stopped, nor if
        others than the `known` number of trials have begun, from which the caller decided to ask. Raises UserError when
        the study was deleted.
        """
        signature = {**owner, "claim": uuid.uuid4().hex}

        def transaction(connection: Connection, again: bool) -> Claim:
            counts = rows.counts_of(connection, self.study_id)
            finished, best = _finished(counts), rows.best_of(connection, self.study_id)
            if self._steered_by != self.study_id:
                rows.lock_study(connection, self._steered_by)  # so that nobody tells it anything meanwhile
            said = control.read(rows.control_of(connection, self._steered_by))
            # A commit whose answer was lost is found again by its signature; a peer may have taken it meanwhile.
            mine = rows.claimed_by(connection, self.study_id, signature["claim"]) if again else None
            is_full = total is not None and finished + counts.get(TrialState.RUNNING, 0) >= total
            if said.state == "paused":
                rows.wait(connection, self.study_id, owner)
            if mine is not None or is_full or said.state != "running":
                return Claim(mine, finished, best, said)
            if known not in (None, sum(counts.values()) - counts.get(TrialState.WAITING, 0)):
                return Claim(None, finished, best, said, is_stale=True)
            trial_id = rows.pop_waiting(connection, self.study_id)
            if trial_id is None and total is None:
                return Claim(None, finished, best, said)
            if trial_id is None:
                trial_id = rows.add_running(connection, self.study_id, sum(counts.values()))
            since = rows.first_beat(connection, trial_id).isoformat()
            rows.set_trial(connection, trial_id, {"owner": {**signature, "since": since}})
            return Claim(trial_id, finished, best, said)

        return self._alone(transaction)

    def steer(self, change: Callable[[Control], Control]) -> Control:
        """Tells all machines of the study what `change` makes of what was told before; that."""

        def transaction(connection: Connection, _: bool) -> Control:
            said = change(control.read(rows.control_of(connection, self._steered_by)))
            key = {"study_id": self._steered_by}
            rows.upsert(connection, STUDY_SYSTEM_ATTRS, key, {control.ATTRIBUTE: said.to_dict()})
            return said

        return self._alone(transaction)

    def enqueue(self, params: Sequence[dict[str, Any]]) -> list[int]:
        """Queues a trial for each of these parameters, behind those that wait already; their numbers."""
        signature = uuid.uuid4().hex
        entries = [(each, {"queued": signature}) for each in params]

        def transaction(connection: Connection, again: bool) -> list[int]:
            # A commit whose answer was lost is found again by its signature.
            if not (again and rows.queued_by(connection, self.study_id, signature)):
                self._add(connection, entries, sum(rows.counts_of(connection, self.study_id).values()))
            return rows.queued_by(connection, self.study_id, signature)

        return self._alone(transaction)

    def renew(self, trial_ids: Sequence[int]) -> set[int]:
        """A heartbeat for each of these trials; those that are still RUNNING."""
        alive = select(TRIALS.c.trial_id).where(TRIALS.c.trial_id.in_(trial_ids), TRIALS.c.state == TrialState.RUNNING)
        beat = update(BEATS).where(BEATS.c.trial_id.in_(trial_ids)).values(heartbeat=func.current_timestamp())

        def transaction(connection: Connection, _: bool) -> set[int]:
            connection.execute(beat)
            return set(connection.scalars(alive))

        return self._transact(transaction)

    def look(self) -> tuple[Control, list[Lease]]:
        """What people told all machines; every RUNNING trial with its heartbeat and its owner. In one statement."""

        def look() -> tuple[Control, list[Lease]]:
            with self._storage.engine.connect() as connection:
                said, found = rows.running(connection, self.study_id, self._steered_by)
            leases = [Lease(i, number, beat, json.loads(o) if o else None, now) for i, number, beat, o, now in found]
            return control.read(said), leases

        return self._storage.survive(look)

    def end(
        self, trial_id: int, state: TrialState, value: float | None, attributes: Mapping[str, Any], retries: int
    ) -> int | None:
        """Ends a trial with its value and attributes at once; None when it was taken from its owner before.

        Returns how many trials of the study have finished by then.

        A trial that FAILs is queued again in the same transaction, with the same parameters, at most `retries` times.
        """

        def transaction(connection: Connection, again: bool) -> int | None:
            stored = rows.lock_trial(connection, trial_id)
            # A repetition may find its own end, whose answer was lost; a peer's FAIL has another reason.
            told = again and stored == state and self._reason(connection, trial_id) == attributes["stop_reason"]
            if stored != TrialState.RUNNING and not told:
                return None
            if not told:
                rows.finish(connection, trial_id, state, value, attributes)
                if state == TrialState.FAIL:
                    self._queue_again(connection, trial_id, retries)
            return _finished(rows.counts_of(connection, self.study_id))

        # Where it is queued again the study is locked before the trial, as everywhere: no deadlock.
        return self._alone(transaction) if state == TrialState.FAIL else self._transact(transaction)

    def expire(self, lease: Lease, retries: int) -> bool | None:
        """Takes a trial from an owner that fell silent: FAIL, and queued again, in one transaction.

        Whether it was queued again; None when it ended or gave a sign of life since `lease` was read, and is not taken.
        """

        def transaction(connection: Connection, _: bool) -> bool | None:
            heartbeat = connection.scalar(select(BEATS.c.heartbeat).where(BEATS.c.trial_id == lease.trial_id))
            if rows.lock_trial(connection, lease.trial_id) != TrialState.RUNNING or heartbeat != lease.heartbeat:
                return None
            attributes: dict[str, Any] = {"stop_reason": str(StopReason.PREEMPTED)}
            if (held := lease.held_seconds) is not None:
                attributes[SLOT_SECONDS] = held
            rows.finish(connection, lease.trial_id, TrialState.FAIL, None, attributes)
            return self._queue_again(connection, lease.trial_id, retries)

        return self._alone(transaction)

    def keep(self, trial_id: int, kept: Kept, most: float) -> bool | None:
        """Writes what the store has of a trial's run; None when the trial was taken from its owner.

        False, with nothing written: it and the states of all other trials would exceed `most` bytes.
        """

        def transaction(connection: Connection, _: bool) -> bool | None:
            if rows.lock_trial(connection, trial_id) != TrialState.RUNNING:
                return None
            all_kept = {i: other for i, _, other in rows.states(connection, self.study_id)} | {trial_id: kept}
            if sum(sum(each.files.values()) for each in all_kept.values()) > most:
                return False
            rows.set_trial(connection, trial_id, {STATE: asdict(kept)})
            return True

        return self._alone(transaction)

    def states(self) -> list[tuple[int, TrialState, Kept]]:
        """(id, state, what is kept) of each trial whose run has a saved state."""
        return self._transact(lambda connection, _: rows.states(connection, self.study_id))

    def forget_state(self, trial_id: int) -> None:
        """Whoever calls it has removed the files."""
        self._transact(lambda connection, _: rows.forget_state(connection, trial_id))

    def annotate(self, attributes: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
        """Writes system attributes of the study at once, if those in `known` still are what they were.

        A value None in `known` stands for an attribute that is not there. False: somebody else wrote meanwhile.
        """
        columns = STUDY_SYSTEM_ATTRS.c
        query = select(columns.key, columns.value_json).where(columns.study_id == self.study_id, columns.key.in_(known))

        def transaction(connection: Connection, _: bool) -> bool:
            stored = {key: json.loads(value) for key, value in connection.execute(query)}
            if stored != {key: value for key, value in known.items() if value is not None}:
                return False
            rows.upsert(connection, STUDY_SYSTEM_ATTRS, {"study_id": self.study_id}, attributes)
            return True

        return self._alone(transaction)

    def _transact(self, work: Callable[[Connection, bool], Result]) -> Result:
        """What `work` returns, in one transaction. It is told whether it is repeated, after a lost connection."""
        attempts = itertools.count()

        def transaction() -> Result:
            with self._storage.engine.begin() as connection:
                if self._storage.engine.dialect.name == "sqlite":
                    # SQLite has no row locks, and Python's driver would begin only at the first change.
                    connection.execute(text("BEGIN IMMEDIATE"))
                return work(connection, next(attempts) > 0)

        return self._storage.survive(transaction)

    def _alone(self, work: Callable[[Connection, bool], Result]) -> Result:
        """As `_transact`, with the study locked. Raises UserError when it was deleted."""

        def locked(connection: Connection, again: bool) -> Result:
            if not rows.lock_study(connection, self.study_id):
                raise UserError(
                    f"the study was deleted from {safe_url(self._storage.url)} while it was searched; start another"
                    " with --study"
                )
            return work(connection, again)

        return self._transact(locked)

    def _add(self, connection: Connection, entries: Sequence[Entry], known: int) -> None:
        for number, (params, attributes) in enumerate(entries, known):
            rows.add_waiting(connection, self.study_id, number, params, attributes)

    def _reason(self, connection: Connection, trial_id: int) -> Any:
        return read_trial(self._storage, connection, trial_id).user_attrs.get("stop_reason")

    def _queue_again(self, connection: Connection, trial_id: int, retries: int) -> bool:
        """Queues a failed trial's parameters, in the transaction that failed it: so exactly once. Whether it did."""
        trial = read_trial(self._storage, connection, trial_id)
        attempt = trial.user_attrs.get("attempt", 0)
        if trial.user_attrs["stop_reason"] != StopReason.STOPPED_BY_USER:
            attempt += 1  # a stop by hand says nothing against the trial
        # A queued trial may have been cut short before it was asked for all that it was queued with.
        params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        if attempt > retries or not params:  # one that got no parameters yet is not missed
            return False
        kept = {key: value for key, value in {**trial.user_attrs, **trial.system_attrs}.items() if key in KEPT}
        again = (params, {**kept, "retry_of": trial.number, "attempt": attempt})
        self._add(connection, [again], sum(rows.counts_of(connection, self.study_id).values()))
        rows.forget_state(connection, trial_id)  # its successor has it
        return True


def _finished(counts: Mapping[TrialState, int]) -> int:
    return sum(counts.get(state, 0) for state in FINISHED_STATES)
