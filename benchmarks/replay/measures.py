"""What many studies of a strategy on one corpus say: steps to the mark, regret, real wins."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.curves.corpora import STEPS
from benchmarks.replay.studies import CHECKPOINTS, TRIALS, Study, read
from benchmarks.replay.world import seed_deviation, truths

BUDGET = TRIALS * STEPS  # optimizer steps of 40 unpruned full-length runs
MOST = 0.9  # of the studies must hold the mark


@dataclass(frozen=True)
class Mark:
    """The quality to reach on a corpus, in nats, and what it is made of."""

    best_of_40: float
    deviation: float  # between seeds
    lowest: float  # of all recorded configs

    @property
    def value(self) -> float:
        return self.best_of_40 + self.deviation

    def regret(self, truth: float) -> float:
        """In deviations above the best recorded config."""
        return (truth - self.lowest) / self.deviation


def mark_of(corpus: str, unpruned: Sequence[Study]) -> Mark:
    """Of the studies of 40 unpruned full-length random runs."""
    truth = statistics.median(study.checkpoints[-1].truth for study in unpruned)
    return Mark(truth, seed_deviation(read(corpus)), min(truths(read(corpus))))


@dataclass(frozen=True)
class Cost:
    """Of a search that ends after so many trials, before its race and with it. Means."""

    trials: int
    steps: float
    confirmed: float
    clock: float
    reached: float  # share of the studies whose best config before the race is as good as the mark
    reached_confirmed: float  # whose export is


def cost_after(studies: Sequence[Study], mark: Mark, index: int) -> Cost:
    points = [study.checkpoints[index] for study in studies]
    return Cost(
        CHECKPOINTS[index],
        statistics.fmean(c.found for c in points),
        statistics.fmean(c.confirmed for c in points),
        statistics.fmean(c.confirmed_clock for c in points),
        statistics.fmean(c.truth <= mark.value for c in points),
        statistics.fmean(c.exported_truth <= mark.value for c in points),
    )


def fewest(studies: Sequence[Study], mark: Mark, confirmed: bool) -> Cost:
    """Of the number of trials with the fewest steps after which `MOST` of the studies hold the mark.

    Where none does, the steps are infinite.
    """
    costs = [cost_after(studies, mark, i) for i in range(len(CHECKPOINTS))]
    good = [c for c in costs if (c.reached_confirmed if confirmed else c.reached) >= MOST]
    most = max(c.reached_confirmed if confirmed else c.reached for c in costs)
    none = Cost(0, math.inf, math.inf, math.inf, most, most)
    return min(good, key=lambda c: c.confirmed if confirmed else c.steps, default=none)


@dataclass(frozen=True)
class Quality:
    """Of what is exported after all 40 trials."""

    regret: float  # median, in deviations between seeds, of the best config before the race
    regret_exported: float
    beats_stock: float  # share of the studies, in truth
    declares_win: float  # share that says so, after the race
    naive_win: float  # share that would say so without it


def quality(studies: Sequence[Study], mark: Mark) -> Quality:
    points = [study.checkpoints[-1] for study in studies]
    return Quality(
        statistics.median(mark.regret(c.truth) for c in points),
        statistics.median(mark.regret(c.exported_truth) for c in points),
        statistics.fmean(c.exported_truth < s.stock_truth for c, s in zip(points, studies, strict=True)),
        statistics.fmean(c.declares_win for c in points),
        statistics.fmean(c.naive_win for c in points),
    )


def upper_bound(wins: int, races: int) -> float:
    """Of a share, at 95 % confidence, one-sided (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return float(beta.ppf(0.95, wins + 1, races - wins)) if wins < races else 1.0
