"""What a study's confirmation has come to, from trials that the dashboard has read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from search import recorded
from search.best_config import AuditedTrial, Confirmation, FullRun, Knobs
from search.best_config import Candidate as Written
from search.confirmation.candidates import Candidate
from search.dashboard import figures
from search.report import Findings, row_of
from search.sections import CONFIRMATION
from search.settings import Settings

if TYPE_CHECKING:
    from search.confirmation.proof import Runs

SEEDS = 20  # as many as confirm.seeds allows


@dataclass(frozen=True)
class Proof:
    runs: "Runs"
    found: Confirmation | None  # None while it is not over
    figures: dict[str, Any]  # Plotly's, by name


def proof(
    attributes: dict[str, Any], trials: Sequence[FrozenTrial], findings: Findings, settings: Settings
) -> Proof | None:
    """Of the confirmation with these `attributes` and `trials`; `findings` are the search's. None: it is none."""
    founded = attributes["fingerprint"]
    if not isinstance(founded, dict) or founded.get("confirms") != settings.study.name:
        return None
    from search.confirmation.proof import FULL, Runs, confirmation  # scipy: half a second, where there is something

    count = attributes.get("seeds", settings.confirm.seeds)
    first = founded.get("seed", settings.study.seed)
    if not (isinstance(count, int) and 1 < count <= SEEDS and isinstance(first, int)):
        return None
    seeds = [(first + i) % 2**31 for i in range(count)]
    runs = Runs([trial for trial in trials if _is_known(trial)], seeds, attributes["full_horizon"])
    found = confirmation(runs, findings, settings, settings.study.name + CONFIRMATION)
    fit, base = runs.race().fit, findings.base.mel_ce
    means = {}
    for name, mean in fit.means.items():
        below = fit.below(base, name)
        low, high = (None if end is None else base - end for end in (below.high, below.low))
        means[name] = (mean, low, high)
    exported = found.exported if found else None
    drawn = {
        "confirmation": figures.confirmation(means, runs.values(FULL), base, exported, fit.level),
        "fidelity": figures.fidelity(found) if found else None,
    }
    return Proof(runs, found, {name: figure for name, figure in drawn.items() if figure})


def _is_known(trial: FrozenTrial) -> bool:
    """Whether this release can read what the run was, and, once it has finished, what it came to."""
    attributes = trial.user_attrs
    try:
        _check(Candidate.from_dict(attributes["candidate"]))
        run = {"trial": trial.number, "seed": attributes["seed"], "value": None, "best_step": None}
        FullRun.model_validate({**run, "stop_reason": attributes.get("stop_reason", "")}, strict=True)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    if not isinstance(attributes.get("length"), str):
        return False
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    values, row = recorded.part(attributes.get("run"), "evaluations"), row_of(trial)
    is_read = isinstance(values, list) and len(values) == len(row.evaluations)
    has_result = bool(row.evaluations) or trial.state == TrialState.PRUNED
    return is_read and has_result and "stop_reason" in attributes


def _check(config: Candidate) -> None:
    """Raises ValueError for a config that the result could not hold."""
    found = {"name": config.name, "trial": config.trial, "truncated": config.truncated, "mean": None}
    knobs = Knobs(**config.point.to_dict())
    Written.model_validate({**found, "hyperparameters": knobs, "runs": [], "dropped_after": None}, strict=True)
    pruned = {"trial": config.trial or 0, "pruned_at": config.pruned_at or 0, "truncated": None, "full": None}
    AuditedTrial.model_validate({**pruned, "pruned_value": config.pruned_value or 0.0}, strict=True)
