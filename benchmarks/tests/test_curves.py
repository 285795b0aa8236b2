"""Recorded learning curves: a truncated run forked from the full one is a run of its own; tables hold what was run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.curves import table
from benchmarks.curves.corpora import CONFIGS, CORPORA, FULL, SEEDS, SHARES
from benchmarks.curves.record import configs, steps_of
from search.settings.settings import Settings
from search.trial import Prepared
from space.hyperparameters import Hyperparameters
from tests.conftest import ROOT
from tests.studies import PREPARED

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

record.STEPS, shares = 20, (0.2, 0.4)
record.EVALUATIONS = {0.2: 4, 0.4: 4, 1.0: 5}
prepared = Prepared.from_json((Path(sys.argv[1]) / "prepared.json").read_text())
settings = load(None, {"training.batch_size": 2, "training.fused_adamw": True})
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
        own[share] = []
        run_trial(spec(share), lambda evaluation: own[share].append(evaluation.mel_ce))
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
    assert {share: len(curve) for share, curve in stepped.items()} == {"0.2": 4, "0.4": 4, "1.0": 5}
    assert stepped == found["stepped"]["own"]
    assert stepped["0.4"][-1] != stepped["1.0"][1], "at step 8 of 20 the truncated run has dropped its rate, twice"
    assert diverged["0.4"] == found["diverges"]["own"]["0.4"]
    assert len(diverged["1.0"]) < 5, "nothing diverged: the test tests nothing"


def test_the_design_holds_the_baselines_and_points_all_over_the_space() -> None:
    space = Settings().search_space()
    points = configs(space, 64)
    assert len(set(points)) == 64
    assert points[: len(space.baselines)] == [b.hyperparameters for b in space.baselines]
    assert configs(space, 32) == points[:32], "more configs leave the others as they are"
    drawn = points[len(space.baselines) :]
    assert {len(point.milestones) for point in drawn} == {0, 1, 2, 3}
    assert {point.clip_norm is None for point in drawn} == {True, False}
    third = (space.lr.high / space.lr.low) ** (1 / 3)
    assert sum(point.lr < space.lr.low * third for point in drawn) == pytest.approx(len(drawn) / 3, abs=4)


# Tables


def test_a_packed_table_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    points = [Hyperparameters(1e-3, 0.01), Hyperparameters(4e-4, 0.02, (0.25, 0.5), 0.5, 2.0)]
    curves = {
        (0, 1, FULL): [4.12345, 3.5],
        (0, 1, 0.2): [4.5],
        (1, 1, FULL): [],
        (1, 1, 0.2): [4.0, 3.9],
        (0, 2, FULL): [4.0],
    }
    source = tmp_path / "recorded"
    for corpus in ("amharic-small", "mboshi"):
        (source / corpus / "runs").mkdir(parents=True)
        (source / corpus / "prepared.json").write_text(PREPARED.to_json())
        for number, seed in ((1, 1), (0, 2), (0, 1)):
            own = {str(share): curve for (c, s, share), curve in curves.items() if (c, s) == (number, seed)}
            run = {"config": number, "seed": seed, "point": points[number].to_dict(), "seconds": 1800.0, "curves": own}
            (source / corpus / "runs" / f"{number:03d}-{seed}.json").write_text(json.dumps(run))
    target = tmp_path / "packed"
    target.mkdir()
    table.pack(source, target)
    assert {file.name for file in target.iterdir()} == {
        "amharic-small.csv", "mboshi.csv", "configs.json", "provenance.json",
    }  # fmt: skip
    for corpus in ("amharic-small", "mboshi"):
        found = table.read(corpus, target)
        assert (found.corpus, found.points, found.base, found.seeds) == (corpus, points, 5.0, [1, 2])
        assert found.curves == curves
    provenance = json.loads((target / "provenance.json").read_text())
    assert provenance["mboshi"]["runs"] == 3
    assert provenance["mboshi"]["cpu_hours"] == 1.5
    assert provenance["mboshi"]["base_evaluation"] == PREPARED.base_evaluation
    before = (target / "mboshi.csv").read_bytes()
    table.pack(source, target)
    assert (target / "mboshi.csv").read_bytes() == before


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_committed_tables_are_whole(corpus: str) -> None:
    found = table.read(corpus)
    assert found.points == configs(Settings().search_space())
    assert len(found.points) == CONFIGS == 200
    assert found.seeds == list(SEEDS)
    first, *others = SEEDS
    runs = {(config, first, share) for config in range(CONFIGS) for share in (*SHARES, FULL)}
    runs |= {(config, seed, FULL) for config in range(CONFIGS) for seed in others}
    assert set(found.curves) == runs
    for (_, _, share), curve in found.curves.items():
        assert len(curve) <= len(steps_of(share))
        assert all(0 < value < 20 for value in curve)
    whole = sum(len(curve) == len(steps_of(share)) for (_, _, share), curve in found.curves.items())
    assert whole >= 0.9 * len(runs), "a space in which so much diverges is no use"
    assert min(min(found.curves[c, first, FULL], default=found.base) for c in range(CONFIGS)) < found.base
