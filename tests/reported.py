"""What a report is made of, without a database: searches and confirmations in memory."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.confirmation.candidates import Candidate
from search.confirmation.proof import Runs
from search.pages import document
from search.pages.material import Material, material
from search.settings.settings import Settings
from search.study import spoken, storage
from search.study.recorded import by_kind
from search.trial import Prepared, StopReason
from space.hyperparameters import Hyperparameters
from tests.studies import FLAT, PREPARED, STEPPED, evaluations, run

STOCK = Hyperparameters(1e-3, 0.01)
AUDITED = Hyperparameters(5e-3, 0.01)
POINT = Hyperparameters(4e-4, 0.02, (0.25, 0.5), 0.5, 2.0)
V0 = [2.60, 2.66, 2.61]
RACE = {"V0": V0, "trial 1": [2.57, 2.60, 2.565]}
LOWER = {
    "V0": V0,
    "trial 1": [2.55, 2.612, 2.561],
    "trial 1 at 0.5 x lr": [2.50, 2.563, 2.512],
    "trial 1 at 0.25 x lr": [2.45, 2.511, 2.463],
}


def founded(settings: Settings, prepared: Prepared = PREPARED) -> optuna.Study:
    """As a search founds a study, but without baselines in its queue."""
    study = optuna.create_study(study_name=settings.study.name)
    for name, value in storage.attributes_of(settings, prepared).items():
        study.set_user_attr(name, value)
    return study


def searched(study: optuna.Study) -> None:
    """Three trials: the stock recipe, the best, and one that the median rule pruned."""
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    run(study, STEPPED, [4.0, 3.0])
    run(study, {**FLAT, "lr": 5e-3}, [4.9, 4.6, 4.4, 4.2], StopReason.MEDIAN)


def racing(name: str) -> Candidate:
    """V0, trial 1, trial 1 at a lower rate, an audited trial, or another config."""
    if name == "V0":
        return Candidate(name, STOCK, 0, 4.0)
    if name.startswith("audited"):
        return Candidate("trial 2", AUDITED, 2, None, 80, 4.2)
    if name.endswith("x lr"):
        return Candidate(name, replace(POINT, lr=POINT.lr * float(name.split()[-3])))
    return Candidate(name, POINT, 1 if name == "trial 1" else None, 3.0)


def full_runs(
    runs: Mapping[str, Sequence[float]], running: int = 0, spoke: Any = None, seeds: int = 3
) -> list[FrozenTrial]:
    """Of a confirmation: lowest evaluations by config, in the order of the seeds 1, 2, …; nan: the run diverged."""
    made: list[FrozenTrial] = []
    for config, values in runs.items():
        for seed, value in enumerate(values, 1):
            has_diverged = math.isnan(value)
            losses = [5.0] if has_diverged else [5.0, value]
            attributes = {
                "candidate": racing(config).to_dict(),
                "seed": seed,
                "length": "truncated" if config == "audited" else "full",
                "stop_reason": "diverged" if has_diverged else "finished",
                "run": {"evaluations": [asdict(e) for e in evaluations(losses)], "record": None, "error": None},
                **({spoken.ATTRIBUTE: spoke} if spoke else {}),
            }
            state, found = (TrialState.PRUNED, None) if has_diverged else (TrialState.COMPLETE, value)
            made.append(create_trial(state=state, value=found, **by_kind(attributes)))
    waiting = {"candidate": racing("V0").to_dict(), "seed": seeds, "length": "full"}
    made += [create_trial(state=TrialState.RUNNING, **by_kind(waiting)) for _ in range(running)]
    for number, trial in enumerate(made):
        trial.number = number
    return made


def material_of(
    settings: Settings, study: optuna.Study, confirmation: list[FrozenTrial] | None = None, seeds: int = 3
) -> Material:
    runs = None if confirmation is None else Runs(confirmation, range(1, seeds + 1))
    return material(settings, study, runs)


def written(made: Material, options: str = "") -> str:
    return document.to_html(made, options)
