"""A search that confirms, with real training, as a user runs it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import StudyPy

# Trials of 6 optimizer steps and full runs of 12, some seconds each.
SHORT = {
    "training.steps": 12,
    "training.truncation": 0.5,
    "training.evaluations": 2,
    "training.full_evaluations": 3,
    "confirm.seeds": 3,
    "confirm.audit": 1,
    "speech.sentences": 0,
}


def lines(study_py: StudyPy, *arguments: str) -> list[str]:
    """What `study.py` prints, whose runs are processes of their own; it must end well."""
    given = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    code, out, err = study_py(*arguments, *given)
    assert (code, err) == (0, ""), out + err
    return out.splitlines()


@pytest.mark.usefixtures("cache")
def test_a_search_that_confirms(study_py: StudyPy, tmp_path: Path) -> None:
    output = lines(study_py, "--trials", "2", "--confirm")
    study = tmp_path / "miniature"
    exported = json.loads((study / "best_config.json").read_text())
    proof = exported["confirmation"]
    assert exported["confirmed"] is True and exported["status"] == proof["text"]
    assert output[-1] == "Exported (confirmed): miniature/best_config.json"
    assert proof["text"] in output and proof["text"] in lines(study_py, "status")
    line = proof["rate_line"]
    assert [c["name"] for c in proof["candidates"]] == ["V0", line["finalist"]]
    assert (line["steps"][0]["name"], line["seed"], len(line["trials"])) == ("V0", 1, 2)

    specs: dict[str, dict[int, Any]] = {"trials": {}, "confirm": {}}
    for kind, by_number in specs.items():
        for file in study.glob(f"{kind}/*/spec.json"):
            by_number[int(file.parent.name)] = json.loads(file.read_text())
    runs = specs["confirm"]
    assert all((spec["horizon"], spec["evaluation_steps"]) == (12, [4, 8, 12]) for spec in runs.values())
    ran = {(step["name"], 1): (step, step["run"]) for step in line["steps"]}
    for candidate in proof["candidates"]:
        assert [run["seed"] for run in candidate["runs"]] == [2, 3, 4][: len(candidate["runs"])]
        ran |= {(candidate["name"], run["seed"]): (candidate, run) for run in candidate["runs"]}
        if candidate["trial"] is not None:
            assert specs["trials"][candidate["trial"]]["hyperparameters"] == candidate["hyperparameters"]
    assert len(ran) == len(runs)  # nothing was pruned, so nothing is audited
    for (_, seed), (config, run) in ran.items():
        spec = runs[run["trial"]]
        assert (spec["seed"], spec["hyperparameters"]) == (seed, config["hyperparameters"])
    assert len({run["value"] for _, run in ran.values()}) == len(runs), "another seed must be another run"
    assert not [file for file in study.rglob("*") if file.suffix in (".pth", ".pt", ".safetensors")]
