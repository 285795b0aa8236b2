"""The database server: how it is connected to, what its errors mean, and waiting for one that is starting."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy.exc as sql_errors
from optuna.exceptions import StorageInternalError
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from search.errors import TryAgain, UserError
from search.settings.storage_url import is_secret, plain_url, safe_url, without_secrets

# A stopped process keeps no lock on the study for longer; no transaction of ours waits for anything but the server.
IDLE_IN_TRANSACTION = 15.0  # seconds
PSYCOPG = "postgresql+psycopg"
NUMBERS = {"prepare_threshold", "connect_timeout", "tcp_user_timeout"}  # options of the driver
NUMBERS |= {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"}
# What a server with no connection left says, PgBouncer of one that is away, and libpq of a torn network.
_LATER = re.compile(
    "FATAL: *(sorry, too many clients|too many connections|remaining connection slots|no more connections allowed)"
    "|query_wait_timeout|server_login_retry|pgbouncer cannot connect to server"
    "|server closed the connection unexpectedly|(receive|send) data (from|to) server|lost synchronization"
)
_ENDED = {"57P01", "57P02", "25P03"}  # SQLSTATE of connections that a server ends: shutdown, crash, idle too long
ASK_AGAIN = 1.0  # seconds between two looks at a server that is starting


class DatabaseLost(TryAgain):
    """The database did not answer for as long as it was waited for."""


def parse(url: str) -> URL:
    """psycopg 3 for PostgreSQL, whatever driver the URL names."""
    parsed = make_url(plain_url(url))
    return parsed.set(drivername=PSYCOPG) if parsed.drivername == "postgresql" else parsed


def engine_arguments(url: URL) -> dict[str, Any]:
    """How `create_engine` connects. Raises UserError for an option of the URL that does not fit."""
    arguments: dict[str, Any] = {"connect_args": connect_arguments(url)}
    if url.get_backend_name() == "postgresql":
        # Whoever waited for the study's lock must see what its holder wrote, whatever the server's default.
        arguments |= {"isolation_level": "READ COMMITTED", "pool_events": [(_limit, "connect")]}
    return arguments


def connect_arguments(url: URL) -> dict[str, Any]:
    """What the driver is told besides the URL, which wins: limits on how long a silent network is believed."""
    if url.get_backend_name() != "postgresql":
        return {"timeout": 60} if url.get_backend_name() == "sqlite" and "timeout" not in url.query else {}
    wanted = {
        "connect_timeout": 10,  # seconds
        "keepalives_idle": 10,  # seconds; a connection whose peer is gone fails within 25 s
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,  # ms
        "application_name": "xtts-study",
        # Prepared statements belong to a connection to the server, which PgBouncer gives to another client meanwhile:
        # one statement would be run in place of another.
        "prepare_threshold": None,
    }
    arguments: dict[str, Any] = {name: value for name, value in wanted.items() if name not in url.query}
    # All text is Unicode, whatever the database's encoding: from one without any, psycopg would read bytes.
    return arguments | _own_options(url) | {"client_encoding": "utf8"}


def _own_options(url: URL) -> dict[str, Any]:
    """Options of the URL that are no text; libpq reads and checks all others. Raises UserError.

    No value is repeated, and no name where it may be part of a password with a ? or & in it.
    """
    from psycopg import pq

    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | NUMBERS
    may_name = "@" not in str(url.query) and not any(map(is_secret, url.query))
    found: dict[str, Any] = {}
    for name, value in url.query.items():
        option = f"the option {name!r}" if may_name else "an option"
        if name not in known:
            raise UserError(
                f"study.storage has {option} that the database's driver does not know; leave it out, and write a ? or &"
                " of a password as %3F or %26"
            )
        if not isinstance(value, str) and name not in ("host", "port", "options"):
            raise UserError(f"study.storage has {option} more than once; leave one of them")
        if name == "options":
            found[name] = value if isinstance(value, str) else " ".join(value)
        elif name in NUMBERS:
            if not str(value).isdecimal():
                raise UserError(f"study.storage has {option} without a whole number, 0 or above")
            found[name] = int(str(value))
    return found


def _limit(connection: Any, _record: object) -> None:
    """The server ends a transaction whose process was stopped, and with it its locks.

    By a statement: PgBouncer refuses connections that ask for it as they begin.
    """
    connection.autocommit = True
    connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION:.0f}s'")
    connection.autocommit = False


@contextmanager
def connected(url: URL) -> Iterator[Connection]:
    """A connection of its own, in one transaction, closed at the end."""
    engine = create_engine(url, poolclass=NullPool, **engine_arguments(url))
    with engine.begin() as connection:
        yield connection


# Errors


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed later: connection lost, server restarting, full or locked."""
    cause = cause_of(error)
    kinds = (
        sql_errors.OperationalError,
        sql_errors.InterfaceError,
        sql_errors.InternalError,
        sql_errors.PendingRollbackError,
        sql_errors.TimeoutError,  # of the pool
    )
    return isinstance(cause, kinds) or (isinstance(cause, sql_errors.DBAPIError) and cause.connection_invalidated)


