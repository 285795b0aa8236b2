"""Trials that were cut short: failed for good, and queued again with the same parameters, exactly once each."""

import datetime
import socket
from typing import Any

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.trial import INTERRUPTIONS, StopReason

_UNSIGNED = datetime.timedelta(seconds=60)  # far longer than the two statements between ask and signature take


def owner() -> dict[str, Any]:
    """Who runs a trial: this process of this machine. The start time tells a process from a later one of its id."""
    return {"host": socket.gethostname(), "pid": psutil.Process().pid, "started": psutil.Process().create_time()}


def is_dead(owned_by: dict[str, Any] | None) -> bool:
    """Whether the owner was a process of this machine that is gone. An owner elsewhere is presumed alive."""
    if not owned_by or owned_by["host"] != socket.gethostname():
        return False
    try:
        process = psutil.Process(owned_by["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return bool(abs(process.create_time() - owned_by["started"]) > 1)
    except psutil.NoSuchProcess:
        return True


def _is_abandoned(trial: FrozenTrial) -> bool:
    """Whether a trial without an owner was asked for by a process that died before it could sign it."""
    started = trial.datetime_start
    return started is None or datetime.datetime.now() - started > _UNSIGNED


def recover(study: optuna.Study, max_retries: int) -> int:
    """Fails the trials that a dead supervisor of this machine left RUNNING, and queues what was cut short.

    Safe to interrupt: what was failed and not queued is queued by the next call. Returns how many were queued.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if is_dead(trial.user_attrs["owner"]) if "owner" in trial.user_attrs else _is_abandoned(trial):
            fail(study, trial, StopReason.PREEMPTED)
    return requeue(study, max_retries)


def fail(study: optuna.Study, trial: FrozenTrial, reason: StopReason) -> None:
    """FAIL with the reason. A trial that someone else has finished meanwhile stays as it is."""
    try:
        study._storage.set_trial_user_attr(trial._trial_id, "stop_reason", str(reason))
        study.tell(trial.number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):
        return


def requeue(study: optuna.Study, max_retries: int) -> int:
    """Queues each interrupted trial that has no successor yet, at most `max_retries` times in a row."""
    trials = study.get_trials(deepcopy=False)
    succeeded = {trial.user_attrs.get("retry_of") for trial in trials}
    queued = 0
    for trial in trials:
        attempt = trial.user_attrs.get("attempt", 0)
        stopped = trial.user_attrs.get("stop_reason")
        # A stop by hand or a dead supervisor says nothing against the trial; only its own failures are counted.
        counts = stopped not in (StopReason.STOPPED_BY_USER, StopReason.PREEMPTED)
        if (
            trial.state == TrialState.FAIL
            and stopped in INTERRUPTIONS
            and trial.number not in succeeded
            and attempt + counts <= max_retries
        ):
            kept = {k: v for k, v in trial.user_attrs.items() if k == "baseline"}
            # A queued trial may have been cut short before it was asked for all that it was queued with.
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            study.enqueue_trial(params, user_attrs={**kept, "retry_of": trial.number, "attempt": attempt + counts})
            queued += 1
    return queued
