"""The two-increase rule, and several rules at once that say which of them fired."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import optuna
from optuna.pruners import BasePruner, MedianPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.ties import RESOLUTION, is_lower, is_tie


class TwoIncreasePruner(BasePruner):
    """Stops a trial whose evaluation rises `n_increases` times in a row, if that is more than noise.

    With `min_delta` "auto", the trial's own course says so. The rule fires when the last value lies above the lowest by
    more than half of what an evaluation gained on average up to the lowest. One rise more than `n_increases` ends the
    trial however small it is: noise rarely rises so often in a row. Nothing here depends on the objective's unit. The
    half was measured (docs/experiments.md).

    With a number, the rule fires when each of the last `n_increases` values is higher than the one before by more than
    that, and looks at nothing else.

    A tie is no increase; a NaN after a number is one; a NaN after a NaN is none. Unlike `PatientPruner(None, 1)` the
    rule looks at consecutive values, not at how long ago the best one was. Fits any minimising study.

    Args:
        n_increases: How many consecutive increases stop the trial, at least 1.
        min_delta: "auto", or what a rise must exceed to count, in the objective's unit, at least 0.
        start: The objective before the first step, from which "auto" counts gains. None: the first value stands for it,
            and while that is the lowest, only one rise more than `n_increases` stops the trial.

    Raises:
        ValueError: from the constructor for a value out of range; from `prune` in a study that does not minimise one
            objective, where a rise is no loss.
    """

    def __init__(
        self, n_increases: int = 2, min_delta: float | Literal["auto"] = "auto", start: float | None = None
    ) -> None:
        if isinstance(n_increases, bool) or not isinstance(n_increases, int) or n_increases < 1:
            raise ValueError(f"n_increases is {n_increases!r}; it must be a whole number, 1 or above")
        if min_delta != "auto" and (isinstance(min_delta, str) or not (math.isfinite(min_delta) and min_delta >= 0)):
            raise ValueError(f'min_delta is {min_delta!r}; it must be "auto" or a finite number, 0 or above')
        if start is not None and not math.isfinite(start):
            raise ValueError(f"start is {start!r}; it must be a finite number, or None")
        self._n_increases = n_increases
        self._min_delta = min_delta
        self._start = start

    def prune(self, study: "optuna.study.Study", trial: FrozenTrial) -> bool:
        if study.directions != [StudyDirection.MINIMIZE]:
            raise ValueError(
                f"TwoIncreasePruner needs a study that minimises one objective; this one has directions"
                f" {[d.name.lower() for d in study.directions]}"
            )
        return self.fires([trial.intermediate_values[step] for step in sorted(trial.intermediate_values)])

    def fires(self, values: Sequence[float]) -> bool:
        """Whether the last of `values`, in the order of their steps, end the run."""
        if not isinstance(self._min_delta, str):
            return rises(values, self._min_delta) >= self._n_increases
        count = rises(values)
        return count > self._n_increases or (count == self._n_increases and self._is_far(values))

    def _is_far(self, values: Sequence[float]) -> bool:
        """Whether the last of `values` lies above the lowest by more than half of an evaluation's average gain."""
        low = min(value for value in values if not math.isnan(value))
        count = next(i for i, value in enumerate(values, 1) if is_tie(value, low))  # evaluations up to the lowest
        start = self._start
        if start is None:
            start, count = values[0], count - 1
        gain = (start - low) / count if count else math.inf
        return math.isnan(values[-1]) or is_lower(low + gain / 2, values[-1])


def rises(values: Sequence[float], min_delta: float = 0.0) -> int:
    """How many of `values` in a row, up to the last one, rose by more than `min_delta`."""
    last = reversed(list(itertools.pairwise(values)))
    return sum(1 for _ in itertools.takewhile(lambda pair: _rose(*pair, min_delta), last))


def _rose(before: float, after: float, min_delta: float) -> bool:
    if math.isnan(after):
        return not math.isnan(before)
    return after - before > min_delta and not is_tie(before, after)


class MedianRule(BasePruner):
    """Optuna's median rule from `first` on, for minimising studies. A trial that ties with the median goes on.

    Optuna's own reads the whole study before it looks at its warm-up, and prunes for a difference in the last digit.

    Args:
        startup_trials: How many trials must have completed before the rule acts.
        first: The first step at which it acts.
    """

    def __init__(self, startup_trials: int, first: int) -> None:
        self._first = first
        self._pruner = MedianPruner(startup_trials, first)

    def prune(self, study: "optuna.study.Study", trial: FrozenTrial) -> bool:
        if trial.last_step is None or trial.last_step < self._first:
            return False
        lowered = {step: value - RESOLUTION * abs(value) for step, value in trial.intermediate_values.items()}
        return self._pruner.prune(study, create_trial(state=TrialState.RUNNING, intermediate_values=lowered))


class FirstToFire(BasePruner):
    """Prunes when any of `pruners` does, asked in their order.

    Args:
        pruners: Rules by name, at least one. The name is what `fired` answers.
    """

    def __init__(self, pruners: Mapping[str, BasePruner]) -> None:
        if not pruners:
            raise ValueError("pruners is empty; give at least one, or use optuna.pruners.NopPruner")
        self._pruners = dict(pruners)

    def prune(self, study: "optuna.study.Study", trial: FrozenTrial) -> bool:
        return self.fired(study, trial) is not None

    def fired(self, study: "optuna.study.Study", trial: FrozenTrial) -> str | None:
        """The name of the first rule that stops `trial` as it stands, or None."""
        for name, pruner in self._pruners.items():
            if pruner.prune(study, trial):
                return name
        return None
