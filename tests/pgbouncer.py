"""PgBouncer before the tests' PostgreSQL: Debian's program in transaction mode, no root, loopback, a free port."""

import os
import shutil
import subprocess

import psycopg
import pytest

from tests.conftest import wait_until
from tests.postgres import ESCAPED, PASSWORD, PATIENCE, Server, free_port

SETTINGS = """[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 1000
idle_transaction_timeout = {idle}
server_login_retry = 1
query_wait_timeout = {wait}
admin_users = xtts
"""


def program() -> str:
    """Skips the test where there is none."""
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
    return found


class Pooler:
    """A running PgBouncer with `size` connections to a database of `server`.

    Args:
        idle: Seconds after which a transaction that does nothing ends.
        wait: Seconds that a transaction waits for a connection.
    """

    def __init__(self, server: Server, size: int, idle: float = 15, wait: float = 120) -> None:
        self.port = free_port()
        self.log = server.directory / f"pgbouncer-{self.port}.txt"
        settings, users = (server.directory / f"pgbouncer-{self.port}.{kind}" for kind in ("ini", "users"))
        users.write_text(f'"xtts" "{PASSWORD}"\n')
        settings.write_text(
            SETTINGS.format(server=server.port, port=self.port, users=users, size=size, idle=idle, wait=wait)
        )
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen([program(), str(settings)], stdout=log, stderr=log, **server.as_user())
        wait_until(self._answers, PATIENCE, "PgBouncer's answer")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            self.ask("SHOW VERSION")
        except psycopg.OperationalError:
            return False
        return True

    def ask(self, question: str) -> list[tuple[object, ...]]:
        """Rows of PgBouncer's own console."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="xtts", password=PASSWORD, dbname="pgbouncer",
            autocommit=True, cursor_factory=psycopg.ClientCursor,
        ) as connection:  # fmt: skip
            return connection.execute(question.encode()).fetchall()

    def url(self, database: str) -> str:
        """Of the database that the server's own URL `database` names, through the pool."""
        return f"postgresql://xtts:{ESCAPED}@127.0.0.1:{self.port}/{database.rpartition('/')[2]}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
