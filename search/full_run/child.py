"""What the processes of a full run do: train under its stopping rules, then make `ready/`."""

import signal
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from search.full_run.ready import make_ready
from search.settings.best_config import Stopping
from search.study.pruners import TwoIncreasePruner
from search.training.run import run_trial
from search.trial import Caller, Evaluation, StopReason, TrialSpec


def run(caller: Caller, spec: str, stopping: str) -> dict[str, Any]:
    """Trains, and says what `run_trial` says; returns the reason and the record.

    SIGTERM, which a service manager sends to every process, ends it as a stop does: with its state saved.
    """
    order = TrialSpec.from_json(spec)
    signal.signal(signal.SIGTERM, lambda *_: caller.stop())
    rules = Stopping.model_validate_json(stopping)
    ended = run_trial(order, caller, partial(stop_reason, rules, order.horizon))
    return {"reason": ended.reason, "record": asdict(ended.record)}


def stop_reason(rules: Stopping, horizon: int, evaluations: Sequence[Evaluation]) -> StopReason | None:
    """Why a run of `horizon` optimizer steps ends with the last of `evaluations`, or None; there it has finished."""
    if not evaluations:
        return None
    last = evaluations[-1]
    if not last.is_finite:
        return StopReason.DIVERGED
    if last.step >= horizon:
        return None
    if rules.n_increases is not None:
        pruner = TwoIncreasePruner(rules.n_increases, rules.min_delta, rules.base)
        if pruner.fires([e.mel_ce for e in evaluations]):
            return StopReason.TWO_INCREASES
    return StopReason.GAP if last.gap > rules.max_gap else None


def ready(_caller: Caller, spec: str, report: str, small: bool) -> None:
    make_ready(TrialSpec.from_json(spec), Path(report), small)
