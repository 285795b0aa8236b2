"""Databases that open, and all that does not: refused in one line that says why, without the password."""

import os
import signal
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from search.commands import check
from search.errors import UserError
from search.settings.settings import Settings, load
from search.study import storage
from search.study.folder import refuse_closed
from search.study.server import DatabaseLost, connected, is_away, parse, wait_for_server
from search.workers import session
from search.workers.events import View
from tests.conftest import as_another_user
from tests.postgres import PASSWORD, Server
from tests.test_storage import begun, miniature, refusal


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgres://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg2://u@h/d", "postgresql+psycopg"),
        ("sqlite:///study.db", "sqlite"),
    ],
)
def test_plain_postgresql_means_psycopg_3(url: str, dialect: str) -> None:
    assert storage.parse(url).drivername == dialect


def at(folder: Path, url: str) -> Settings:
    return miniature(folder, {"study.storage": url})


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "url", ["postgres://reader:hunter2@127.0.0.1:{port}/db", "postgresql://reader@127.0.0.1:{port}/db?password=hunter2"]
)
def test_a_server_that_is_away_is_said_in_one_line_and_may_be_tried_again(
    tmp_path: Path, url: str, closed_port: int
) -> None:
    given = url.format(port=closed_port)
    for action, argument in ((storage.exists, at(tmp_path, given)), (storage.open_storage, given)):
        with pytest.raises(DatabaseLost) as caught:
            action(argument)
        message = str(caught.value)
        assert f"127.0.0.1:{closed_port}/db" in message and " cannot be reached: " in message
        assert "Connection refused" in message and "\n" not in message and "hunter2" not in message
        assert caught.value.exit_code == 75


NEVER = [
    ({"password": "hunter2"}, 'password authentication failed for user "xtts"'),
    ({"database": "nowhere"}, 'database "nowhere" does not exist'),
    ({"host": "nowhere.invalid"}, "failed to resolve host 'nowhere.invalid'"),
]


def changed(server: Server, change: dict[str, str]) -> str:
    return make_url(server.url("postgres")).set(**change).render_as_string(hide_password=False)


@pytest.mark.parametrize(("change", "reason"), NEVER)
def test_what_waiting_does_not_change_is_refused_at_once(
    tmp_path: Path, server: Server, change: dict[str, str], reason: str
) -> None:
    url = changed(server, change)
    wait_for_server(url, 3600, unexpected)
    message = refusal(storage.exists, at(tmp_path, url))
    assert reason in message
    assert message.endswith("; check host, port, name and password")


def unexpected(*given: object) -> None:
    raise AssertionError(given)


