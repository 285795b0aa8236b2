"""The sampler of a search: Optuna's TPE, which may know trials of earlier studies besides those of its own."""

import warnings
from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple, cast

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from search.study.optuna_private import SeenWith
from search.study.recorded import ORIGIN


class Earlier(NamedTuple):
    """A trial of an earlier study."""

    trial: FrozenTrial
    rank: float | None  # of 0 to 1 within its study, 0 the best; None: pruned
    study: str


def make_sampler(seed: int, search: int, earlier: Sequence[Earlier] = ()) -> TPESampler:
    """Multivariate TPE by groups of parameters. No two searches of a study, resumed or side by side, draw the same."""
    options: dict[str, Any] = {"multivariate": True, "group": True, "constant_liar": True}
    options["seed"] = (seed + 1_000_003 * (search - 1)) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group`
        return WarmSampler(earlier, **options) if earlier else TPESampler(**options)


class WarmSampler(TPESampler):
    """TPE that sees `earlier` trials before those of the study. They are stored nowhere, and nothing else sees them.

    Losses of two studies have no common scale, so an earlier trial counts by its rank: it is given the value that the
    study's own completed trials have at that quantile. An earlier study counts only once its best trial, which the
    study repeats first, was better here than all baselines: else the two are not alike (docs/experiments.md).
    """

    def __init__(self, earlier: Sequence[Earlier], **options: Any) -> None:
        super().__init__(**options)
        self._earlier = earlier

    def infer_relative_search_space(self, study: optuna.Study, *rest: Any) -> Any:
        return super().infer_relative_search_space(self._seen(study), *rest)

    def sample_relative(self, study: optuna.Study, *rest: Any) -> Any:
        return super().sample_relative(self._seen(study), *rest)

    def sample_independent(self, study: optuna.Study, *rest: Any) -> Any:
        return super().sample_independent(self._seen(study), *rest)

    def _seen(self, study: optuna.Study) -> optuna.Study:
        return cast(optuna.Study, SeenWith(study, self._on_its_scale))

    def _on_its_scale(self, own: list[FrozenTrial]) -> list[FrozenTrial]:
        """The trials of the earlier studies that count, with values like those of `own` trials."""
        values = {t.number: t.value for t in own if t.state == TrialState.COMPLETE and t.value is not None}
        baseline = min((values.get(t.number, inf) for t in own if "baseline" in t.user_attrs), default=inf)
        repeated = {t.number: t.user_attrs[ORIGIN].rpartition(", ")[0] for t in own if ORIGIN in t.user_attrs}
        alike = {study for number, study in repeated.items() if values.get(number, inf) < baseline}
        found = [each for each in self._earlier if each.study in alike]
        for trial, rank, _ in found:
            if rank is not None:
                trial.value = float(np.quantile([*values.values()], rank))
        return [each.trial for each in found]
