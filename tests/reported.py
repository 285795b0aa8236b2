"""What a report is made of, without a database: searches and confirmations in memory."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.confirmation.candidates import Candidate, scaled
from search.confirmation.plan import Plan
from search.confirmation.rounds import knobs
from search.confirmation.runs import Runs
from search.pages import document
from search.pages.material import Material, material
from search.settings.settings import Settings
from search.study import spoken, storage
from search.study.columns import columns
from search.study.recorded import by_kind
from search.trial import Prepared, StopReason
from space.hyperparameters import Hyperparameters
from tests.studies import FLAT, PREPARED, STEPPED, evaluations, record, run

STOCK = Hyperparameters(1e-3, 0.01)
AUDITED = Hyperparameters(5e-3, 0.01)
POINT = Hyperparameters(4e-4, 0.02, (0.25, 0.5), 0.5, 2.0)
V0 = [2.60, 2.66, 2.61]
RACE = {"V0": V0, "trial 1": [2.57, 2.60, 2.565]}
LOWER = {
    "V0": V0,
    "trial 1": [2.55],
    "trial 1 at 0.5 x lr": [2.50],
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
    if name.endswith(" x lr"):
        start, _, factor = name.removesuffix(" x lr").partition(" at ")
        return scaled(racing(start), float(factor))
    if name == "trial 1":
        return Candidate(name, POINT, 1, 3.0)
    return Candidate(name, replace(POINT, weight_decay=sum(name.encode()) / 1e4), None, 3.0)


def keys(runs: Mapping[str, Sequence[float]]) -> dict[tuple[str, int], float]:
    """Values of the runs of a confirmation by config and seed: 1 is that of the rate line, which chose the finalist.

    The stock recipe and the finalist have their values with fresh seeds, too; on the line they have the first again.
    """
    others = [name for name in runs if name != "V0" and not name.startswith("audited")]
    racing = {"V0", min(others, key=lambda name: math.inf if math.isnan(runs[name][0]) else runs[name][0])}
    found = {(name, 1): values[0] for name, values in runs.items()}
    return found | {(name, seed): value for name in runs if name in racing for seed, value in enumerate(runs[name], 2)}


def full_runs(runs: Mapping[str, Sequence[float]], running: int = 0, spoke: Any = None) -> list[FrozenTrial]:
    """Of a confirmation with these lowest evaluations by config, as `keys` has them; nan: the run diverged."""
    made: list[FrozenTrial] = []
    for (config, seed), value in keys(runs).items():
        has_diverged = math.isnan(value)
        found = evaluations([5.0] if has_diverged else [5.0, value])
        candidate = racing(config)
        params = knobs(candidate.point)
        attributes = {
            "candidate": asdict(candidate),
            "seed": seed,
            "length": "truncated" if config == "audited" else "full",
            "stop_reason": "diverged" if has_diverged else "finished",
            "run": {"evaluations": [asdict(e) for e in found], "record": record(40, []), "error": None},
            **columns(found[-1], None, None, config),
            **({spoken.ATTRIBUTE: spoke} if spoke else {}),
        }
        given = {"params": params, "distributions": {n: FloatDistribution(x, x) for n, x in params.items()}}
        state = {"state": TrialState.PRUNED} if has_diverged else {"value": value}
        made.append(create_trial(**state, **given, **by_kind(attributes)))
    waiting = {"candidate": asdict(racing("V0")), "seed": 4, "length": "full"}
    made += [create_trial(state=TrialState.RUNNING, **by_kind(waiting)) for _ in range(running)]
    for number, trial in enumerate(made):
        trial.number = number
    return made


def plan_of(trials: Sequence[FrozenTrial], seeds: int) -> Plan:
    """Of a confirmation of these runs. Its rate line has fixed multiples: it is over once each of them has run."""
    documents = {t.system_attrs["candidate"]["name"]: t.system_attrs["candidate"] for t in trials}
    stock, *configs = (Candidate(**document) for document in documents.values())
    audited = tuple(config for config in configs if config.is_audited)
    rates = tuple(config.factor for config in configs if config.scaled_from)
    others = tuple(config for config in configs if not config.scaled_from and not config.is_audited)
    return Plan(1, seeds, 1000, 5.0, rates, (stock,), others, audited)


def material_of(settings: Settings, study: optuna.Study, confirmation: list[FrozenTrial] | None = None) -> Material:
    """Of a confirmation with three fresh seeds."""
    return material(settings, study, Runs(confirmation, plan_of(confirmation, 3)) if confirmation else None)


def written(made: Material, options: str = "") -> str:
    return document.to_html(made, options)
