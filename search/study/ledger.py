"""Who owns which trial: the transactions by which the supervisors of all machines share a study exactly.

Each locks the row of the study or of a trial, so that no two machines count or take trials at the same time. Each may
be repeated after a commit whose answer was lost. They write Optuna's own tables, which any Optuna tool can read.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Table, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from search.errors import UserError
from search.settings.settings import safe_url
from search.study import recorded
from search.study.database import StudyStorage
from search.study.optuna_private import (
    ATTRS,
    BEATS,
    STUDIES,
    STUDY_ATTRS,
    STUDY_SYSTEM_ATTRS,
    SYSTEM_ATTRS,
    TRIALS,
    VALUES,
    read_trial,
    stored_value,
)
from search.trial import StopReason

FINISHED_STATES = (TrialState.COMPLETE, TrialState.PRUNED)
KEPT = ("baseline", "repeat", "candidate", "seed", "length")  # attributes that say what a trial is: a retry has them


@dataclass(frozen=True)
class Claim:
    """What a slot got when it asked for a trial."""

    trial_id: int | None  # None: the finished and the running ones make up the study's number, or will
    finished: int  # COMPLETE and PRUNED, of all machines
    best: tuple[int, float] | None  # (number, value) of the best COMPLETE trial, of all machines


@dataclass(frozen=True)
class Lease:
    """A RUNNING trial as the reaper sees it."""

    trial_id: int
    number: int
    heartbeat: datetime | None  # by the database's clock; None: there never was one
    owner: dict[str, Any] | None  # who runs it, as `leases.owner` describes itself


class Ledger:
    """The trials of one study in its storage."""

    def __init__(self, storage: StudyStorage, study_id: int) -> None:
        self._storage = storage
        self.study_id = study_id

    def found(
        self, attributes: Mapping[str, Any], queue: Sequence[tuple[dict[str, Any], dict[str, Any]]]
    ) -> dict[str, Any]:
        """Gives a new study its attributes and queues (parameters, attributes) of its first trials, once.

        Returns the study's attributes, which are those of the first founder. An empty dictionary means that the study
        has trials or attributes of another tool. Each call adds one to the attribute "searches", so that no two
        searches of a study get the same number.
        """

        def transaction() -> dict[str, Any]:
            with self._begin() as connection:
                self._lock_study(connection)
                rows = connection.execute(
                    select(STUDY_ATTRS.c.key, STUDY_ATTRS.c.value_json).where(STUDY_ATTRS.c.study_id == self.study_id)
                )
                stored = {key: json.loads(value) for key, value in rows}
                if not attributes.keys() <= stored.keys():
                    if stored or self._count(connection):
                        return {}
                    stored = {**attributes, "searches": 0}
                    _set_attributes(connection, STUDY_ATTRS, {"study_id": self.study_id}, stored)
                    for number, (params, attributes_of) in enumerate(queue):
                        self._insert_trial(connection, number, TrialState.WAITING, attributes_of, params)
                stored["searches"] = stored.get("searches", 0) + 1
                connection.execute(
                    update(STUDY_ATTRS)
                    .where(STUDY_ATTRS.c.study_id == self.study_id, STUDY_ATTRS.c.key == "searches")
                    .values(value_json=json.dumps(stored["searches"]))
                )
                return stored

        return self._storage.survive(transaction)

    def queue(self, entries: Sequence[tuple[dict[str, Any], dict[str, Any]]], known: int) -> bool:
        """Queues trials, as `found` does, if the study still has the `known` number that the caller planned them from.

        False: it has other trials by now, queued by a peer or by this call, whose answer was lost. Plan again.
        """

        def transaction() -> bool:
            with self._begin() as connection:
                self._lock_study(connection)
                if sum(self._count(connection).values()) != known:
                    return False
                for number, (params, attributes) in enumerate(entries, known):
                    self._insert_trial(connection, number, TrialState.WAITING, attributes, params)
                return True

        return self._storage.survive(transaction)

    def claim(self, total: int | None, owner: Mapping[str, Any]) -> Claim:
        """A trial to run, taken from the queue or new, with its owner and first heartbeat, in one transaction.

        No trial is given while the finished and the running ones, of all machines, make up `total`: so it is never
        exceeded. With None only queued trials are given. Raises UserError when the study was deleted.
        """
        signature = {**owner, "claim": uuid.uuid4().hex}
        attempts = 0

        def transaction() -> Claim:
            nonlocal attempts
            attempts += 1
            with self._begin() as connection:
                self._lock_study(connection)
                counts = self._count(connection)
                finished = sum(counts.get(state, 0) for state in FINISHED_STATES)
                running = counts.get(TrialState.RUNNING, 0)
                # A commit whose answer was lost is found again by its signature.
                mine = self._claimed(connection, signature) if attempts > 1 else None
                best = self._best(connection)
                if mine is not None or (total is not None and finished + running >= total):
                    return Claim(mine, finished, best)
                trial_id = self._pop_waiting(connection)
                if trial_id is None and total is None:
                    return Claim(None, finished, best)
                if trial_id is None:
                    trial_id = self._insert_trial(connection, sum(counts.values()), TrialState.RUNNING, {}, None)
                _set_trial_attributes(connection, trial_id, {"owner": signature})
                connection.execute(insert(BEATS).values(trial_id=trial_id))
                return Claim(trial_id, finished, best)

        return self._storage.survive(transaction)

    def renew(self, trial_ids: Sequence[int]) -> set[int]:
        """A heartbeat for each of these trials; those that are still RUNNING."""

        def transaction() -> set[int]:
            with self._begin() as connection:
                connection.execute(
                    update(BEATS).where(BEATS.c.trial_id.in_(trial_ids)).values(heartbeat=func.current_timestamp())
                )
                return set(
                    connection.scalars(
                        select(TRIALS.c.trial_id).where(
                            TRIALS.c.trial_id.in_(trial_ids), TRIALS.c.state == TrialState.RUNNING
                        )
                    )
                )

        return self._storage.survive(transaction)

    def leases(self) -> list[Lease]:
        """Every RUNNING trial with its last heartbeat and its owner, in one statement."""
        query = (
            select(TRIALS.c.trial_id, TRIALS.c.number, BEATS.c.heartbeat, SYSTEM_ATTRS.c.value_json)
            .outerjoin(BEATS, BEATS.c.trial_id == TRIALS.c.trial_id)
            .outerjoin(SYSTEM_ATTRS, (SYSTEM_ATTRS.c.trial_id == TRIALS.c.trial_id) & (SYSTEM_ATTRS.c.key == "owner"))
            .where(TRIALS.c.study_id == self.study_id, TRIALS.c.state == TrialState.RUNNING)
        )

        def transaction() -> list[Lease]:
            with self._storage.engine.connect() as connection:
                return [
                    Lease(i, number, beat, json.loads(o) if o else None)
                    for i, number, beat, o in connection.execute(query)
                ]

        return self._storage.survive(transaction)

    def end(
        self,
        trial_id: int,
        state: TrialState,
        value: float | None,
        attributes: Mapping[str, Any],
        retries: int,
        artifacts: Mapping[str, Any] | None = None,
    ) -> int | None:
        """Ends a trial with its value and attributes at once; None when it was taken from its owner before.

        Returns how many trials of the study have finished by then. `artifacts` are system attributes, by which Optuna
        knows a trial's files.

        A trial that FAILs is queued again in the same transaction, with the same parameters, at most `retries` times.
        """
        attempts = 0

        def transaction() -> int | None:
            nonlocal attempts
            attempts += 1
            with self._begin() as connection:
                if state == TrialState.FAIL:
                    self._lock_study(connection)  # before the trial, as everywhere: no deadlock
                stored = self._lock_trial(connection, trial_id)
                # A repetition may find its own end, whose answer was lost; a peer's FAIL has another reason.
                told = (
                    attempts > 1 and stored == state and self._reason(connection, trial_id) == attributes["stop_reason"]
                )
                if stored != TrialState.RUNNING and not told:
                    return None
                if not told:
                    self._finish(connection, trial_id, state, value, attributes)
                    # Optuna decodes the value of such an attribute twice.
                    encoded = {key: json.dumps(meta) for key, meta in (artifacts or {}).items()}
                    _set_attributes(connection, SYSTEM_ATTRS, {"trial_id": trial_id}, encoded)
                    if state == TrialState.FAIL:
                        self._queue_again(connection, trial_id, retries)
                counts = self._count(connection)
                return sum(counts.get(finished, 0) for finished in FINISHED_STATES)

        return self._storage.survive(transaction)

    def expire(self, lease: Lease, retries: int) -> bool | None:
        """Takes a trial from an owner that fell silent: FAIL, and queued again, in one transaction.

        Whether it was queued again; None when it ended or gave a sign of life since `lease` was read, and is not taken.
        """

        def transaction() -> bool | None:
            with self._begin() as connection:
                self._lock_study(connection)
                heartbeat = connection.scalar(select(BEATS.c.heartbeat).where(BEATS.c.trial_id == lease.trial_id))
                if self._lock_trial(connection, lease.trial_id) != TrialState.RUNNING or heartbeat != lease.heartbeat:
                    return None
                attributes = {"stop_reason": str(StopReason.PREEMPTED)}
                self._finish(connection, lease.trial_id, TrialState.FAIL, None, attributes)
                return self._queue_again(connection, lease.trial_id, retries)

        return self._storage.survive(transaction)

    def annotate(self, attributes: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
        """Writes system attributes of the study at once, if those in `known` still are what they were.

        A value None in `known` stands for an attribute that is not there. False: somebody else wrote meanwhile.
        """
        columns = STUDY_SYSTEM_ATTRS.c
        query = select(columns.key, columns.value_json).where(columns.study_id == self.study_id, columns.key.in_(known))

        def transaction() -> bool:
            with self._begin() as connection:
                self._lock_study(connection)
                stored = {key: json.loads(value) for key, value in connection.execute(query)}
                if stored != {key: value for key, value in known.items() if value is not None}:
                    return False
                _set_attributes(connection, STUDY_SYSTEM_ATTRS, {"study_id": self.study_id}, attributes)
                return True

        return self._storage.survive(transaction)

    # Parts of transactions

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with self._storage.engine.begin() as connection:
            if self._storage.engine.dialect.name == "sqlite":
                # SQLite has no row locks, and Python's driver would begin only at the first change.
                connection.execute(text("BEGIN IMMEDIATE"))
            yield connection

    def _lock_study(self, connection: Connection) -> None:
        query = select(STUDIES.c.study_id).where(STUDIES.c.study_id == self.study_id).with_for_update()
        if connection.scalar(query) is None:
            raise UserError(
                f"the study was deleted from {safe_url(self._storage.url)} while it was searched; start another with"
                " --study"
            )

    def _lock_trial(self, connection: Connection, trial_id: int) -> TrialState | None:
        """The trial's state; None when it was deleted."""
        state: TrialState | None = connection.scalar(
            select(TRIALS.c.state).where(TRIALS.c.trial_id == trial_id).with_for_update()
        )
        return state

    def _count(self, connection: Connection) -> dict[TrialState, int]:
        query = select(TRIALS.c.state, func.count()).where(TRIALS.c.study_id == self.study_id).group_by(TRIALS.c.state)
        return dict(connection.execute(query).tuples().all())

    def _best(self, connection: Connection) -> tuple[int, float] | None:
        """Of the trials that are ranked: a repeat of the stock recipe measures noise, and does not compete by luck."""
        repeat = (ATTRS.c.trial_id == TRIALS.c.trial_id) & (ATTRS.c.key == "repeat") & (ATTRS.c.value_json != "0")
        row = connection.execute(
            select(TRIALS.c.number, VALUES.c.value)
            .join(VALUES, VALUES.c.trial_id == TRIALS.c.trial_id)
            .outerjoin(ATTRS, repeat)
            .where(
                TRIALS.c.study_id == self.study_id, TRIALS.c.state == TrialState.COMPLETE, ATTRS.c.trial_id.is_(None)
            )
            .order_by(VALUES.c.value)
            .limit(1)
        ).first()
        return (row.number, row.value) if row else None

    def _claimed(self, connection: Connection, signature: Mapping[str, Any]) -> int | None:
        trial_id: int | None = connection.scalar(
            select(SYSTEM_ATTRS.c.trial_id)
            .join(TRIALS, TRIALS.c.trial_id == SYSTEM_ATTRS.c.trial_id)
            .where(
                TRIALS.c.study_id == self.study_id,
                TRIALS.c.state == TrialState.RUNNING,  # it may have been taken meanwhile
                SYSTEM_ATTRS.c.key == "owner",
                SYSTEM_ATTRS.c.value_json == json.dumps(dict(signature)),
            )
        )
        return trial_id

    def _reason(self, connection: Connection, trial_id: int) -> Any:
        query = select(ATTRS.c.value_json).where(ATTRS.c.trial_id == trial_id, ATTRS.c.key == "stop_reason")
        return json.loads(connection.scalar(query) or "null")

    def _pop_waiting(self, connection: Connection) -> int | None:
        """The first trial of the queue, now RUNNING."""
        trial_id: int | None = connection.scalar(
            select(TRIALS.c.trial_id)
            .where(TRIALS.c.study_id == self.study_id, TRIALS.c.state == TrialState.WAITING)
            .order_by(TRIALS.c.trial_id)
            .limit(1)
            .with_for_update()
        )
        if trial_id is not None:
            started = {"state": TrialState.RUNNING, "datetime_start": _now()}
            connection.execute(update(TRIALS).where(TRIALS.c.trial_id == trial_id).values(**started))
        return trial_id

    def _insert_trial(
        self,
        connection: Connection,
        number: int,
        state: TrialState,
        attributes: Mapping[str, Any],
        params: Mapping[str, Any] | None,
    ) -> int:
        """A trial whose `number` the caller counted under the study's lock."""
        started = _now() if state == TrialState.RUNNING else None
        values = {"study_id": self.study_id, "number": number, "state": state, "datetime_start": started}
        result = connection.execute(insert(TRIALS).values(**values))
        assert result.inserted_primary_key
        trial_id = int(result.inserted_primary_key[0])
        _set_trial_attributes(connection, trial_id, attributes)
        if params is not None:  # as `Study.enqueue_trial` writes them
            fixed = {"fixed_params": dict(params)}
            _set_attributes(connection, SYSTEM_ATTRS, {"trial_id": trial_id}, fixed)
        return trial_id

    def _finish(
        self,
        connection: Connection,
        trial_id: int,
        state: TrialState,
        value: float | None,
        attributes: Mapping[str, Any],
    ) -> None:
        finished = {"state": state, "datetime_complete": _now()}
        connection.execute(update(TRIALS).where(TRIALS.c.trial_id == trial_id).values(**finished))
        if value is not None:
            stored, kind = stored_value(value)
            connection.execute(insert(VALUES).values(trial_id=trial_id, objective=0, value=stored, value_type=kind))
        _set_trial_attributes(connection, trial_id, attributes)

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
        attributes = {**kept, "retry_of": trial.number, "attempt": attempt}
        number = sum(self._count(connection).values())
        self._insert_trial(connection, number, TrialState.WAITING, attributes, params)
        return True


def _set_trial_attributes(connection: Connection, trial_id: int, attributes: Mapping[str, Any]) -> None:
    found = recorded.by_kind(attributes)
    for table, values in ((ATTRS, found["user_attrs"]), (SYSTEM_ATTRS, found["system_attrs"])):
        _set_attributes(connection, table, {"trial_id": trial_id}, values)


def _set_attributes(
    connection: Connection, table: Table, where: Mapping[str, int], attributes: Mapping[str, Any]
) -> None:
    """Also where another tool wrote one of these names before, as Optuna's callback for retries does."""
    rows = [{**where, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
    if not rows:
        return
    dialect = {"postgresql": postgresql, "sqlite": sqlite}[connection.dialect.name]
    statement = dialect.insert(table)
    new = {"value_json": statement.excluded.value_json}
    connection.execute(statement.on_conflict_do_update(index_elements=[*where, "key"], set_=new), rows)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
