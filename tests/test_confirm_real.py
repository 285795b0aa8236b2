"""A search that confirms, with real training, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

# Trials of 12 optimizer steps and full runs of 24, some seconds each.
SHORT = {
    "training.steps": 24,
    "training.truncation": 0.5,
    "training.evaluations": 2,
    "training.full_evaluations": 3,
    "confirm.seeds": 3,
    "confirm.top": 1,
    "confirm.rates": [],
    "confirm.audit": 1,
    "speech.sentences": 0,
}


def study_py(folder: Path, *arguments: str) -> list[str]:
    """The lines that `study.py` prints; it must end well."""
    given = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, str(ROOT / "study.py"), *arguments, *given]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=540)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.usefixtures("cache")
def test_a_search_that_confirms(tmp_path: Path) -> None:
    output = study_py(tmp_path, "--trials", "2", "--confirm")
    study = tmp_path / "runs" / "miniature"
    exported = json.loads((study / "best_config.json").read_text())
    proof = exported["confirmation"]
    assert exported["confirmed"] is True and exported["status"] == proof["text"]
    assert output[-1] == "Exported (confirmed): runs/miniature/best_config.json"
    assert proof["text"] in output and proof["text"] in study_py(tmp_path, "status")
    assert len(proof["candidates"]) == 2 and proof["candidates"][0]["name"] == "V0"  # and the best other trial

    specs: dict[str, dict[int, Any]] = {"trials": {}, "confirm": {}}
    for kind, by_number in specs.items():
        for file in study.glob(f"{kind}/*/spec.json"):
            by_number[int(file.parent.name)] = json.loads(file.read_text())
    runs = specs["confirm"]
    assert len(runs) == 2 * len(proof["candidates"])  # nothing was pruned, so nothing is audited
    assert all((spec["horizon"], spec["evaluation_steps"]) == (24, [8, 16, 24]) for spec in runs.values())
    for candidate in proof["candidates"]:
        ran = [runs[run["trial"]] for run in candidate["runs"]]
        assert [spec["seed"] for spec in ran] == [1, 2]
        assert all(spec["hyperparameters"] == candidate["hyperparameters"] for spec in ran)
        if candidate["trial"] is not None:
            assert specs["trials"][candidate["trial"]]["hyperparameters"] == candidate["hyperparameters"]
    values = {run["value"] for candidate in proof["candidates"] for run in candidate["runs"]}
    assert len(values) == len(runs) and proof["seed_sd"] > 0, "another seed must be another run"
    assert not [file for file in study.rglob("*") if file.suffix in (".pth", ".pt", ".safetensors")]
