"""When a full run ends before its horizon. Asked where the run is, so that not one step follows the evaluation."""

from collections.abc import Sequence

from search.settings.best_config import Stopping
from search.study.pruners import TwoIncreasePruner
from search.trial import Evaluation, StopReason


class StoppingRules:
    """The rules of a full run of `horizon` optimizer steps."""

    def __init__(self, stopping: Stopping, horizon: int) -> None:
        self._stopping = stopping
        self._horizon = horizon

    def __call__(self, evaluations: Sequence[Evaluation]) -> StopReason | None:
        """Why the run ends with the last of `evaluations`, or None. At the horizon it has finished."""
        if not evaluations:
            return None
        last = evaluations[-1]
        if not last.is_finite:
            return StopReason.DIVERGED
        if last.step >= self._horizon:
            return None
        if self._rose([e.mel_ce for e in evaluations]):
            return StopReason.TWO_INCREASES
        return StopReason.GAP if last.gap > self._stopping.max_gap else None

    def _rose(self, values: list[float]) -> bool:
        if self._stopping.n_increases is None:
            return False
        return TwoIncreasePruner(self._stopping.n_increases, self._stopping.min_delta).fires(values)
