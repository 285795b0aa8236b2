"""Whether this release can read a confirmation: its plan, and what each of its runs was and came to."""

from collections.abc import Mapping
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from search.confirmation.candidates import Candidate
from search.confirmation.plan import Plan
from search.settings.settings import Settings
from search.study import recorded
from search.study.findings import row_of
from space.hyperparameters import Count


@dataclass(frozen=True)
class Queued:
    """What a run was, by the attributes of its trial."""

    candidate: Candidate
    seed: Count
    length: Literal["full", "truncated"]
    stop_reason: str = ""


_PLAN, _QUEUED = TypeAdapter(Plan), TypeAdapter(Queued)


def confirms(attributes: Mapping[str, Any], settings: Settings) -> bool:
    """Whether a study of these attributes is the confirmation of the settings' study."""
    return bool(recorded.part(attributes.get("fingerprint"), "confirms") == settings.study.name)


def plan_of(attributes: Mapping[str, Any]) -> Plan | None:
    """What the confirmation works on; None where it cannot be read."""
    return recorded.read(_PLAN, attributes.get("plan"))


def is_readable(trial: FrozenTrial) -> bool:
    """Whether this release can read what the run was, and, once it has finished, what it came to."""
    if recorded.read(_QUEUED, {**trial.user_attrs, "candidate": trial.system_attrs.get("candidate")}) is None:
        return False
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    values, row = recorded.part(trial.system_attrs.get("run"), "evaluations"), row_of(trial)
    is_read = isinstance(values, list) and len(values) == len(row.evaluations)
    has_result = bool(row.evaluations) or trial.state == TrialState.PRUNED
    return is_read and has_result and "stop_reason" in trial.user_attrs
