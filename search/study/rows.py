"""The statements of the ledger's transactions, on Optuna's own tables. Each is given the transaction's connection."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Table, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from search.study import control, recorded
from search.study.optuna_private import (
    ATTRS,
    BEATS,
    STUDIES,
    STUDY_SYSTEM_ATTRS,
    SYSTEM_ATTRS,
    TRIALS,
    VALUES,
    stored_value,
)

WAITS = "waits: "  # how the names of a study's attributes begin that say which machines wait


def lock_study(connection: Connection, study_id: int) -> bool:
    """Locks its row; False when it was deleted."""
    query = select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id).with_for_update()
    return connection.scalar(query) is not None


def lock_trial(connection: Connection, trial_id: int) -> TrialState | None:
    """Locks its row; its state, or None when it was deleted."""
    state: TrialState | None = connection.scalar(
        select(TRIALS.c.state).where(TRIALS.c.trial_id == trial_id).with_for_update()
    )
    return state


def counts_of(connection: Connection, study_id: int) -> dict[TrialState, int]:
    """How many trials the study has in each state."""
    query = select(TRIALS.c.state, func.count()).where(TRIALS.c.study_id == study_id).group_by(TRIALS.c.state)
    return dict(connection.execute(query).tuples().all())


def best_of(connection: Connection, study_id: int) -> tuple[int, float] | None:
    """(number, value) of the best COMPLETE trial. A repeat of the stock recipe measures noise, and does not compete."""
    repeat = (ATTRS.c.trial_id == TRIALS.c.trial_id) & (ATTRS.c.key == "repeat") & (ATTRS.c.value_json != "0")
    row = connection.execute(
        select(TRIALS.c.number, VALUES.c.value)
        .join(VALUES, VALUES.c.trial_id == TRIALS.c.trial_id)
        .outerjoin(ATTRS, repeat)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.COMPLETE, ATTRS.c.trial_id.is_(None))
        .order_by(VALUES.c.value)
        .limit(1)
    ).first()
    return (row.number, row.value) if row else None


def claimed_by(connection: Connection, study_id: int, claim: str) -> int | None:
    """The RUNNING trial whose owner has this claim in its signature."""
    trial_id: int | None = connection.scalar(
        select(TRIALS.c.trial_id)
        .join(SYSTEM_ATTRS, SYSTEM_ATTRS.c.trial_id == TRIALS.c.trial_id)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.RUNNING, SYSTEM_ATTRS.c.key == "owner")
        .where(SYSTEM_ATTRS.c.value_json.contains(json.dumps(claim), autoescape=True))
    )
    return trial_id


def queued_by(connection: Connection, study_id: int, signature: str) -> list[int]:
    """Numbers of the trials that were queued with this signature, whatever became of them."""
    query = (
        select(TRIALS.c.number)
        .join(SYSTEM_ATTRS, SYSTEM_ATTRS.c.trial_id == TRIALS.c.trial_id)
        .where(TRIALS.c.study_id == study_id, SYSTEM_ATTRS.c.key == "queued")
        .where(SYSTEM_ATTRS.c.value_json == json.dumps(signature))
    )
    return list(connection.scalars(query.order_by(TRIALS.c.number)))


def control_of(connection: Connection, study_id: int) -> str | None:
    """What people told all machines of the study, in JSON."""
    said = STUDY_SYSTEM_ATTRS.c
    text: str | None = connection.scalar(
        select(said.value_json).where(said.study_id == study_id, said.key == control.ATTRIBUTE)
    )
    return text


def running(
    connection: Connection, study_id: int, steered_by: int
) -> tuple[str | None, list[tuple[int, int, datetime | None, str | None, datetime]]]:
    """`control_of` study `steered_by`, and every RUNNING trial, in one statement.

    Of a trial (id, number, last heartbeat, owner in JSON, time by the database's clock).
    """
    said, trial, now = STUDY_SYSTEM_ATTRS.c, TRIALS.c, func.current_timestamp()
    query = (
        select(said.value_json, trial.trial_id, trial.number, BEATS.c.heartbeat, SYSTEM_ATTRS.c.value_json, now)
        .select_from(STUDIES)
        .outerjoin(STUDY_SYSTEM_ATTRS, (said.study_id == steered_by) & (said.key == control.ATTRIBUTE))
        .outerjoin(TRIALS, (trial.study_id == STUDIES.c.study_id) & (trial.state == TrialState.RUNNING))
        .outerjoin(BEATS, BEATS.c.trial_id == trial.trial_id)
        .outerjoin(SYSTEM_ATTRS, (SYSTEM_ATTRS.c.trial_id == trial.trial_id) & (SYSTEM_ATTRS.c.key == "owner"))
        .where(STUDIES.c.study_id == study_id)
    )
    found = connection.execute(query).all()
    # PostgreSQL keeps heartbeats in the session's time zone, without its name.
    trials = [(*row[1:5], row[5].replace(tzinfo=None)) for row in found if row.trial_id is not None]
    return found[0][0] if found else None, trials


def clock(connection: Connection) -> datetime:
    """The database's, by which heartbeats are told."""
    now: datetime = connection.scalar(select(func.current_timestamp()))  # type: ignore[assignment]
    return now.replace(tzinfo=None)


def wait(connection: Connection, study_id: int, owner: Mapping[str, Any]) -> None:
    """Notes that a machine waits for a paused study, and runs no trial that would tell that it is there."""
    told = {"machine": owner["machine"], "at": clock(connection).isoformat(), "grace_seconds": owner["grace_seconds"]}
    upsert(connection, STUDY_SYSTEM_ATTRS, {"study_id": study_id}, {WAITS + owner["machine"]: told})


def first_beat(connection: Connection, trial_id: int) -> datetime:
    """Writes a trial's first heartbeat; when that was, by the database's clock."""
    beat = insert(BEATS).values(trial_id=trial_id).returning(BEATS.c.heartbeat)
    found: datetime = connection.execute(beat).scalar_one()
    return found


def pop_waiting(connection: Connection, study_id: int) -> int | None:
    """The first trial of the queue, now RUNNING."""
    trial_id: int | None = connection.scalar(
        select(TRIALS.c.trial_id)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.WAITING)
        .order_by(TRIALS.c.trial_id)
        .limit(1)
        .with_for_update()
    )
    if trial_id is not None:
        _update_trial(connection, trial_id, state=TrialState.RUNNING, datetime_start=_now())
    return trial_id


