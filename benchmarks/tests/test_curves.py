"""Recorded learning curves: a truncated run forked from the full one is a run of its own."""

import json
import subprocess
import sys
from pathlib import Path

from search.trial import Prepared
from tests.conftest import ROOT

# In a process of its own, as the recording does it: it forks, which a process with threads must not.
RECORD = """
import json, os, sys, tempfile
from pathlib import Path
import torch
torch.set_num_threads(1)
from benchmarks.curves import record
from search.settings.settings import load
from search.training.run import run_trial
from search.trial import Prepared
from space.hyperparameters import Hyperparameters

record.STEPS, shares = 20, (0.2, 0.25, 0.4)  # the first two branch off at the same step
record.EVALUATIONS = {0.2: 4, 0.25: 5, 0.4: 4, 1.0: 5}
prepared = Prepared.from_json((Path(sys.argv[1]) / "prepared.json").read_text())
settings = load(None, {"training.batch_size": 2, "training.fused_adamw": True, "training.steps": 20})
found = {}
for name, point in {
    "stepped": Hyperparameters(2e-3, 0.01, (0.5, 0.75), 0.3, 0.5),
    "diverges": Hyperparameters(1e30, 0.01, (0.5,), 0.3),
}.items():
    def spec(share, seed=3):
        return record.spec_of(settings, prepared, point, seed, tempfile.mkdtemp(dir=sys.argv[2]), share)
    forked = record.record(spec(1.0), shares)
    own = {}
    for share in forked if name == "stepped" else (0.4,):
        own[share] = [evaluation.mel_ce for evaluation in run_trial(spec(share)).evaluations]
    found[name] = {"forked": forked, "own": own}
Path(sys.argv[3]).write_text(json.dumps(found))
"""


def test_forked_truncated_runs_are_runs_of_their_own_bit_for_bit(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    command = [sys.executable, "-c", RECORD, prepared.directory, str(tmp_path / "runs"), str(tmp_path / "found.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    stepped, diverged = found["stepped"]["forked"], found["diverges"]["forked"]
    assert {share: len(curve) for share, curve in stepped.items()} == {"0.2": 4, "0.25": 5, "0.4": 4, "1.0": 5}
    assert stepped == found["stepped"]["own"]
    assert stepped["0.4"][-1] != stepped["1.0"][1], "at step 8 of 20 the truncated run has dropped its rate, twice"
    assert diverged["0.4"] == found["diverges"]["own"]["0.4"]
    assert len(diverged["1.0"]) < 5, "nothing diverged: the test tests nothing"