@pytest.mark.parametrize(
    ("url", "content", "message"),
    [
        ("sqlite:///{}/file/study.db", b"", "file/study.db cannot be opened"),
        ("sqlite:///{}/file", b"not a database " * 100, "cannot be opened: file is not a database"),
        ("mysql+mysqldb://reader:hunter2@127.0.0.1/db", b"", "needs the Python package MySQLdb"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(tmp_path: Path, url: str, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    assert message in refusal(storage.open_storage, url.format(tmp_path))


def test_many_that_meet_at_an_empty_server_all_get_in(server: Server) -> None:
    url = server.empty_database()
    with ThreadPoolExecutor(6) as threads:
        opened = [call.result() for call in [threads.submit(storage.open_storage, url) for _ in range(6)]]
    assert [found.get_all_studies() for found in opened] == [[]] * 6
    for found in opened:
        found.engine.dispose()


def test_who_is_stopped_while_it_makes_tables_keeps_nobody_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # Long enough for the peer's own transaction on a busy machine.
    monkeypatch.setattr("search.study.server.IDLE_IN_TRANSACTION", 5.0)
    url = server.empty_database()
    with ThreadPoolExecutor(1) as threads, suppress(SQLAlchemyError), storage.alone(storage.parse(url)):
        peer = threads.submit(storage.open_storage, url)
        wait([peer], timeout=60)
        entered = peer.done()
        server.end_connections()
    assert entered
    peer.result().engine.dispose()


# A server that is starting


def test_a_server_that_restarts_is_waited_for(server: Server, database: str, tmp_path: Path) -> None:
    """Down at the first look; then it starts up, after a crash, while the search asks."""
    server.stop(signal.SIGQUIT)
    told: list[str] = []

    def note(line: str) -> None:
        told.append(line)
        server.start()

    wait_for_server(database, 3600, note)
    assert len(told) == 1
    assert "the database does not accept connections yet (" in told[0]
    assert told[0].endswith("); waiting for up to 3600 s") and PASSWORD not in told[0]
    assert not storage.exists(at(tmp_path, database))


def test_a_server_that_stays_away_is_given_up(closed_port: int) -> None:
    told: list[str] = []
    with pytest.raises(DatabaseLost, match=r"did not accept connections within 0 s: .*service.start_minutes") as caught:
        wait_for_server(f"postgresql://reader:hunter2@127.0.0.1:{closed_port}/db", 0, told.append)
    assert len(told) == 1
    assert "hunter2" not in str(caught.value) + told[0]
    assert caught.value.exit_code == 75


def test_a_role_that_has_no_connection_left_may_be_tried_again(server: Server) -> None:
    limited = ["CREATE ROLE {role} LOGIN CONNECTION LIMIT 0 PASSWORD 'hunter2'"]
    url = role_of(server.empty_database(), "limited", limited)
    with pytest.raises(DatabaseLost, match=r"too many connections for role") as caught:
        storage.open_storage(url)
    assert "hunter2" not in str(caught.value) and caught.value.exit_code == 75


# Schemas and rights


Execute = Callable[..., list[tuple[Any, ...]]]


def executing(url: str) -> Execute:
    """Statements of an administrator."""

    def execute(statement: str) -> list[tuple[Any, ...]]:
        with connected(storage.parse(url)) as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    return execute


def tables(execute: Execute, url: str) -> list[tuple[Any, ...]]:
    if url.startswith("sqlite"):
        return execute("SELECT name, sql FROM sqlite_master ORDER BY name")
    return execute("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'")


@pytest.mark.parametrize(
    ("version", "parts"),
    [
        ("v3.0.0.d", ["tables of an older Optuna (schema v3.0.0.d", "back the database up", "optuna storage upgrade"]),
        ("v99.0.0.a", ["another, probably newer, Optuna (schema v99.0.0.a", "use the release of xtts-study that made"]),
    ],
)
def test_tables_of_another_optuna_are_refused_and_left_as_they_are(
    either: str, tmp_path: Path, version: str, parts: list[str]
) -> None:
    storage.open_storage(either).engine.dispose()
    execute = executing(either)
    execute(f"UPDATE alembic_version SET version_num = '{version}'")
    execute("DROP TABLE trial_heartbeats")  # what Optuna would make anew
    before = tables(execute, either)
    settings = miniature(tmp_path, {"study.storage": either})
    for action, argument in (
        (storage.open_storage, either),
        (storage.exists, settings),
        (storage.load_study, settings),
    ):
        message = refusal(action, argument)
        assert all(part in message for part in [*parts, "docs/operations.md"]), message
    assert tables(execute, either) == before
    assert execute("SELECT version_num FROM alembic_version") == [(version,)]


# What a search will need is tried before any work

CLOSED = ["CREATE ROLE {role} LOGIN PASSWORD 'hunter2'", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"]
UNUSABLE = [
    (CLOSED, {}, "permission denied for schema public; let its user create tables and write to them"),
    ([], {"options": "-csearch_path=nowhere"}, "no schema has been selected to create in; create the schema"),
    ([], {"options": "-cdefault_transaction_read_only=on"}, "in a read-only transaction; name the primary server"),
    ([], {"prepare_threshold": "often"}, "the option 'prepare_threshold' without a whole number, 0 or above"),
    ([], {"connect_timeout": ("3", "4")}, "has the option 'connect_timeout' more than once"),
    ([], {"options": "-cstatement_timeout=1"}, "; lift the statement_timeout of its user"),
    ([], {"hunter2": "1", "user": "me@host"}, "has an option that the database's driver does not know"),
]


@pytest.mark.parametrize(("statements", "options", "words"), UNUSABLE)
def test_what_a_search_will_need_is_tried_before_any_work(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    statements: list[str],
    options: dict[str, Any],
    words: str,
) -> None:
    empty = server.empty_database()
    url = role_of(empty, f"closed_{make_url(empty).database}", statements) if statements else empty
    given = make_url(url).update_query_dict(options).render_as_string(hide_password=False)
    monkeypatch.setattr(session, "Launcher", unexpected)
    settings = load(None, {"study.storage": given, "study.directory": str(tmp_path)})
    line = refusal(session.search, settings, View())
    assert words in line
    (finding,) = check.storage_findings(settings)
    assert (finding.level, finding.message) == ("error", line)
    assert tables(executing(empty), empty) == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "threshold", "shown"),
    [
        (
            {"prepare_threshold": "0", "connect_timeout": "3", "client_encoding": "latin1"},
            0,
            {"client_encoding": "UTF8"},
        ),
        ({"options": ("-csearch_path=mine", "-c work_mem=5MB")}, None, {"search_path": "mine", "work_mem": "5MB"}),
    ],
)
def test_options_of_the_url_reach_the_driver_as_what_they_are(
    server: Server, tmp_path: Path, options: dict[str, Any], threshold: int | None, shown: dict[str, str]
) -> None:
    """Over a database without an encoding, whose text a driver may take for bytes."""
    empty = server.empty_database("SQL_ASCII")
    executing(empty)("CREATE SCHEMA mine")
    url = make_url(empty).update_query_dict(options).render_as_string(hide_password=False)
    settings = miniature(tmp_path, {"study.storage": url})
    assert not storage.try_out(settings)
    opened = begun(settings)[1]._storage
    with opened.engine.connect() as connection:
        assert connection.connection.dbapi_connection.prepare_threshold == threshold  # type: ignore[union-attr]
        assert {name: connection.scalar(text(f"SHOW {name}")) for name in shown} == shown
    opened.engine.dispose()
    assert storage.load_study(settings).trials[0].user_attrs["baseline"] == "V0" and storage.try_out(settings)
    schema = shown.get("search_path", "public")
    found = executing(empty)("SELECT table_schema FROM information_schema.tables WHERE table_name = 'studies'")
    assert found == [(schema,)]


def test_texts_outlive_a_database_without_their_letters(server: Server, tmp_path: Path) -> None:
    settings = miniature(tmp_path, {"study.storage": server.empty_database("LATIN1")})
    begun(settings)[0].set_user_attr("text", "ሰላም")
    assert storage.load_study(settings).user_attrs["text"] == "ሰላም"


def test_a_closed_folder_or_file_is_refused_before_any_work() -> None:
    with tempfile.TemporaryDirectory() as closed, tempfile.TemporaryDirectory() as other:
        os.chmod(closed, 0o555)
        os.chmod(other, 0o777)  # pytest's own are closed to other users
        where = {"study.directory": "{}/new", "study.artifacts": "{}/new", "study.storage": "sqlite:///{}/study.db"}
        for field, place in where.items():
            settings = load(None, {"study.directory": other, field: place.format(closed)})
            assert as_another_user(lambda settings=settings, field=field: refuses(settings, field))  # type: ignore[misc]
        url = f"sqlite:///{other}/study.db"
        storage.open_storage(url).engine.dispose()
        os.chmod(f"{other}/study.db", 0o444)
        settings = load(None, {"study.directory": other, "study.storage": url})
        assert as_another_user(lambda: "readonly database" in refusal(storage.try_out, settings))


def refuses(settings: Settings, field: str) -> bool:
    try:
        refuse_closed(settings)
    except UserError as error:
        return str(error).startswith(f"{field} ") and "may not be written to; name another folder" in str(error)
    return False


READER = ["CREATE ROLE {role} LOGIN PASSWORD 'hunter2'", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"]


def role_of(database: str, role: str, statements: list[str]) -> str:
    """The URL of `database` for a new role."""
    execute = executing(database)
    for statement in statements:
        execute(statement.format(role=role))
    return make_url(database).set(username=role, password="hunter2").render_as_string(hide_password=False)


def test_who_may_only_read_reads_and_cannot_search(database: str, tmp_path: Path) -> None:
    begun(miniature(tmp_path, {"study.storage": database}))
    url = role_of(database, f"reader_{make_url(database).database}", READER)
    settings = miniature(tmp_path, {"study.storage": url})
    assert len(storage.load_study(settings).trials) == 3
    for changed in (settings, miniature(tmp_path, {"study.storage": url, "study.name": "other"})):
        message = refusal(begun, changed)
        assert "permission denied for table" in message
        assert message.endswith("; its user must own Optuna's tables, see docs/operations.md")


def test_who_has_no_rights_is_refused_in_one_line(database: str) -> None:
    url = role_of(database, f"stranger_{make_url(database).database}", READER[:1])
    assert "permission denied for table" in refusal(storage.open_storage, url)


def test_a_look_at_an_empty_server_creates_nothing(server: Server, tmp_path: Path) -> None:
    url = server.empty_database()
    assert not storage.exists(miniature(tmp_path, {"study.storage": url}))
    assert tables(executing(url), url) == []


@pytest.mark.parametrize("ended", [psycopg.errors.AdminShutdown, psycopg.errors.IdleInTransactionSessionTimeout])
def test_a_connection_that_the_server_ended_may_be_tried_again(ended: type[psycopg.Error]) -> None:
    """Also of a process that was stopped in a transaction, which psycopg calls an internal error."""
    url = parse("postgresql://h/d")
    assert is_away(DBAPIError("", {}, ended("gone")), url)
    other = psycopg.errors.UndefinedTable("none")
    assert not is_away(DBAPIError("", {}, other), url)
