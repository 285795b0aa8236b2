"""What the process of a trial does."""

from typing import Any

from search.training.run import run_trial
from search.trial import Caller, TrialSpec


def run(caller: Caller, spec: str) -> dict[str, Any]:
    """Runs a trial, which says what `run_trial` says; returns the reason and what it spoke."""
    ended = run_trial(TrialSpec.from_json(spec), caller)
    return {"reason": ended.reason, "speech": ended.speech and ended.speech.to_dict()}
