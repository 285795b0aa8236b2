"""A PostgreSQL server of the user's own in a folder: made at first use, served in the foreground, stopped in order."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import IO
from urllib.parse import quote

from psycopg import pq
from psycopg.conninfo import make_conninfo

from search.errors import TryAgain, UserError
from search.files import is_locked, lock
from search.text import printable, shown
from search.tools import postgres_programs
from search.tools.database_folder import NAME, Folder, prepare

ANY = ("0.0.0.0", "::", "*")
ASK_AGAIN = 0.1  # seconds between two looks at a server that is starting


class Address:
    """Where the server answers. Raises UserError for what is no address of this machine, and for a port in use."""

    def __init__(self, listen: str, port: int) -> None:
        self.listen, self.port = listen, port
        try:
            if not listen:
                raise UnicodeError
            found = socket.getaddrinfo(None if listen == "*" else listen, port, type=socket.SOCK_STREAM)
            for family, kind, protocol, _, place in found:
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
                    probe.bind(place)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no name of a host"
            raise UserError(
                f"port {port} of {printable(listen)} cannot be used: {why}; name another with --port, or an address"
                " of this machine with --listen"
            ) from error
        self.is_local = listen not in ANY and all(ip_address(place[0]).is_loopback for *_, place in found)

    @property
    def here(self) -> str:
        """The host under which this machine reaches it."""
        return "127.0.0.1" if self.listen in ANY else self.listen

    def url(self, certificate: Path) -> str:
        """For `--storage` on any machine that reaches it. Without a password.

        The certificate is its own authority, so `verify-ca` admits no other server, by whatever name this one is
        reached.
        """
        host = socket.getfqdn() if self.listen in ANY else self.listen
        url = f"postgresql://{NAME}@{f'[{host}]' if ':' in host else host}:{self.port}/{NAME}"
        return url if self.is_local else f"{url}?sslmode=verify-ca&sslrootcert={quote(str(certificate))}"


def serve(path: Path, listen: str, port: int, ready: Callable[[Folder, Address, str], None]) -> None:
    """Serves the database in `path`, which is made if it is not there, until a signal; ends with KeyboardInterrupt.

    `ready` is called once it answers, with the server's release. Raises UserError, and TryAgain when the server ends by
    itself.
    """
    if os.geteuid() == 0:
        raise UserError("PostgreSQL does not run as root; run the same command as another user")
    folder = Folder(path)
    _refuse_used(folder)
    address = Address(listen, port)
    programs = postgres_programs.programs_for(folder.data)
    if not address.is_local:
        _refuse_without_tls(programs, listen, port)
    with _held(folder) as held, _stopped_by_signals():
        prepare(folder, programs, not address.is_local)
        with _running(folder, programs, address, held) as server:
            _wait_until_ready(server, folder, address)
            ready(folder, address, postgres_programs.release(programs))
            code = server.wait()
    raise TryAgain(f"PostgreSQL ended with code {code}: {_last_words(folder)}; the same command starts it again")


@contextmanager
def _usable(folder: Folder) -> Iterator[None]:
    """Raises UserError for what the file system refuses within the block."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{shown(folder.path)} cannot be used: {error.strerror}; name another folder with --directory"
        ) from error


def _refuse_used(folder: Folder) -> None:
    """Raises UserError for a folder that has a running server, or something else."""
    with _usable(folder):
        if is_locked(folder.lock):
            raise _in_use(folder)
        there = {entry.name for entry in folder.path.iterdir()} if folder.path.exists() else set()
    # A first start that was killed leaves a hidden folder.
    if "data" not in there and any(name != "lock" and not name.startswith(".data.") for name in there):
        raise UserError(f"{shown(folder.path)} has other files; name a new folder with --directory")


def _in_use(folder: Folder) -> UserError:
    known = folder.data / "postmaster.pid"
    hint = f"kill -INT {known.read_text().partition(chr(10))[0]} stops it" if known.exists() else "wait for its end"
    return UserError(f"a server runs in {shown(folder.path)}; {hint}, or name another folder with --directory")


def _refuse_without_tls(programs: Path, listen: str, port: int) -> None:
    """Raises UserError where a server for other machines could not encrypt, or no certificate can be made."""
    if not postgres_programs.has_tls(programs):
        raise UserError(
            f"the PostgreSQL in {programs} cannot encrypt, so it answers on loopback only, not on {printable(listen)};"
            " put one that can on PATH (Debian's package postgresql, or conda-forge's), or reach it from the others by"
            f" ssh -L {port}:127.0.0.1:{port} USER@THIS-MACHINE"
        )
    if shutil.which("openssl") is None:
        raise UserError("the program openssl, which makes the certificate, is missing; install the package openssl")


@contextmanager
def _held(folder: Folder) -> Iterator[IO[str]]:
    """The folder, made if need be, and locked against a second server. Raises UserError."""
    with _usable(folder):
        folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            held = lock(folder.lock)
        except BlockingIOError as error:
            raise _in_use(folder) from error
    with held:
        yield held


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM, and the end of the terminal unless nohup ignores it, are as Ctrl-C."""
    signals = [signal.SIGTERM, signal.SIGHUP]
    before = {n: signal.getsignal(n) for n in signals if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _running(folder: Folder, programs: Path, address: Address, held: IO[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """The server, in a session of its own, which the terminal's Ctrl-C does not reach; stopped when the block ends.

    It inherits the folder's lock, and so keeps it should this process be killed.
    """
    wanted = {
        "listen_addresses": address.listen,
        "port": str(address.port),
        "unix_socket_directories": "",
        **({} if address.is_local else {"ssl": "on"}),
        "ssl_cert_file": str(folder.certificate),
        "ssl_key_file": str(folder.key),
    }
    options = [word for name, value in wanted.items() for word in ("-c", f"{name}={value}")]
    with open(folder.log, "wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder.data, *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[held.fileno()],
        )  # fmt: skip
    try:
        yield server
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the stop is under way
        with suppress(ProcessLookupError):
            server.send_signal(signal.SIGINT)  # PostgreSQL's "fast" stop: it waits for no client
        server.wait()


def _wait_until_ready(server: "subprocess.Popen[bytes]", folder: Folder, address: Address) -> None:
    # It answers, even if only to say that nobody may connect without encryption.
    asked = make_conninfo(host=address.here, port=address.port, connect_timeout=2, sslmode="disable").encode()
    while pq.PGconn.ping(asked) != pq.Ping.OK:
        if server.poll() is not None:
            raise UserError(f"PostgreSQL does not start: {_last_words(folder)}; see {shown(folder.log)}")
        time.sleep(ASK_AGAIN)


def _last_words(folder: Folder) -> str:
    """The last complaint in the server's log, or its last line."""
    lines = folder.log.read_text(encoding="utf-8", errors="replace").splitlines()
    fatal = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
    return printable((fatal or lines or ["it said nothing"])[-1])
