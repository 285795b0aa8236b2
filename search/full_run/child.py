"""What the processes of a full run do: train under its stopping rules, then make `ready/`."""

import signal
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from search.full_run.ready import make_ready
from search.full_run.stopping import stop_reason
from search.settings.best_config import Stopping
from search.training.run import run_trial
from search.trial import Caller, TrialSpec


def run(caller: Caller, spec: str, stopping: str) -> dict[str, Any]:
    """Trains, and says what `run_trial` says; returns the reason and the record.

    SIGTERM, which a service manager sends to every process, ends it as a stop does: with its state saved.
    """
    order = TrialSpec.from_json(spec)
    signal.signal(signal.SIGTERM, lambda *_: caller.stop())
    rules = Stopping.model_validate_json(stopping)
    ended = run_trial(order, caller, partial(stop_reason, rules, order.horizon))
    return {"reason": ended.reason, "record": asdict(ended.record)}


def ready(_caller: Caller, spec: str, report: str, small: bool) -> None:
    make_ready(TrialSpec.from_json(spec), Path(report), small)
