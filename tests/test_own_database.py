"""`study.py database`: real programs, a real user without rights, TLS on an address that is not loopback."""

import ipaddress
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from search.errors import UserError
from search.tools import own_database, postgres_programs
from tests.conftest import ROOT, wait_until
from tests.machines import Machine, Study
from tests.postgres import PATIENCE, Server, free_port

Start = Callable[..., Machine]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that any user may enter, as pytest's own is not."""
    made = Path(tempfile.mkdtemp(prefix="xtts-study-database-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def start(server: Server, folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts `study.py database` without root's rights, in `folder` / "own" if no other is named."""
    started: list[Machine] = []

    def make(*arguments: str, directory: str = "own") -> Machine:
        command = ["-m", "tests.unprivileged", "--directory", str(folder / directory), *arguments]
        programs = f"{server.programs}:{os.environ['PATH']}"
        started.append(Machine(command, tmp_path, PATH=programs, PYTHONDONTWRITEBYTECODE="1"))
        return started[-1]

    yield make
    for machine in started:
        if machine.process.poll() is None:
            machine.process.terminate()
            machine.process.wait(PATIENCE)


def address() -> str:
    """One of this machine that is not loopback, or all of them."""
    found = [a.address for card in psutil.net_if_addrs().values() for a in card if a.family == socket.AF_INET]
    return next((a for a in found if not ipaddress.ip_address(a).is_loopback), "0.0.0.0")


def url_in(output: str) -> str:
    """As printed for the other machines."""
    url = re.findall(r"--storage '?(\S+?)'?$", output, re.MULTILINE)[0]
    return re.sub(r"@[^/]*:", "@127.0.0.1:", url) if address() == "0.0.0.0" else url


def connect(url: str, change: str = "", **options: str) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(re.sub("sslmode=[^&]*", change, url) if change else url, autocommit=True, **options)


def test_a_study_is_searched_over_tls_and_is_there_after_a_restart(
    server: Server, start: Start, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not postgres_programs.has_tls(server.programs):
        pytest.skip("this machine's PostgreSQL was built without TLS")
    given = ("--listen", address(), "--port", str(free_port()))
    database = start(*given)
    database.wait_for("scp -p")
    url, own = url_in(database.output), folder / "own"
    monkeypatch.setenv("PGPASSFILE", str(own / "pgpass"))
    password = (own / "pgpass").read_text().strip().rpartition(":")[2]
    assert [stat.S_IMODE((own / name).stat().st_mode) for name in ("pgpass", "server.key", "data", "")] == [
        0o600, 0o600, 0o700, 0o700,
    ]  # fmt: skip
    with Study(url, tmp_path, trials=6) as study:
        study.start("a", slots=2, seconds=0.01).wait()
        study.assert_exact()
        assert study.sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [(True,)]
        assert study.sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]

        # Who may not connect: without encryption, to another server, without the password, as the superuser.
        other = folder / "other.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=xtts-study", "-out", str(other),
             "-keyout", str(folder / "other.key")],
            check=True, capture_output=True,
        )  # fmt: skip
        for change, options, part in (
            ("sslmode=disable", {}, "no pg_hba.conf entry"),
            ("", {"sslrootcert": str(other)}, "certificate verify failed"),
            ("", {"password": "wrong"}, "password authentication failed"),
            ("", {"user": "postgres", "password": password}, "no pg_hba.conf entry"),
        ):
            with pytest.raises(psycopg.OperationalError, match=part):
                connect(url, change, **options)

        # In order though a client is connected; then all is as before.
        database.send(signal.SIGTERM)
        database.wait(code=130)
        assert "database system is shut down" in (own / "log.txt").read_text()
        again = start(*given)
        again.wait_for("scp -p")
        assert url_in(again.output) == url
        study.assert_exact()

        # A server whose guard was killed keeps its folder.
        again.process.kill()
        again.process.wait()
        refused = start(*given)
        refused.wait(code=2)
        pid = int(re.findall(rf"a server runs in {own}; kill -INT (\d+) stops it", refused.output)[0])
        os.kill(pid, signal.SIGINT)
        wait_until(lambda: not psutil.pid_exists(pid), PATIENCE, "the server's end")
    assert not [machine for machine in (database, again, refused) if password in machine.output]


def test_on_loopback_it_needs_no_certificate_and_a_lost_password_is_made_anew(
    start: Start, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = str(free_port())
    passwords = []
    for _ in range(2):
        database = start("--port", port)
        database.wait_for("For other machines")
        monkeypatch.setenv("PGPASSFILE", str(folder / "own" / "pgpass"))
        url = url_in(database.output)
        assert url == f"postgresql://xtts@127.0.0.1:{port}/xtts"
        with connect(url) as connection:
            assert connection.execute("SHOW ssl").fetchone() == ("off",)
        database.send(signal.SIGINT)
        database.wait(code=130)
        passwords.append((folder / "own" / "pgpass").read_text())
        (folder / "own" / "pgpass").unlink()
    assert passwords[0] != passwords[1]


def test_a_port_in_use_is_refused_and_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 cannot be used: Address already in use; name"):
            own_database.serve(tmp_path / "own", "127.0.0.1", port, lambda *_: None)
    assert not (tmp_path / "own").exists()


def stand_in(folder: Path, name: str, release: str) -> Path:
    """A folder with programs that only say their release, and that they cannot encrypt."""
    made = folder / name
    made.mkdir()
    (made / "initdb").touch()
    script = f'#!/bin/sh\ncase "$*" in --version) echo "postgres (PostgreSQL) {release}";; *) echo;; esac\n'
    (made / "postgres").write_text(script)
    (made / "postgres").chmod(0o755)
    return made


@pytest.mark.parametrize(
    ("listen", "there", "parts"),
    [
        ("127.0.0.1", [], ["initdb and postgres are not on this machine", "package postgresql", "EXTRAS=database"]),
        ("127.0.0.1", ["17.2"], ["was made by PostgreSQL 16, and this machine has 17", "--directory"]),
        ("0.0.0.0", ["17.2", "16.4"], ["cannot encrypt", "on loopback only, not on 0.0.0.0", "ssh -L {port}:"]),
        ("198.51.100.7", ["16.4"], ["port {port} of 198.51.100.7 cannot be used", "--listen"]),
        ("", ["16.4"], ["port {port} of  cannot be used", "--listen"]),
    ],
    ids=["no programs", "another release", "no TLS", "another machine's address", "an empty one"],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: str, there: list[str], parts: list[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = [stand_in(tmp_path, f"programs-{release}", release) for release in there]
    monkeypatch.setattr(postgres_programs, "folders", lambda: found)
    data = tmp_path / "own" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")
    port = free_port()
    with pytest.raises(UserError) as caught:
        own_database.serve(data.parent, listen, port, lambda *_: None)
    line = str(caught.value)
    assert all(part.format(port=port) in line for part in parts), line
    assert "\n" not in line and not (data.parent / "lock").exists()


def test_a_folder_with_other_files_root_and_a_closed_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700 if os.geteuid() == 0 else 0o000)
    refused = subprocess.run(
        [sys.executable, "-m", "tests.unprivileged", "--directory", str(closed / "own")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "cannot be used: Permission denied; name another folder" in refused.stderr
    closed.rmdir()
    (tmp_path / "thesis.txt").touch()
    port = free_port()
    for user, part in ((0, "does not run as root"), (1000, "has other files")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(UserError, match=part):
            own_database.serve(tmp_path, "127.0.0.1", port, lambda *_: None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
