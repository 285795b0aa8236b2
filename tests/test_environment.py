"""The set-up of `make` with Pythons that fit or not: one line, and nothing half made."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOO_NEW = '#!/bin/sh\ncase "$*" in *platform*) echo 3.14.0;; *) exit 1;; esac\n'
NO_VENV = '#!/bin/sh\ncase "$*" in *venv*) echo "ensurepip is not available"; exit 1;; *) exit 0;; esac\n'
FITS = '#!/bin/sh\ncase "$*" in *venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;; esac\n'
NEEDS = "xtts-study needs Python 3.11, 3.12 or 3.13"


@pytest.mark.parametrize("extra", ["ja", "zh", "database"])
def test_packages_of_an_extra_are_locked_by_hashes_and_beside_the_others(extra: str) -> None:
    """No address is pinned, and no package that a search has is asked for in another version."""
    folder = ROOT / "requirements"
    text = (folder / f"{extra}.txt").read_text(encoding="ascii")
    assert "://" not in text
    pins, runtime = (
        dict(re.findall(r"^(\S+)==(\S+).*\\\n +--hash=sha256:", content, re.MULTILINE))
        for content in (text, (folder / "runtime.txt").read_text(encoding="ascii"))
    )
    assert len(pins) == text.count("==") > 0
    assert {name: runtime[name] for name in pins.keys() & runtime.keys()}.items() <= pins.items()
    command = ["make", "--dry-run", "--always-make", "study", f"EXTRAS={extra}"]
    planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"--require-hashes -r requirements/{extra}.txt" in planned


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
        (FITS, False, []),
        (NO_VENV, False, ["python3 cannot make a virtual environment; on Debian and Ubuntu install python3-venv"]),
    ],
)
def test_a_python_is_taken_or_refused(tmp_path: Path, python: str, named: bool, expected: list[str]) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").write_text(python, encoding="ascii")
    (programs / "python3").chmod(0o755)
    for name in ("sh", "rm", "mkdir", "cp"):
        (programs / name).symlink_to(f"/bin/{name}")
    environment = {"PATH": str(programs), "PYTHON": "python3" if named else ""}
    done = subprocess.run(
        ["sh", str(ROOT / "requirements" / "venv.sh")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.splitlines() == expected
    assert done.returncode == (2 if expected else 0)
    assert (tmp_path / ".venv").exists() == (not expected)
