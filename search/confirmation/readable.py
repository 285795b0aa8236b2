"""Whether this release can read a confirmation: its seeds, and what each of its runs was and came to."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, ValidationError

from search.confirmation.candidates import Candidate
from search.settings.best_config import Count
from search.settings.sections import MOST_SEEDS
from search.settings.settings import Settings
from search.study import recorded
from search.study.findings import row_of


class _Run(BaseModel):
    """The attributes that a run is queued with, and why it ended."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    candidate: Candidate
    seed: Count
    length: Literal["full", "truncated"]
    stop_reason: str | None = None


def confirms(attributes: Mapping[str, Any], settings: Settings) -> bool:
    """Whether a study of these attributes is the confirmation of the settings' study."""
    founded = attributes.get("fingerprint")
    return isinstance(founded, dict) and bool(founded.get("confirms") == settings.study.name)


def seeds_of(attributes: Mapping[str, Any], settings: Settings) -> list[int] | None:
    """The seeds of the race, in its order; None where they cannot be read.

    They are the study's: pages and `status` may be asked for without the --seed of the search.
    """
    first = recorded.part(attributes.get("fingerprint"), "seed")
    first = settings.study.seed if first is None else first
    count = attributes.get("seeds", settings.confirm.seeds)
    if not (isinstance(first, int) and isinstance(count, int) and 1 < count <= MOST_SEEDS):
        return None
    return [(first + i) % 2**31 for i in range(count)]


def is_readable(trial: FrozenTrial) -> bool:
    """Whether this release can read what the run was, and, once it has finished, what it came to."""
    try:
        run = _Run.model_validate_json(json.dumps(trial.user_attrs))
        Candidate.from_dict(trial.user_attrs["candidate"])  # raises TypeError for a field of a newer release
    except (ValidationError, TypeError):
        return False
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    evaluations = row_of(trial).evaluations
    values = recorded.part(trial.user_attrs.get("run"), "evaluations")
    is_read = isinstance(values, list) and len(values) == len(evaluations)
    return is_read and bool(evaluations or trial.state == TrialState.PRUNED) and run.stop_reason is not None
