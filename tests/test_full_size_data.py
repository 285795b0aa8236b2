"""Real speech of a language that XTTS does not know, on a base of XTTS-v2's size: `make test-full`.

Mboshi: Godard et al., "A Very Low Resource Language Speech Corpus for Computational Language Documentation
Experiments", arXiv 1710.03501.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search.preparation.places import locate
from search.settings.settings import load
from tests.conftest import ROOT
from tests.full_size import write_full_size_base
from tests.test_full_size import SPACE, run

MBOSHI = (ROOT.parent / "shared" / "data" / "mboshi").resolve()

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not MBOSHI.is_dir(), reason="the recordings are not on this machine"),
]


@pytest.fixture(scope="module")
def folder(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, of full size with random weights, and settings for all of Mboshi and for a little of it."""
    folder = tmp_path_factory.mktemp("full")
    (folder / "base").mkdir()
    write_full_size_base(locate(load(None, {}), cache, lambda _: None)[1], folder / "base")
    (folder / "space.toml").write_text(SPACE)
    (folder / "little").mkdir()
    (folder / "little" / "clips").symlink_to(MBOSHI / "clips")
    for name, count in (("train.csv", 24), ("eval.csv", 5)):
        lines = (MBOSHI / name).read_text(encoding="utf-8").splitlines()
        (folder / "little" / name).write_text("\n".join(lines[: count + 1]) + "\n", encoding="utf-8")
    for name, data in (("all", MBOSHI), ("little", "little")):
        (folder / f"{name}.toml").write_text(
            f'[study]\nname = "{name}"\n[data]\npath = "{data}"\neval = "eval.csv"\nlanguage = "mdw"\nprobe_clips = 2\n'
            '[base]\npath = "base"\n[training]\nbatch_size = 2\naccumulation = 1\nsteps = 2\n'
            'truncation = 1.0\nevaluations = 2\nfull_evaluations = 2\n[space]\nfile = "space.toml"\n'
        )
    return folder


def check(folder: Path, base_name: str) -> tuple[int, dict[str, Any]]:
    """(exit code, document) of a check of all clips."""
    done = subprocess.run(
        [sys.executable, ROOT / "study.py", "check", "--json", "--settings", "all.toml",
         "--set", f"base.path={folder / base_name}"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_after_extend_vocab_no_clip_is_dropped_and_a_search_runs(folder: Path) -> None:
    run(folder, "extend-vocab", "--settings", "all.toml", "--output", "new")
    code, found = check(folder, "new")
    assert code == 0
    assert [clip for clip in found["dropped"] if clip["reason"]] == []
    assert found["letters"] == []
    new = f"base.path={folder / 'new'}"
    output, memory, _ = run(folder, "--trials", "2", "--settings", "little.toml", "--set", new)
    assert "2 finished trials" in output
    assert memory < 13e9
    exported = json.loads((folder / "runs" / "little" / "best_config.json").read_text())
    assert exported["evidence"]["record"]["steps"] == 2
