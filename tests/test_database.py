"""What the storage adds to Optuna's: calls that survive a lost connection, and few connections."""

import inspect
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import optuna
import psycopg
import pytest
import sqlalchemy.exc as sql_errors
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import text

from search.errors import UserError
from search.study import database as module
from search.study.database import StudyStorage
from search.study.server import DatabaseLost, is_transient
from search.study.storage import open_storage
from tests.cut import Cut
from tests.postgres import PASSWORD, Server

MINIMIZE = [StudyDirection.MINIMIZE]


def test_no_method_of_optuna_s_that_opens_a_session_is_left_without_retries() -> None:
    sessions = {
        name
        for name, method in vars(RDBStorage).items()
        if inspect.isfunction(method) and "_create_scoped_session(" in inspect.getsource(method)
    }
    assert len(sessions) > 20
    assert sessions <= set(vars(StudyStorage))


# What may succeed later


def wrapped(error: Exception) -> Exception:
    """An error of a driver as SQLAlchemy raises it."""
    base: type[Exception] = psycopg.Error if isinstance(error, psycopg.Error) else sqlite3.Error
    found = sql_errors.DBAPIError.instance("SELECT", {}, error, base)
    assert isinstance(found, Exception)
    return found


def internal(cause: Exception | None) -> StorageInternalError:
    """What Optuna makes of an error of SQLAlchemy's."""
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = cause
    return error


