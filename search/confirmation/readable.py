"""Whether this release can read a confirmation: its plan, and what each of its runs was and came to."""

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.confirmation.candidates import Candidate
from search.confirmation.plan import Plan
from search.settings import best_config
from search.settings.best_config import AuditedTrial, FullRun
from search.settings.sections import FEWEST_SEEDS, MOST_SEEDS
from search.settings.settings import Settings
from search.study import recorded
from search.study.findings import row_of


def confirms(attributes: Mapping[str, Any], settings: Settings) -> bool:
    """Whether a study of these attributes is the confirmation of the settings' study."""
    founded = attributes.get("fingerprint")
    return isinstance(founded, dict) and bool(founded.get("confirms") == settings.study.name)


def plan_of(attributes: Mapping[str, Any]) -> Plan | None:
    """What the confirmation works on; None where it cannot be read."""
    try:
        plan = Plan.from_dict(attributes["plan"])
        for config in (*plan.recipes, *plan.trials, *plan.audited):
            _check(config)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    whole = all(isinstance(value, int) for value in (plan.seed, plan.seeds, plan.horizon))
    is_whole = whole and FEWEST_SEEDS <= plan.seeds <= MOST_SEEDS and isinstance(plan.base, float) and plan.recipes
    return plan if is_whole else None


def is_readable(trial: FrozenTrial) -> bool:
    """Whether this release can read what the run was, and, once it has finished, what it came to."""
    attributes = trial.user_attrs
    try:
        _check(Candidate.from_dict(trial.system_attrs["candidate"]))
        run = {"trial": trial.number, "seed": attributes["seed"], "value": None, "best_step": None}
        FullRun.model_validate({**run, "stop_reason": attributes.get("stop_reason", "")}, strict=True)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    if not isinstance(attributes.get("length"), str):
        return False
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    values, row = recorded.part(trial.system_attrs.get("run"), "evaluations"), row_of(trial)
    is_read = isinstance(values, list) and len(values) == len(row.evaluations)
    has_result = bool(row.evaluations) or trial.state == TrialState.PRUNED
    return is_read and has_result and "stop_reason" in attributes


def _check(config: Candidate) -> None:
    """Raises ValueError for a config that the result could not hold."""
    found = {"name": config.name, "trial": config.trial, "truncated": config.truncated, "mean": None}
    knobs = {"hyperparameters": config.point, "runs": [], "dropped_after": None}
    best_config.Candidate.model_validate({**found, **knobs}, strict=True)
    pruned = {"trial": config.trial or 0, "pruned_at": config.pruned_at or 0, "truncated": None, "full": None}
    AuditedTrial.model_validate({**pruned, "pruned_value": config.pruned_value or 0.0}, strict=True)
