"""Configs of full runs with the miniature, as an export would write them."""

import json
from dataclasses import replace
from pathlib import Path

from search.confirmation.export import portable
from search.settings.best_config import BestConfig, Provenance, Schedule, Stopping
from search.settings.settings import load
from search.study.fingerprint import fingerprint
from search.trial import Evaluation, Prepared, evaluation_steps
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps

POINT = Hyperparameters(lr=5e-4, weight_decay=0.05, milestones=(0.3, 0.7), gamma=0.5, clip_norm=2.0)


def write_config(
    path: Path,
    prepared: Prepared,
    horizon: int = 12,
    evaluations: int = 4,
    lr: float | None = None,
    **stopping: float | None,
) -> Path:
    """A best_config.json at `path` for a run of `horizon` optimizer steps; no rule stops it unless given.

    With `lr` that is all of the point: no milestones, no clip.
    """
    point = POINT if lr is None else Hyperparameters(lr, 0.01)
    given = {"training.steps": horizon, "training.batch_size": 2, "training.truncation": 1.0, "training.evaluations": 2}
    settings = load(None, given)
    best = BestConfig(
        version=4,
        study="miniature",
        confirmed=False,
        status="Not confirmed: trial 3 is one run with one seed.",
        hyperparameters=point,
        schedule=Schedule(
            horizon=horizon,
            evaluation_steps=evaluation_steps(horizon, evaluations),
            milestones=list(to_steps(point.milestones, horizon)),
            gamma=point.gamma,
            accumulation=1,
            batch_size=2,
        ),
        stopping=Stopping(**{"n_increases": None, "min_delta": 0.0, "max_gap": 99.0, "healthy_gap": 1.3, **stopping}),
        settings=portable(settings),
        coqui_config=prepared.coqui_config,
        grad_accum_steps=1,
        confirmation=None,
        evidence=None,
        base_model=prepared.base_evaluation,
        warnings=["lr lies at the edge of the space <b>"],
        provenance=Provenance(
            fingerprint=fingerprint(settings, prepared),
            versions=prepared.versions,
            commit=None,
            seed=1,
            train_clips=prepared.train_clips,
            eval_clips=prepared.eval_clips,
            added_tokens=prepared.added_tokens,
        ),
    )
    content = best.model_dump(mode="json")
    content["coqui_config"] = {k: v for k, v in content["coqui_config"].items() if v not in (float("inf"),)}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def losses(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Without the seconds, which differ from run to run."""
    return [replace(e, seconds=0.0) for e in evaluations]
