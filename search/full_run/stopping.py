"""When a full run ends before its horizon. Asked where the run is, so that not one step follows the evaluation."""

from collections.abc import Sequence

from search.settings.best_config import Stopping
from search.study.pruners import TwoIncreasePruner
from search.trial import Evaluation, StopReason


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
