"""The studies of a database as one look tells: what holds, how far they are, and who works on them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, func, select

from search.settings.settings import Settings
from search.study import control, rows, storage
from search.study.control import Control
from search.study.ledger import FINISHED_STATES
from search.study.optuna_private import STUDIES, STUDY_ATTRS, STUDY_SYSTEM_ATTRS, TRIALS
from search.study.recorded import part

# Attributes of a study for those who look at it from elsewhere.
ASKED = "asked"  # how many trials, by the search that started last
ENDED = "ended"  # why the search or confirmation that ended last did so before it was done: "settled", "diverged" or
BUDGET = "budget spent"


@dataclass(frozen=True)
class Listed:
    """A study, or a confirmation, which is a study, too."""

    name: str
    finished: int  # trials
    running: int
    waiting: int
    asked: int | None  # trials, by the search that started last; None of a confirmation
    best: tuple[int, float] | None  # number and value of a trial
    machines: int  # that run trials, or wait in a pause, and gave a sign of life within their grace
    silent_seconds: float | None  # since anything happened; None: nothing did
    is_ours: bool
    confirms: str | None  # the study that it confirms
    control: Control
    ended: str | None = None  # why the last search ended before it was done

    @property
    def state(self) -> str:
        """ "paused" or "stopped" by people; else "done", "running", why the last search ended, or "idle"."""
        if not self.is_ours:
            return "of another tool"
        if self.control.state != "running":
            return self.control.state
        if self.asked is not None and self.finished >= self.asked:
            return "done"
        return "running" if self.machines else (self.ended or "idle")


def studies(settings: Settings) -> list[Listed]:
    """All of the settings' database, in the order of their making. Raises UserError."""
    with storage.reading(settings) as connection:
        if connection is None:
            return []
        query = select(STUDIES.c.study_name, STUDIES.c.study_id).order_by(STUDIES.c.study_id)
        ids = dict(connection.execute(query).tuples().all())
        return [look(connection, name, ids) for name in ids]


def look(connection: Connection, name: str, ids: Mapping[str, int]) -> Listed:
    """The study `name` of those with these `ids`."""
    study_id, columns = ids[name], STUDY_ATTRS.c
    query = select(columns.key, columns.value_json).where(columns.study_id == study_id)
    wanted = query.where(columns.key.in_((ASKED, ENDED, "fingerprint")))
    stored = {key: json.loads(value) for key, value in connection.execute(wanted)}
    fingerprint, asked, ended = (stored.get(key) for key in ("fingerprint", ASKED, ENDED))  # of other tools: anything
    confirms = part(fingerprint, "confirms")
    confirms = confirms if isinstance(confirms, str) else None
    said, running = rows.running(connection, study_id, ids.get(confirms or name, study_id))
    counts, now, known = rows.counts_of(connection, study_id), rows.clock(connection), STUDY_SYSTEM_ATTRS.c
    waiting = select(known.value_json).where(known.study_id == study_id, known.key.startswith(rows.WAITS))
    told, signs = control.read(said), [(json.loads(owner), beat) for _, _, beat, owner, _ in running if beat and owner]
    if told.state == "paused":
        signs += [(each, datetime.fromisoformat(each["at"])) for each in map(json.loads, connection.scalars(waiting))]
    silences = [(each["machine"], each["grace_seconds"], (now - at).total_seconds()) for each, at in signs]
    return Listed(
        name=name,
        finished=sum(counts.get(state, 0) for state in FINISHED_STATES),
        running=len(running),
        waiting=counts.get(TrialState.WAITING, 0),
        asked=asked if isinstance(asked, int) and not confirms else None,
        best=rows.best_of(connection, study_id),
        machines=len({machine for machine, grace, silent in silences if silent <= grace}),
        silent_seconds=min([*(s for *_, s in silences), *_since_changes(connection, study_id)], default=None),
        is_ours=isinstance(fingerprint, dict),
        confirms=confirms,
        control=told,
        ended=ended if isinstance(ended, str) else None,
    )


def _since_changes(connection: Connection, study_id: int) -> list[float]:
    """Seconds since a trial last started and ended, by the clocks of machines."""
    times: Any = (func.max(TRIALS.c.datetime_start), func.max(TRIALS.c.datetime_complete))
    found = connection.execute(select(*times).where(TRIALS.c.study_id == study_id)).one()
    now = datetime.now(UTC).replace(tzinfo=None)
    return [max(0.0, (now - time).total_seconds()) for time in found if time]
