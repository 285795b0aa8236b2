"""`best_config.json`: the winner for the full run, with the evidence for it and where it came from."""

import json
import os
import subprocess
from dataclasses import asdict
from math import ceil, isfinite
from pathlib import Path
from typing import Any

from search.atomic import write_text
from search.knobs import coqui_fields, precision_fields
from search.report import Findings, Row
from search.settings import Settings, steps_an_epoch
from space.schedule import to_steps
from space.search_space import SearchSpace

VERSION = 1


def write_best_config(
    findings: Findings, settings: Settings, attributes: dict[str, Any], space: SearchSpace
) -> Path | None:
    """Writes the study's `best_config.json` and returns its path; None while no trial has completed.

    `attributes` are the study's user attributes: the horizon and fingerprint that its trials ran under.
    """
    if not findings.completed:
        return None
    path = settings.directory / "best_config.json"
    content = best_config(findings, findings.completed[0], settings, attributes, space)
    write_text(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")
    return path


def best_config(
    findings: Findings, best: Row, settings: Settings, attributes: dict[str, Any], space: SearchSpace
) -> dict[str, Any]:
    """The content of `best_config.json`; docs/best_config.md describes every field."""
    point = space.from_params(best.trial.params)
    horizon = attributes["full_horizon"]
    training = settings.training
    optimizer = findings.prepared["coqui_config"]["optimizer_params"]
    evaluation = best.best
    assert evaluation is not None
    return {
        "version": VERSION,
        "study": findings.study,
        "confirmed": False,
        "hyperparameters": point.to_dict(),
        "schedule": {
            "horizon": horizon,  # optimizer steps of the full run
            "milestones": list(to_steps(point.milestones, horizon)),
            "gamma": point.gamma,
            "accumulation": training.accumulation,
            "batch_size": training.batch_size,
        },
        "coqui_config": _finite(
            {
                **findings.prepared["coqui_config"],
                **coqui_fields(point, horizon, {k: v for k, v in optimizer.items() if k != "weight_decay"}),
                "batch_size": training.batch_size,
                "eval_batch_size": training.eval_batch_size,
                "training_seed": settings.study.seed,
                **precision_fields(training.precision),
                # coqui counts epochs: as many as the horizon needs, the last one perhaps in part.
                "epochs": ceil(horizon / steps_an_epoch(settings, findings.prepared["train_clips"])),
                "save_checkpoints": True,
            }
        ),
        "grad_accum_steps": training.accumulation,  # of coqui's TrainerArgs, not of its config
        "evidence": {
            "trial": best.trial.number,
            "stop_reason": best.reason,
            "objective": "mean mel cross-entropy over the eval set, nats per audio token",
            "value": evaluation.mel_ce,
            "best_step": evaluation.step,
            "trial_horizon": findings.horizon,
            "evaluations": [{**asdict(e), "gap": e.gap} for e in best.evaluations],
            "record": best.record,
            "base_model": asdict(findings.base),
            "finished_trials": findings.finished,
            "warnings": space.at_edge(best.trial.params),
        },
        "provenance": {
            "fingerprint": attributes["fingerprint"],
            "versions": findings.prepared["versions"],
            "commit": commit(),
            "seed": settings.study.seed,
            "train_clips": findings.prepared["train_clips"],
            "eval_clips": findings.prepared["eval_clips"],
            "added_tokens": findings.prepared["added_tokens"],
        },
    }


def _finite(config: dict[str, Any]) -> dict[str, Any]:
    """`config` without the fields that are infinite, which JSON cannot hold; they are coqui's defaults."""
    return {k: v for k, v in config.items() if not (isinstance(v, float) and not isfinite(v))}


def commit() -> str | None:
    """The commit of this checkout, with "-dirty" after it for uncommitted changes; None outside a checkout.

    A container image has no checkout; its build may name the commit in XTTS_STUDY_COMMIT.
    """
    if os.environ.get("XTTS_STUDY_COMMIT"):
        return os.environ["XTTS_STUDY_COMMIT"]
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
