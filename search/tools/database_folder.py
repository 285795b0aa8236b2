"""What a database of one's own has in its folder, and how it is made: data, password, certificate, who may connect."""

import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

from search.errors import UserError
from search.files import whole_folder

NAME = "xtts"  # of the user, who is no superuser, and of the database
MAX_CONNECTIONS = 300  # 3 for a search; PostgreSQL's default of 100 serves 32 of them
DAYS = 3650  # that the certificate is valid


class Folder:
    """Where a database of one's own lies."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.data = self.path / "data"
        self.passfile = self.path / "pgpass"
        self.certificate = self.path / "server.crt"
        self.key = self.path / "server.key"
        self.log = self.path / "log.txt"
        self.lock = self.path / "lock"


def prepare(folder: Folder, programs: Path, encrypted: bool) -> None:
    """Makes what is missing: the database, a password for its user, a certificate; and says who may connect."""
    if not folder.data.exists():
        with whole_folder(folder.data) as data:
            _initialise(data, programs)
    folder.data.chmod(0o700)  # PostgreSQL's condition
    if not folder.passfile.exists():
        password = secrets.token_urlsafe(32)
        _execute(folder.data, programs, f"ALTER ROLE {NAME} PASSWORD '{password}'")
        _write_private(folder.passfile, f"*:*:{NAME}:{NAME}:{password}\n")
    if encrypted and not (folder.certificate.exists() and folder.key.exists()):
        _certify(folder)
    kind = "hostssl" if encrypted else "host"
    (folder.data / "pg_hba.conf").write_text(f"{kind} {NAME} {NAME} all scram-sha-256\n", encoding="utf-8")


def _initialise(data: Path, programs: Path) -> None:
    """A database without a network yet. Its superuser can never connect: `pg_hba.conf` admits one user, who is none."""
    made = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "reject", "-E", "UTF8", "--locale=C"]
    _run(made, "")
    with open(data / "postgresql.conf", "a", encoding="utf-8") as file:
        file.write(f"\nmax_connections = {MAX_CONNECTIONS}\n")
    _execute(data, programs, f"CREATE ROLE {NAME} LOGIN")
    _execute(data, programs, f"CREATE DATABASE {NAME} OWNER {NAME}")


def _execute(data: Path, programs: Path, statement: str) -> None:
    """One statement in PostgreSQL's single-user mode; it comes from stdin and is not logged: it may have a password."""
    quiet = ["-c", "log_min_error_statement=panic", "-c", "log_statement=none", "-c", "exit_on_error=on"]
    _run([str(programs / "postgres"), "--single", *quiet, "-D", str(data), "postgres"], statement + "\n")


def _certify(folder: Folder) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-days", str(DAYS), "-subj", f"/CN={NAME}-study"]
    made += ["-keyout", str(folder.key), "-out", str(folder.certificate)]
    _write_private(folder.key, "")
    _run(made, "")


def _write_private(path: Path, text: str) -> None:
    """A file that only its owner may read, from its first byte on; it is there whole or not at all."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.rename(path)


def _run(command: Sequence[str], said: str) -> None:
    """Raises UserError with the last line of a program that fails."""
    done = subprocess.run(command, input=said, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise UserError(
            f"{Path(command[0]).name} ended with code {done.returncode}: {last[0]}; correct it, then run again"
        )
