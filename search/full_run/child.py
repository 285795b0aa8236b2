"""What the processes of a full run do: train under its stopping rules, then make `ready/`."""

import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.full_run.ready import make_ready
from search.full_run.stopping import StoppingRules
from search.settings.best_config import Stopping
from search.training.run import run_trial
from search.trial import Caller, TrialSpec


def run(caller: Caller, spec: str, stopping: str) -> dict[str, Any]:
    """Says "evaluation" and "step"; returns the reason and the record.

    SIGTERM, which a service manager sends to every process, ends it as a stop does: with its state saved.
    """
    order = TrialSpec.from_json(spec)
    signal.signal(signal.SIGTERM, lambda *_: caller.stop())
    reason, record = run_trial(
        order,
        lambda e: caller.say("evaluation", **asdict(e)),
        caller.should_stop,
        judge=StoppingRules(Stopping.model_validate_json(stopping), order.horizon),
        stepped=lambda step: caller.say("step", step=step),
    )
    return {"reason": reason, "record": asdict(record)}


def ready(_caller: Caller, spec: str, report: str) -> None:
    make_ready(TrialSpec.from_json(spec), Path(report))
