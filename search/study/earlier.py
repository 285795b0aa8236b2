"""What a new study recalls of earlier ones, for a warm start. Each is read once, as `study.py status` reads it."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState
from pydantic import ValidationError

from search.errors import UserError
from search.settings.settings import Settings, safe_url
from search.study import storage
from search.study.ledger import FINISHED_STATES
from search.study.warm_start import Memory
from space.search_space import SearchSpace


def recall(settings: Settings) -> Memory | None:
    """What a new study is to remember of those that `study.warm_start` names; None for a study that exists.

    Raises UserError for an earlier study that cannot help.
    """
    names = [*dict.fromkeys(settings.study.warm_start)]
    if not names or storage.exists(settings):
        return None
    space, trials, left_out = settings.search_space(), [], 0
    for name in names:
        fit, others = _trials(name, settings, space)
        trials += fit
        left_out += others
    return {"studies": names, "left_out": left_out, "trials": trials}


def _trials(name: str, settings: Settings, space: SearchSpace) -> tuple[list[dict[str, Any]], int]:
    """(the finished trials of study `name` that fit into `space`, how many do not)."""
    study, there = _study(name, settings)
    finished = [t for t in study.get_trials(deepcopy=False, states=FINISHED_STATES) if not t.user_attrs.get("repeat")]
    done = sorted((t for t in finished if t.state == TrialState.COMPLETE), key=lambda t: t.value or 0.0)
    if not done:
        raise UserError(f"study {name!r} of --warm-start has no completed trial; leave it out (study.warm_start)")
    ranks = {trial.number: (place + 0.5) / len(done) for place, trial in enumerate(done)}
    fit, clipped = [], []
    for trial in finished:
        params, changes = space.to_params(there.from_params(trial.params))
        clipped += changes[:1]
        if not changes:
            fit.append({"study": name, "number": trial.number, "params": params, "rank": ranks.get(trial.number)})
    if all(trial["rank"] is None for trial in fit):
        raise UserError(
            f"study {name!r} of --warm-start has no completed trial that fits into this search's space ({clipped[0]});"
            " leave it out (study.warm_start), or give this search its space"
        )
    return fit, len(finished) - len(fit)


def _study(name: str, settings: Settings) -> tuple[optuna.Study, SearchSpace]:
    """The study `name`, where a command with --study would look for it, and its space. Raises UserError."""
    named = settings.model_copy(update={"study": settings.study.model_copy(update={"name": name})})
    if not storage.exists(named):
        raise UserError(
            f"study {name!r} of --warm-start does not exist in {safe_url(named.storage_url)}; study.py list shows those"
            " that do (study.warm_start)"
        )
    study = storage.load_study(named)
    try:
        return study, SearchSpace.model_validate({"version": 1, **_nested(study.user_attrs["fingerprint"])})
    except (KeyError, ValidationError) as error:
        raise UserError(
            f"study {name!r} of --warm-start has no search space that this release can read; leave it out"
            " (study.warm_start)"
        ) from error


def _nested(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """The space of a fingerprint, whose names are flat."""
    found: dict[str, Any] = {}
    for name, value in fingerprint.items():
        section, _, path = name.partition(".")
        *parts, last = path.split(".")
        if section == "space":
            inner = found
            for part in parts:
                inner = inner.setdefault(part, {})
            inner[last] = value
    return found