TRANSIENT = [
    wrapped(psycopg.OperationalError("connection refused")),
    wrapped(psycopg.errors.DiskFull("no space left")),
    wrapped(psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT")),  # a standby that will be promoted
    wrapped(sqlite3.OperationalError("database is locked")),
    sql_errors.PendingRollbackError("can't reconnect until invalid transaction is rolled back"),
    sql_errors.ProgrammingError("SELECT", {}, psycopg.ProgrammingError(), connection_invalidated=True),
]
LASTING = [
    wrapped(psycopg.errors.UniqueViolation("duplicate key")),
    wrapped(sqlite3.DatabaseError("file is not a database")),
    KeyError("no such trial"),
]


def named(error: Exception) -> str:
    return type(getattr(error, "orig", None) or error).__name__


@pytest.mark.parametrize("error", [*TRANSIENT, *LASTING], ids=named)
def test_what_may_succeed_later_is_transient(error: Exception) -> None:
    assert is_transient(error) == is_transient(internal(error)) == (error in TRANSIENT)


# A connection that is lost


WRITES: dict[str, Callable[[StudyStorage, int], Any]] = {
    "parameter": lambda storage, trial: storage.set_trial_param(trial, "lr", 0.5, FloatDistribution(0, 1)),
    "evaluation": lambda storage, trial: storage.set_trial_intermediate_value(trial, 20, 4.5),
    "user attribute": lambda storage, trial: storage.set_trial_user_attr(trial, "a", {"b": 1}),
    "system attribute": lambda storage, trial: storage.set_trial_system_attr(trial, "a", [1, 2]),
    "study": lambda storage, trial: (
        optuna.create_study(  # as a search opens its own
            study_name=f"study {trial}", storage=storage, load_if_exists=True
        ).user_attrs
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_connection_cut_at_any_moment_changes_nothing(storage: StudyStorage, server: Server, write: str) -> None:
    study = storage.create_new_study(MINIMIZE)
    outcomes = []
    for moment in itertools.count():
        trial = storage.create_new_trial(study)
        with Cut(storage, server, moment) as cut:
            result = WRITES[write](storage, trial)
        found = storage.get_trial(trial)
        outcomes.append((result, found.params, found.intermediate_values, found.user_attrs, found.system_attrs))
        if not cut.happened:
            break
    assert len(outcomes) > 3  # before a statement, before and after the commit, and undisturbed
    assert all(outcome == outcomes[-1] for outcome in outcomes)


# A database that does not answer


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        if server._process and server._process.poll() is not None:
            server.start()


def test_a_database_that_stays_away_is_lost_after_the_patience(storage: StudyStorage, server: Server) -> None:
    storage.patience = 0.5
    began = time.monotonic()
    with stopped(server), pytest.raises(DatabaseLost) as caught:
        storage.get_all_studies()
    assert 0.5 <= time.monotonic() - began < 10
    line = str(caught.value)
    assert f"study.storage postgresql+psycopg://xtts:***@127.0.0.1:{server.port}/" in line
    assert "Connection refused" in line
    assert "run the same command again" in line
    assert "\n" not in line
    assert "t0p" not in line
    assert storage.get_all_studies() == []


def test_an_outage_is_told_at_its_beginning_and_at_its_end(
    storage: StudyStorage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NOTICED", 0.2)
    storage.patience = 60.0
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 1:
            server.start()

    storage.on_outage = tell
    with stopped(server), ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(storage.get_all_studies) for _ in range(8)]
        assert [call.result() for call in waiting] == [[]] * 8
    storage.get_all_studies()
    assert len(told) == 2, told
    assert "does not answer" in told[0]
    assert "it is waited for, 60 s" in told[0]
    assert "t0p" not in told[0]
    assert told[1] == "the database answers again"


def test_who_wants_to_leave_does_not_wait(
    storage: StudyStorage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NOTICED", 0.1)
    monkeypatch.setattr(module, "HURRIED", 0.5)
    storage.patience = 3600.0
    storage.on_outage = lambda _: storage.hurry()
    with stopped(server), pytest.raises(DatabaseLost):
        storage.get_all_studies()


def test_a_refusal_is_no_outage(storage: StudyStorage) -> None:
    with storage.engine.begin() as connection:
        connection.execute(text("ALTER TABLE trials RENAME TO runs"))
    storage.patience = 3600.0
    with pytest.raises(UserError, match=r'refused: .*relation "trials" does not exist.*docs/operations\.md') as caught:
        storage.get_trial(1)
    assert not isinstance(caught.value, DatabaseLost)


# Connections


def test_no_more_connections_are_opened_than_allowed(database: str) -> None:
    storage = open_storage(database + "?application_name=pool", connections=2)
    together = threading.Barrier(16)

    def count() -> int:
        together.wait()
        query = text("SELECT count(*), pg_sleep(0.02) FROM pg_stat_activity WHERE application_name = 'pool'")
        with storage.engine.connect() as connection:
            return int(connection.execute(query).one()[0])

    with ThreadPoolExecutor(16) as threads:
        counts = [call.result() for call in [threads.submit(count) for _ in range(16)]]
    assert max(counts) == 2
    storage.engine.dispose()


def test_no_connection_keeps_a_lock_for_long(storage: StudyStorage) -> None:
    limit = text("SHOW idle_in_transaction_session_timeout")
    connections = [storage.engine.connect() for _ in range(3)]
    found = [connection.scalar(limit) for connection in connections]
    options = {c.connection.dbapi_connection.info.options for c in connections}  # type: ignore[union-attr]
    assert options == {""}, "PgBouncer refuses connections that begin with more"
    for connection in connections:
        connection.close()
    assert found == ["15s"] * 3


FULL_DISK = """
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON study_user_attributes EXECUTE FUNCTION fill();
"""


def test_a_full_disk_is_waited_for_and_said_in_one_line(storage: StudyStorage) -> None:
    """PostgreSQL's own error, raised by a trigger."""
    study = storage.create_new_study([StudyDirection.MINIMIZE])
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(FULL_DISK)
    storage.patience = 0.3
    with pytest.raises(DatabaseLost, match=r"No space left on device; see that .* its disk has room") as caught:
        storage.set_study_user_attr(study, "key", 1)
    assert not any(part in str(caught.value) for part in ("\n", PASSWORD))
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER full_disk ON study_user_attributes")
    storage.set_study_user_attr(study, "key", 1)
    assert storage.get_study_user_attrs(study) == {"key": 1}
