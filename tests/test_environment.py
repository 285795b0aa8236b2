"""The set-up of `make` with Pythons that do not fit: one line, and nothing half made."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOO_NEW = '#!/bin/sh\ncase "$*" in *platform*) echo 3.14.0;; *) exit 1;; esac\n'
NO_VENV = '#!/bin/sh\ncase "$*" in *venv*) echo "ensurepip is not available"; exit 1;; *) exit 0;; esac\n'
NEEDS = "xtts-study needs Python 3.11, 3.12 or 3.13"


@pytest.mark.parametrize(
    ("python", "named", "expected"),
    [
        (TOO_NEW, True, [f"PYTHON=python3 is 3.14.0; {NEEDS}"]),
        (
            TOO_NEW,
            False,
            [
                f"{NEEDS}; python3 is 3.14.0: trying to download Python 3.13",
                "no Python 3.13 could be downloaded (.venv.log says why); name one with PYTHON=python3.13",
            ],
        ),
        (NO_VENV, False, ["python3 cannot make a virtual environment; on Debian and Ubuntu install python3-venv"]),
    ],
)
def test_a_python_that_does_not_fit(tmp_path: Path, python: str, named: bool, expected: list[str]) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").write_text(python, encoding="ascii")
    (programs / "python3").chmod(0o755)
    for name in ("sh", "rm"):
        (programs / name).symlink_to(f"/bin/{name}")
    environment = {"PATH": str(programs), "PYTHON": "python3" if named else ""}
    done = subprocess.run(
        ["sh", str(ROOT / "requirements" / "venv.sh")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.splitlines() == expected
    assert done.returncode == 2
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_fits_is_taken(tmp_path: Path) -> None:
    """Only which one: the installation of uv, which needs the network, is what fails here."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    script = ROOT / "requirements" / "venv.sh"
    subprocess.run(["sh", str(script)], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (tmp_path / ".venv" / "bin" / "python").exists()