def cause_of(error: BaseException | None) -> BaseException | None:
    """SQLAlchemy's error behind one of Optuna's."""
    return error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error


def reason_of(error: BaseException | None, url: str) -> str:
    """The first line of an error, without the password, which a driver may repeat."""
    error = cause_of(error)
    error = getattr(error, "orig", None) or error  # the driver's own words, without SQLAlchemy's around them
    said = without_secrets(str(error).strip() or type(error).__name__, url)
    return said.splitlines()[0].partition(" (Background on this error")[0]


# A server that is starting


def is_away(error: BaseException, url: URL) -> bool:
    """Whether the server accepts no connections now, but may soon: connection refused, starting up, in recovery, full.

    libpq decides (`PQping`): texts of errors depend on the server's language. Only of a server, database or role
    with no connection left, and from PgBouncer, there is nothing but the text. False for a host without an address,
    for which the driver never had a connection; and for a server that accepts connections, only not this one.
    """
    cause = cause_of(error)
    if url.drivername != PSYCOPG or not isinstance(cause, sql_errors.DBAPIError):
        return False
    if getattr(cause.orig, "sqlstate", None) in _ENDED:
        return True
    if not isinstance(cause, sql_errors.OperationalError):
        return False
    from psycopg import Error, errors, pq
    from psycopg.conninfo import make_conninfo

    tried = cause.orig
    if _LATER.search(str(tried)) or cause.connection_invalidated:  # it had answered before
        return True
    if not isinstance(tried, errors.ConnectionTimeout) and (not isinstance(tried, Error) or tried.pgconn is None):
        return False
    _, named = url.get_dialect()().create_connect_args(url)
    # Without encryption: a server that cannot do it answers, too, and is not waited for.
    plain = {"sslmode": "disable", "gssencmode": "disable"}
    arguments = {**named, **connect_arguments(url), **plain}
    arguments.pop("prepare_threshold", None)  # psycopg's own
    conninfo = make_conninfo(**arguments)
    return pq.PGconn.ping(conninfo.encode()) in (pq.Ping.REJECT, pq.Ping.NO_RESPONSE)


def wait_for_server(given: str, seconds: float, note: Callable[[str], None]) -> None:
    """Returns once the server accepts connections, or after an error that waiting does not change.

    Says so in a line before it waits. Raises DatabaseLost after `seconds`.
    """
    url = parse(given)
    until: float | None = None
    while (error := _failure(url)) is not None and is_away(error, url):
        reason = reason_of(error, given)
        if until is None:
            until = time.monotonic() + seconds
            note(f"the database does not accept connections yet ({reason}); waiting for up to {seconds:.0f} s")
        if time.monotonic() >= until:
            raise DatabaseLost(
                f"study.storage {safe_url(given)} did not accept connections within {seconds:.0f} s: {reason}; see that"
                " the server runs, or wait longer with service.start_minutes, then run the same command again"
            ) from error
        time.sleep(ASK_AGAIN)


def _failure(url: URL) -> Exception | None:
    """Why no connection can be made now."""
    try:
        with connected(url):
            return None
    except Exception as error:  # drivers raise their own kinds besides SQLAlchemy's
        return error