def add_running(connection: Connection, study_id: int, number: int) -> int:
    """A new trial, for the sampler. The caller counted `number` under the study's lock."""
    values = {"study_id": study_id, "number": number, "state": TrialState.RUNNING, "datetime_start": _now()}
    return _insert_trial(connection, values)


def add_waiting(
    connection: Connection, study_id: int, number: int, params: Mapping[str, Any], attributes: Mapping[str, Any]
) -> None:
    """A trial in the queue, as `Study.enqueue_trial` writes it."""
    values = {"study_id": study_id, "number": number, "state": TrialState.WAITING}
    trial_id = _insert_trial(connection, values)
    set_trial(connection, trial_id, attributes)
    upsert(connection, SYSTEM_ATTRS, {"trial_id": trial_id}, {"fixed_params": dict(params)})


def _insert_trial(connection: Connection, values: Mapping[str, Any]) -> int:
    key = connection.execute(insert(TRIALS).values(**values)).inserted_primary_key
    assert key
    return int(key[0])


def _update_trial(connection: Connection, trial_id: int, **values: Any) -> None:
    connection.execute(update(TRIALS).where(TRIALS.c.trial_id == trial_id).values(**values))


def finish(
    connection: Connection, trial_id: int, state: TrialState, value: float | None, attributes: Mapping[str, Any]
) -> None:
    """Ends a trial."""
    _update_trial(connection, trial_id, state=state, datetime_complete=_now())
    if value is not None:
        stored, kind = stored_value(value)
        connection.execute(insert(VALUES).values(trial_id=trial_id, objective=0, value=stored, value_type=kind))
    set_trial(connection, trial_id, attributes)


def set_trial(connection: Connection, trial_id: int, attributes: Mapping[str, Any]) -> None:
    """Writes a trial's attributes."""
    found = recorded.by_kind(attributes)
    upsert(connection, ATTRS, {"trial_id": trial_id}, found["user_attrs"])
    upsert(connection, SYSTEM_ATTRS, {"trial_id": trial_id}, found["system_attrs"])


def states(connection: Connection, study_id: int) -> list[tuple[int, TrialState, recorded.Kept]]:
    """(id, state, what is kept) of each trial whose run has a saved state."""
    attribute = SYSTEM_ATTRS.c
    query = (
        select(TRIALS.c.trial_id, TRIALS.c.state, attribute.value_json)
        .join(SYSTEM_ATTRS, attribute.trial_id == TRIALS.c.trial_id)
        .where(TRIALS.c.study_id == study_id, attribute.key == recorded.STATE)
    )
    return [(i, state, recorded.kept(json.loads(text))) for i, state, text in connection.execute(query)]


def forget_state(connection: Connection, trial_id: int) -> None:
    attribute = SYSTEM_ATTRS.c
    connection.execute(delete(SYSTEM_ATTRS).where(attribute.trial_id == trial_id, attribute.key == recorded.STATE))


def upsert(connection: Connection, table: Table, where: Mapping[str, int], attributes: Mapping[str, Any]) -> None:
    """Writes attributes, also where another tool wrote one of these names before, as Optuna's retries do."""
    rows = [{**where, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
    if not rows:
        return
    dialect = {"postgresql": postgresql, "sqlite": sqlite}[connection.dialect.name]
    statement = dialect.insert(table)
    new = {"value_json": statement.excluded.value_json}
    connection.execute(statement.on_conflict_do_update(index_elements=[*where, "key"], set_=new), rows)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
