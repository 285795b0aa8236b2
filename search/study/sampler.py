"""Optuna's TPE with its repeated work left out: what a search samples in a long study is the same, and costs less.

Optuna goes through the whole history five times and more to sample one trial, once for each group of parameters.
Measured with `benchmarks.scale`; that nothing else changes is in tests/test_sampler.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.search_space.group_decomposed import _GroupDecomposedSearchSpace, _SearchSpaceGroup
from optuna.trial import FrozenTrial, TrialState

RANKED = (TrialState.COMPLETE, TrialState.PRUNED)
Space = dict[str, BaseDistribution]
Divided = tuple[list[FrozenTrial], list[FrozenTrial]]


class Sampler(TPESampler):
    """Optuna's `TPESampler`, with its arguments, for one study with one objective.

    The trials are divided into good and bad ones once for all groups of parameters, only trials that finished since
    are looked at for new groups, and what a finished trial contributes to a group is kept.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        if self._group_decomposed_search_space:
            self._group_decomposed_search_space = _Groups(include_pruned=True)
        self._last: tuple[list[FrozenTrial], Divided] = [], ([], [])  # trials, and how they were divided
        self._points: dict[tuple[tuple[str, BaseDistribution], ...], dict[int, tuple[float, ...] | None]] = {}

    def _sample(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        good, bad = self._divide(study, trial.number)
        l_x = self._build_parzen_estimator(study, search_space, good, handle_below=True)
        g_x = self._build_parzen_estimator(study, search_space, bad, handle_below=False)
        candidates = l_x.sample(self._rng.rng, self._n_ei_candidates)
        best = self._compare(candidates, self._compute_acquisition_func(candidates, l_x, g_x))
        return {name: distribution.to_external_repr(best[name]) for name, distribution in search_space.items()}

    def _divide(self, study: Study, own: int) -> Divided:
        """The trials that TPE calls below and above. Those of the group before, if nothing has changed since."""
        before, divided = self._last
        states = [*RANKED, TrialState.RUNNING] if self._constant_liar else RANKED
        found = study._get_trials(deepcopy=False, states=states, use_cache=not self._constant_liar)
        trials = [t for t in found if t.number != own]
        if trials != before:  # the same objects are equal at once
            finished = sum(t.state != TrialState.RUNNING for t in trials)
            divided = _split_trials(study, trials, (self._gamma or default_gamma)(finished))
            self._last = trials, divided
        return divided

    def _get_internal_repr(
        self, trials: Sequence[FrozenTrial], search_space: Space, study: Study
    ) -> dict[str, np.ndarray]:
        points = self._points.setdefault(tuple(search_space.items()), {})
        found = []
        for trial in trials:
            if trial._trial_id in points:
                point = points[trial._trial_id]
            else:
                point = _point(self._get_params(trial, study), search_space)
                if trial.state.is_finished():
                    points[trial._trial_id] = point
            if point is not None:
                found.append(point)
        columns = np.array(found, dtype=float).reshape(len(found), len(search_space)).T
        return dict(zip(search_space, columns, strict=True))


def _point(params: dict[str, Any], search_space: Space) -> tuple[float, ...] | None:
    """A trial's place in a group of parameters; None if it was not asked for all of them."""
    if not search_space.keys() <= params.keys():
        return None
    return tuple(distribution.to_internal_repr(params[name]) for name, distribution in search_space.items())


class _Groups(_GroupDecomposedSearchSpace):
    """Parameters that occur together. A trial that was counted changes nothing when it is counted again."""

    def __init__(self, include_pruned: bool) -> None:
        super().__init__(include_pruned)
        self._counted: set[int] = set()

    def calculate(self, study: Study, use_cache: bool = False) -> _SearchSpaceGroup:
        for trial in study._get_trials(deepcopy=False, states=RANKED, use_cache=use_cache):
            if trial._trial_id not in self._counted:
                self._counted.add(trial._trial_id)
                self._search_space.add_distributions(trial.distributions)
        copied = _SearchSpaceGroup()
        copied._search_spaces = [dict(space) for space in self._search_space.search_spaces]
        return copied
