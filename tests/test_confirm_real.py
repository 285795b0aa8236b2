"""A search that confirms, with real training, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

# Trials of 20 optimizer steps and full runs of 40, some seconds each.
SHORT = {
    "training.steps": 40,
    "training.truncation": 0.5,
    "training.evaluations": 4,
    "training.full_evaluations": 5,
    "confirm.seeds": 2,
    "confirm.top": 1,
    "confirm.lower_rates": [],
    "confirm.audit": 1,
    "speech.sentences": 0,
}


def study_py(folder: Path, *arguments: str) -> str:
    """What `study.py` prints; it must end well."""
    given = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, str(ROOT / "study.py"), *arguments, *given]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def specs(study: Path, kind: str) -> list[dict[str, Any]]:
    folders = sorted((study / kind).iterdir(), key=lambda folder: int(folder.name))
    return [json.loads((folder / "spec.json").read_text()) for folder in folders]


@pytest.mark.usefixtures("cache")
def test_a_search_that_confirms(tmp_path: Path) -> None:
    output = study_py(tmp_path, "--trials", "3", "--confirm")
    study = tmp_path / "runs" / "miniature"
    exported = json.loads((study / "best_config.json").read_text())
    proof = exported["confirmation"]
    assert exported["confirmed"] is True
    assert exported["schedule"]["evaluation_steps"] == [8, 16, 24, 32, 40]
    assert output.splitlines()[-1] == "Exported (confirmed): runs/miniature/best_config.json"
    assert exported["status"] == proof["text"]
    assert proof["text"] in output.splitlines()
    assert 2 <= len(proof["candidates"]) <= 3  # the stock recipe, the best other trial
    assert proof["candidates"][0]["name"] == "V0"
    assert proof["seed_sd"] > 0, "another seed must be another run"

    truncated = {spec["number"]: spec for spec in specs(study, "trials")}
    runs = specs(study, "confirm")
    assert len(runs) == 2 * len(proof["candidates"])  # nothing was pruned, so nothing is audited
    for spec in runs:
        assert spec["study"] == "miniature"
        assert (spec["horizon"], spec["evaluation_steps"]) == (40, [8, 16, 24, 32, 40])
        assert spec["save_seconds"] is None
        folder = study / "confirm" / str(spec["number"])
        assert {"spec.json", "log.txt", "evaluations.csv", "steps.csv", "record.json"} <= {
            f.name for f in folder.iterdir()
        }
    for candidate in proof["candidates"]:
        ran = [runs[run["trial"]] for run in candidate["runs"]]
        assert [spec["seed"] for spec in ran] == [1, 2]
        assert all(spec["hyperparameters"] == candidate["hyperparameters"] for spec in ran)
        if candidate["trial"] is not None:
            assert truncated[candidate["trial"]]["hyperparameters"] == candidate["hyperparameters"]
    values = {run["value"] for candidate in proof["candidates"] for run in candidate["runs"]}
    assert len(values) == len(runs)
    assert not [file for file in study.rglob("*") if file.suffix in (".pth", ".pt", ".safetensors")]

    shown = study_py(tmp_path, "status")
    assert "Confirmation of miniature, full runs" in shown
    assert proof["text"] in shown.splitlines()
