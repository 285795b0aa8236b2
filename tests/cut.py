"""Cuts a storage's connection to PostgreSQL at a chosen moment of its transaction."""

from collections.abc import Callable
from typing import Any, Self

import psycopg
from sqlalchemy import event

from search.study.database import StudyStorage
from tests.postgres import Server


class Cut:
    """As a context, cuts the connection in use once: at the `moment`-th, from 0, of all these moments in their order.

    Before each statement and before each commit the server ends the connection; after each commit the server has
    committed, and its answer is lost.

    Args:
        meanwhile: What peers do before this storage tries again.
    """

    def __init__(
        self, storage: StudyStorage, server: Server, moment: int, meanwhile: Callable[[], Any] = lambda: None
    ) -> None:
        self._engine = storage.engine
        self._server = server
        self._left = moment
        self._meanwhile = meanwhile
        self.happened = False

    def __enter__(self) -> Self:
        self._do_commit = self._engine.dialect.do_commit
        self._engine.dialect.do_commit = self._commit  # type: ignore[method-assign]
        event.listen(self._engine, "before_cursor_execute", self._before_statement)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._before_statement)
        del self._engine.dialect.do_commit  # the class's own shows again

    def _before_statement(self, connection: Any, *_: Any) -> None:
        if self._is_now():
            self._end(connection.connection)

    def _commit(self, connection: Any) -> None:
        if self._is_now():
            self._end(connection)
        self._do_commit(connection)
        if self._is_now():
            connection.dbapi_connection.close()
            self._meanwhile()
            raise psycopg.OperationalError("the answer to COMMIT was lost")

    def _is_now(self) -> bool:
        self._left -= 1
        self.happened = self.happened or self._left == -1
        return self._left == -1

    def _end(self, connection: Any) -> None:
        pid = connection.dbapi_connection.info.backend_pid
        with self._server.connect("postgres") as administrator:
            ended = administrator.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
            assert ended.fetchone() == (True,)
        self._meanwhile()
