"""A base of XTTS-v2's size on a CPU: `make test-full`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from search.settings import load
from search.training.prepare import locate
from tests.conftest import ROOT
from tests.full_size import write_full_size_base

pytestmark = pytest.mark.full

SPACE = """
version = 1
[lr]
value = 5e-6
[weight_decay]
value = 0.01
[clip_norm]
value = 1.0
off = false
"""


def tree_bytes(process: subprocess.Popen[str]) -> int:
    """Memory of a process and all below it, shared pages counted once."""
    total = 0
    for p in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)):
        try:
            total += p.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


@pytest.mark.timeout(3000)
def test_two_optimizer_steps_fit_into_13_gb(cache: Path, tmp_path: Path) -> None:
    """A whole search of one trial of two steps on Amharic clips: extension, codes, training, evaluation, export."""
    root, miniature = locate(load(None, {}), cache, lambda _: None)
    (tmp_path / "base").mkdir()
    write_full_size_base(miniature, tmp_path / "base")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wavs").symlink_to(root / "wavs")
    lines = (root / "train.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "data" / "train.csv").write_text("\n".join(lines[:9]) + "\n", encoding="utf-8")
    (tmp_path / "data" / "eval.csv").write_text("\n".join([lines[0], *lines[9:13]]) + "\n", encoding="utf-8")
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "study.toml").write_text(
        '[study]\nname = "full"\n[data]\npath = "data"\neval = "eval.csv"\nlanguage = "am"\nprobe_clips = 4\n'
        '[base]\npath = "base"\n[training]\nbatch_size = 2\naccumulation = 1\nsteps = 2\n'
        "truncation = 1.0\nevaluations = 2\n"
        '[space]\nfile = "space.toml"\n'
    )
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "study.py"), "--trials", "1"],
        cwd=tmp_path,
        env={**os.environ, "XTTS_STUDY_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_bytes(process))
        time.sleep(0.5)
    output = process.stdout.read() if process.stdout else ""
    print(output)
    print(f"peak memory {peak / 1e9:.2f} GB")
    assert process.returncode == 0, output
    exported = json.loads((tmp_path / "runs" / "full" / "best_config.json").read_text())
    assert exported["evidence"]["record"]["steps"] == 2
    assert exported["evidence"]["record"]["trainable_parameters"] > 440e6
    assert peak < 13e9
