"""The two-increase rule, and several rules at once that say which of them fired."""

import itertools
import math
from collections.abc import Mapping, Sequence

import optuna
from optuna.pruners import BasePruner, MedianPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.ties import RESOLUTION, is_tie


class TwoIncreasePruner(BasePruner):
    """Stops a trial when its evaluation rose `n_increases` times in a row.

    It fires when each of the last `n_increases` values is higher than the one before by more than `min_delta`. A tie
    is no increase; a NaN after a number is one; a NaN after a NaN is none. Unlike `PatientPruner(None, 1)` it looks at
    consecutive values, not at how long ago the best one was. Fits any minimising study.

    Args:
        n_increases: How many consecutive increases stop the trial, at least 1.
        min_delta: What a rise must exceed to count, in the objective's unit, at least 0.

    Raises:
        ValueError: from the constructor for a value out of range; from `prune` in a study that does not minimise one
            objective, where a rise is no loss.
    """

    def __init__(self, n_increases: int = 2, min_delta: float = 0.0) -> None:
        if isinstance(n_increases, bool) or not isinstance(n_increases, int) or n_increases < 1:
            raise ValueError(f"n_increases is {n_increases!r}; it must be a whole number, 1 or above")
        if not (math.isfinite(min_delta) and min_delta >= 0):
            raise ValueError(f"min_delta is {min_delta!r}; it must be a finite number, 0 or above")
        self._n_increases = n_increases
        self._min_delta = min_delta

    def prune(self, study: "optuna.study.Study", trial: FrozenTrial) -> bool:
        if study.directions != [StudyDirection.MINIMIZE]:
            raise ValueError(
                f"TwoIncreasePruner needs a study that minimises one objective; this one has directions"
                f" {[d.name.lower() for d in study.directions]}"
            )
        return self.fires([trial.intermediate_values[step] for step in sorted(trial.intermediate_values)])

    def fires(self, values: Sequence[float]) -> bool:
        """Whether the last of `values`, in the order of their steps, end the run."""
        if len(values) <= self._n_increases:
            return False
        last = values[-self._n_increases - 1 :]
        return all(self._rose(a, b) for a, b in itertools.pairwise(last))

    def _rose(self, before: float, after: float) -> bool:
        if math.isnan(after):
            return not math.isnan(before)
        return after - before > self._min_delta and not is_tie(before, after)


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
