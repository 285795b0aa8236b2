"""What many studies of a strategy say: steps to the mark, regret, real wins and false ones."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.curves.corpora import STEPS
from benchmarks.replay.studies import CHECKPOINTS, TRIALS, Checkpoint, Study, read
from benchmarks.replay.world import seed_deviation, truths

BUDGET = TRIALS * STEPS  # optimizer steps of 40 unpruned full-length runs


@dataclass(frozen=True)
class Mark:
    """The quality to reach on a corpus, in nats, and what it is made of."""

    best_of_40: float
    deviation: float  # between seeds
    lowest: float  # of all recorded configs

    @property
    def value(self) -> float:
        return self.best_of_40 + self.deviation


def marks(unpruned: Sequence[Study]) -> dict[str, Mark]:
    """Of the studies of 40 unpruned full-length random runs."""
    found = {}
    for corpus in sorted({study.corpus for study in unpruned}):
        truth = statistics.median(s.checkpoints[-1].truth for s in unpruned if s.corpus == corpus)
        found[corpus] = Mark(truth, seed_deviation(read(corpus)), min(truths(read(corpus))))
    return found


def steps_to_mark(studies: Sequence[Study], mark: Mapping[str, Mark], share: float = 0.5) -> float:
    """Optimizer steps after which so large a share of the studies holds a config that good; infinite if never.

    Looked at together at each number of steps: a study that was lucky early and lost it again counts only meanwhile.
    """
    changes = sorted(
        (steps, index, truth <= mark[study.corpus].value)
        for index, study in enumerate(studies)
        for steps, truth in study.anytime
    )
    holds = [False] * len(studies)
    count = 0
    for steps, index, good in changes:
        count += good - holds[index]
        holds[index] = good
        if count >= share * len(studies):
            return steps
    return math.inf


def best_checkpoint(studies: Sequence[Study], mark: Mapping[str, Mark], confirmed: bool, share: float = 0.5) -> "Cost":
    """The fewest mean steps of a search of a fixed number of trials after which so many studies hold the mark."""
    costs = [cost_of(studies, mark, i, confirmed) for i in range(len(CHECKPOINTS))]
    reached = [cost for cost in costs if cost.reached >= share]
    return min(reached, key=lambda cost: cost.steps, default=Cost(0, math.inf, math.inf, costs[-1].reached))


@dataclass(frozen=True)
class Cost:
    """Of a search that ends after so many trials."""

    trials: int
    steps: float  # mean, with the confirmation's where there is one
    clock: float
    reached: float  # share of the studies whose export is as good as the mark


def cost_of(studies: Sequence[Study], mark: Mapping[str, Mark], index: int, confirmed: bool) -> Cost:
    points = list(_at(studies, index))
    return Cost(
        CHECKPOINTS[index],
        statistics.fmean(c.trained + (c.confirming if confirmed else 0) for _, c in points),
        statistics.fmean(c.clock + (c.confirming_clock if confirmed else 0) for _, c in points),
        statistics.fmean((c.confirmed_truth if confirmed else c.truth) <= mark[s].value for s, c in points),
    )


@dataclass(frozen=True)
class Quality:
    """Of what is exported after all 40 trials."""

    regret: float  # median, in deviations between seeds, against the best recorded config
    regret_confirmed: float
    beats_stock: float  # share of the studies, in truth
    declares_win: float  # share that says so, after the confirmation
    naive_win: float  # share that would say so by the search alone


def quality(studies: Sequence[Study], mark: Mapping[str, Mark]) -> Quality:
    points = list(_at(studies, -1))

    def regret(corpus: str, truth: float) -> float:
        return (truth - mark[corpus].lowest) / mark[corpus].deviation

    return Quality(
        statistics.median(regret(s, c.truth) for s, c in points),
        statistics.median(regret(s, c.confirmed_truth) for s, c in points),
        statistics.fmean(c.beats_stock for _, c in points),
        statistics.fmean(c.declares_win for _, c in points),
        statistics.fmean(c.naive_win for _, c in points),
    )


def _at(studies: Sequence[Study], index: int) -> Iterator[tuple[str, Checkpoint]]:
    for study in studies:
        yield study.corpus, study.checkpoints[index]
