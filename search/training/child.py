"""What the process of a trial does."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.training.run import run_trial
from search.trial import Caller, RunRecord, StopReason, TrialSpec


def run(caller: Caller, spec: str) -> dict[str, Any]:
    """Runs a trial. Says "evaluation" for each one, and "trained" with the reason and the record once it is trained.

    Returns the reason and what it spoke.
    """
    trial = TrialSpec.from_json(spec)

    def trained(reason: StopReason, record: RunRecord) -> bool:
        caller.say("trained", reason=reason, record=asdict(record))
        return caller.is_wanted()

    reason, _ = run_trial(
        trial,
        lambda e: caller.say("evaluation", **asdict(e)),
        caller.should_stop,
        trained=trained,
        go_on=caller.is_wanted,
    )
    spoken = Path(trial.directory) / "speech.json"
    speech = json.loads(spoken.read_text(encoding="utf-8")) if spoken.exists() else None
    return {"reason": reason, "speech": speech}
