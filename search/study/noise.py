"""The noise of seeds: how far runs of one config differ by chance."""

import math
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState


def seed_sd(groups: Iterable[Sequence[float]]) -> tuple[float | None, int]:
    """(standard deviation between runs of one config, its degrees of freedom), pooled over `groups` of such runs.

    None with 0 degrees of freedom: no config has two runs. Values that are not finite are left out.
    """
    total, freedom = 0.0, 0
    for group in groups:
        values = [value for value in group if math.isfinite(value)]
        if len(values) < 2:
            continue
        mean = math.fsum(values) / len(values)
        total += math.fsum((value - mean) ** 2 for value in values)
        freedom += len(values) - 1
    return (math.sqrt(total / freedom), freedom) if freedom else (None, 0)


def repeats_sd(trials: Sequence[FrozenTrial]) -> tuple[float | None, int]:
    """`seed_sd` of the repeats of the stock recipe among `trials`; one that diverged has no lowest evaluation."""
    repeats = [t for t in trials if "repeat" in t.user_attrs and t.state == TrialState.COMPLETE]
    return seed_sd([[t.value for t in repeats if t.value is not None]])
