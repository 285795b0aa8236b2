"""What a step costs at XTTS-v2's size, one way after the other, on a base with random weights."""

import json
import os
from pathlib import Path

from benchmarks.ways.run import finish, new_folder, ours, python, refuse_unequal, run_alone, stock
from search.trial import TrialSpec
from space.hyperparameters import Hyperparameters


def full_size(folder: Path) -> dict[str, float]:
    """Four optimizer steps of batch 2, one of stock's epochs. Stock keeps no best model here: 11 GB on the disk."""
    os.environ["XTTS_STUDY_CACHE"] = str(folder / "cache")  # so that it goes with `folder`
    data = new_folder(folder, "data")
    prepared_miniature = run_alone("benchmarks.ways.search", "{}", "--prepare", folder=new_folder(folder, "prepare"))
    config = json.loads((Path(prepared_miniature["prepared"]) / "prepared.json").read_text())["coqui_config"]
    speech = Path(config["datasets"][0]["path"])
    (data / "wavs").symlink_to(speech / "wavs")
    for table, clips in (("train.csv", 8), ("eval.csv", 4)):
        lines = (speech / table).read_text(encoding="utf-8").splitlines()[: clips + 1]
        (data / table).write_text("\n".join(lines) + "\n", encoding="utf-8")
    log = folder / "base.txt"
    finish(python("tests.full_size", folder / "base", folder / "cache", log=log), log)
    settings = {
        "study.name": "full",
        "data.path": str(data),
        "data.eval": "eval.csv",
        "data.language": "am",
        "data.probe_clips": 4,
        "base.path": str(folder / "base"),
        "training.batch_size": 2,
        "training.accumulation": 1,
        "training.steps": 4,
        "training.truncation": 1.0,
        "training.evaluations": 2,
        "training.full_evaluations": 2,
    }
    made = run_alone("benchmarks.ways.search", json.dumps(settings), "--prepare", folder=new_folder(folder, "made"))
    spec = TrialSpec(
        study="full",
        number=0,
        hyperparameters=Hyperparameters(5e-6, 0.01, clip_norm=1.0),
        seed=1,
        horizon=4,
        evaluation_steps=[4],
        batch_size=2,
        accumulation=1,
        eval_batch_size=8,
        precision="fp32",
        prepared=made["prepared"],
        directory="",
    )
    mine = ours(new_folder(folder, "ours"), [spec])
    theirs, _ = stock(new_folder(folder, "stock"), [spec], {"save_best_after": 2**62})
    refuse_unequal(mine, theirs, spec)
    found: dict[str, float] = {}
    for name, way in (("stock", theirs[0]), ("ours", mine[0])):
        seconds = way["model_seconds"] + way["outside_seconds"]
        found[f"s a step, {name}"] = seconds / way["steps"]
        found[f"outside the model, %, {name}"] = 100 * way["outside_seconds"] / seconds
        found[f"CPU s a step outside the model, {name}"] = way["outside_cpu"] / way["steps"]
    return found
