"""What people tell a study from any machine that reaches its database."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.errors import UserError
from search.settings.sections import STOCK
from search.settings.settings import Settings
from search.study import findings, storage
from search.study.fingerprint import differing_space
from search.study.ledger import Ledger
from search.study.optuna_private import study_id, trial_id
from search.trial import StopReason
from space.hyperparameters import Hyperparameters


def open_ledger(settings: Settings) -> tuple[Ledger, Mapping[str, Any], list[FrozenTrial]]:
    """Of the study, to tell it something; its attributes and trials. Raises UserError when it is not there, or ours."""
    study = storage.load_study(settings)
    findings.refuse_foreign(study)
    ledger = Ledger(storage.open_storage(settings.storage_url), study_id(study))
    return ledger, study.user_attrs, study.get_trials(deepcopy=False)


def stop_trial(ledger: Ledger, trials: Sequence[FrozenTrial], number: int) -> None:
    """Ends a running trial, which keeps its best evaluation. Raises UserError for one that this is not possible for.

    The stock recipe runs to its end: every other result is compared with it.
    """
    if not 0 <= number < len(trials):
        raise UserError(f"the study has no trial {number}; study.py status shows those that run")
    trial = trials[number]
    if trial.state != TrialState.RUNNING:
        state = "waits in the queue" if trial.state == TrialState.WAITING else f"has ended ({_end_of(trial)})"
        raise UserError(f"trial {number} does not run: it {state}; study.py status shows those that run")
    if is_stock(trial):
        raise UserError(
            f"trial {number} runs the stock recipe, with which every other trial is compared, so it is not ended early;"
            " name another trial, or stop all with --now, which runs it again later"
        )
    running = {trial_id(each) for each in trials if each.state == TrialState.RUNNING}
    ledger.steer(lambda said: said.with_ending(tuple(sorted({*said.ending, trial_id(trial)} & running))))


def is_stock(trial: FrozenTrial) -> bool:
    """Whether it runs the stock recipe."""
    return trial.user_attrs.get("baseline") == STOCK or "repeat" in trial.user_attrs


def _end_of(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("stop_reason", StopReason.CRASHED))


def params_of(points: Sequence[Hyperparameters], settings: Settings, made: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points as parameters of the study with attributes `made`. Raises UserError for one outside its space."""
    if differing := differing_space(made["fingerprint"], settings):
        raise UserError(
            f"study {settings.study.name!r} was made with another space; give its settings file with --settings:",
            differing,
        )
    space, found = settings.search_space(), []
    for place, point in enumerate(points, 1):
        params, clipped = space.to_params(point)
        if clipped:
            raise UserError(
                f"point {place} of {len(points)} is outside the study's space, and would be changed: "
                f"{', '.join(clipped)}; nothing was queued"
            )
        found.append(params)
    return found
