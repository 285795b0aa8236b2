"""A base of XTTS-v2's size on a CPU: `make test-full`."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.models.xtts import Xtts

from search.preparation.places import locate
from search.settings.settings import load
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


def run(folder: Path, *arguments: str) -> tuple[str, int, int]:
    """(output, most memory in bytes, most bytes in checkpoints under `folder`/out) of `study.py` run in `folder`."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "study.py"), *arguments],
        cwd=folder,
        env={**os.environ, "XTTS_STUDY_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    memory = disk = 0
    while process.poll() is None:
        memory = max(memory, tree_bytes(process))
        with suppress(FileNotFoundError):
            files = {f.stat().st_ino: f.stat().st_size for f in (folder / "out").rglob("*.pth*")}
            disk = max(disk, sum(files.values()))
        time.sleep(0.5)
    output = process.stdout.read() if process.stdout else ""
    print(output)
    print(f"peak memory {memory / 1e9:.2f} GB, checkpoints {disk / 1e9:.2f} GB")
    assert process.returncode == 0, output
    return output, memory, disk


@pytest.fixture(scope="module")
def folder(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one trial of two steps on Amharic clips. Its full run has four: `train` asks no less of any space."""
    folder = tmp_path_factory.mktemp("full")
    root, miniature = locate(load(None, {}), cache, lambda _: None)
    (folder / "base").mkdir()
    write_full_size_base(miniature, folder / "base")
    (folder / "data").mkdir()
    (folder / "data" / "wavs").symlink_to(root / "wavs")
    lines = (root / "train.csv").read_text(encoding="utf-8").splitlines()
    (folder / "data" / "train.csv").write_text("\n".join(lines[:9]) + "\n", encoding="utf-8")
    (folder / "data" / "eval.csv").write_text("\n".join([lines[0], *lines[9:13]]) + "\n", encoding="utf-8")
    (folder / "space.toml").write_text(SPACE)
    (folder / "study.toml").write_text(
        '[study]\nname = "full"\n[data]\npath = "data"\neval = "eval.csv"\nlanguage = "am"\nprobe_clips = 4\n'
        '[base]\npath = "base"\n[training]\nbatch_size = 2\naccumulation = 1\nsteps = 4\n'
        "truncation = 0.5\nevaluations = 2\nfull_evaluations = 2\n"
        '[space]\nfile = "space.toml"\n'
    )
    return folder


@pytest.mark.timeout(3000)
def test_two_optimizer_steps_fit_into_13_gb(folder: Path) -> None:
    """A whole search: extension, codes, training, evaluation, export."""
    _, memory, _ = run(folder, "--trials", "1")
    exported = json.loads((folder / "runs" / "full" / "best_config.json").read_text())
    assert exported["evidence"]["record"]["steps"] == 2
    assert exported["evidence"]["record"]["trainable_parameters"] > 440e6
    assert memory < 13e9


@pytest.mark.timeout(3000)
def test_a_full_run_fits_too_and_its_model_speaks(folder: Path) -> None:
    """After the search above; its state is saved twice, and replaced once."""
    _, memory, disk = run(folder, "train", "runs/full/best_config.json", "--output", "out")
    for name in ("state/last.pth", "state/best.pth", "ready/model.pth"):
        print(f"{name} {(folder / 'out' / name).stat().st_size / 1e9:.2f} GB")
    assert memory < 13e9
    assert disk < 13e9
    assert (folder / "out" / "ready" / "model.pth").stat().st_size < 2.3e9  # no optimizer, no DVAE
    config = XttsConfig()
    config.load_json(str(folder / "out" / "ready" / "config.json"))
    model = Xtts(config)
    model.load_checkpoint(config, checkpoint_dir=str(folder / "out" / "ready"), use_deepspeed=False)
    model.gpt.max_gen_mel_tokens = 20  # random weights do not stop by themselves: 28 s of noise took 14 minutes
    made = model.synthesize("Hello.", speaker_wav=str(folder / "out" / "ready" / "reference" / "1.wav"), language="en")
    assert np.isfinite(made["wav"]).all() and len(made["wav"]) > 0
