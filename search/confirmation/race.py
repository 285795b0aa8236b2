"""Which of a few configs is the best, by few full runs each: means, intervals, and who can no longer win.

Seeds are blocks: runs of one seed draw the same clips and the same dropout, so configs are compared within a seed. A
run's value is modelled as its config's mean plus its seed's effect plus noise of one variance (the analysis of
randomised blocks; Montgomery, Design and Analysis of Experiments, chapter 4), fitted by least squares, so that configs
with fewer seeds have their place. Pooling the noise over all configs leaves enough degrees of freedom for intervals
from two or three seeds, where a paired t-test of two configs alone has one or two (Student 1908; de Winter 2013 on such
samples). Bonferroni's correction (Dunn 1961) makes the intervals simultaneous over the other configs and over the looks
at the data, so that a config that is no better is declared better in at most `FALSE_WINS` of the races.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit

from search.study.noise import seed_sd
from search.ties import RESOLUTION, ranked

FALSE_WINS = 0.05
METHOD = (
    "differences within seeds (randomised blocks, pooled noise), Student's t with Bonferroni's correction over configs"
    f" and rounds: a config that is no better is declared better in at most {FALSE_WINS:.0%} of the races"
)

Values = Mapping[str, Mapping[int, float]]  # config -> seed -> lowest evaluation; infinite where the run diverged


@dataclass(frozen=True)
class Estimate:
    """A difference of means in nats, and its interval; without one where there is nothing to measure noise by."""

    value: float
    low: float | None
    high: float | None

    @property
    def is_above_zero(self) -> bool:
        return self.low is not None and self.low > 0


class Fit:
    """Means of `values` and their differences, with intervals for `looks` looks at them.

    `means` has every config; infinite for one of whose runs diverged, which takes part in nothing else.
    """

    def __init__(self, values: Values, looks: int) -> None:
        self._runs = {c: dict(runs) for c, runs in values.items() if runs and all(map(math.isfinite, runs.values()))}
        self._configs = list(self._runs)
        self._looks = looks
        self.level = 1 - 2 * FALSE_WINS / looks
        seeds = sorted({seed for runs in self._runs.values() for seed in runs})
        rows, observed = [], []
        for config, runs in self._runs.items():
            for seed, value in runs.items():
                row = np.zeros(len(self._configs) + len(seeds))
                row[self._configs.index(config)] = 1
                row[len(self._configs) + seeds.index(seed)] = 1
                rows.append(row)
                observed.append(value)
        design = np.array(rows) if rows else np.zeros((0, 0))
        y = np.array(observed)
        self._covariance = np.linalg.pinv(design.T @ design)
        solution = self._covariance @ design.T @ y
        rank = int(np.linalg.matrix_rank(design)) if rows else 0
        self.freedom = len(y) - rank
        residual = y - design @ solution if rows else y
        self._variance = float(residual @ residual) / self.freedom if self.freedom > 0 else None
        # Each config's mean at the average seed, its plain mean where all ran the same seeds. Summed config by config,
        # so that configs of the same values at the same seeds have the same mean, whatever the solver rounded.
        effects = solution[len(self._configs) :]
        effect = dict(zip(seeds, map(float, effects - effects.mean() if seeds else effects), strict=True))
        fitted = {c: math.fsum(v - effect[s] for s, v in runs.items()) / len(runs) for c, runs in self._runs.items()}
        self.means: dict[str, float] = {c: fitted.get(c, math.inf) for c, runs in values.items() if runs}
        self._within = seed_sd(list(runs.values()) for runs in self._runs.values())
        self._seeds = len(seeds)

    @property
    def best(self) -> str:
        """The config with the lowest mean; of ties the first in the order of `values`."""
        return ranked(self.means, self.means.__getitem__)[0]

    def difference(self, worse: str, better: str) -> Estimate:
        """By how much the mean of `better` lies below that of `worse`, at the same seeds."""
        if not (math.isfinite(self.means[worse]) and math.isfinite(self.means[better])):
            return Estimate(self.means[worse] - self.means[better], None, None)
        contrast = np.zeros(len(self._covariance))
        contrast[self._configs.index(worse)] += 1
        contrast[self._configs.index(better)] -= 1
        if self._variance is None:
            return _estimate(self.means[worse], self.means[better], None)
        error = math.sqrt(max(0.0, float(contrast @ self._covariance @ contrast)) * self._variance)
        reach = self._quantile(self.freedom, len(self._configs) - 1) * error
        return _estimate(self.means[worse], self.means[better], reach)

    def below(self, constant: float, config: str) -> Estimate:
        """By how much the mean of `config` lies below `constant`, which has no noise: seeds do not cancel here."""
        deviation, _ = self._within
        if deviation is None or not math.isfinite(constant - self.means[config]):
            return _estimate(constant, self.means[config], None)
        error = deviation / math.sqrt(len(self._runs[config]))
        reach = self._quantile(self._freedom_within(deviation**2), len(self._configs)) * error
        return _estimate(constant, self.means[config], reach)

    def _freedom_within(self, variance: float) -> float:
        """Degrees of freedom of the `variance` between runs of one config, pooled over configs (Satterthwaite 1946).

        Part of it is noise of each run's own. The rest is the seeds', which all configs share: more configs do not tell
        more of it.
        """
        of_seeds = self._seeds - 1
        if self._variance is None:
            return of_seeds
        own = min(variance, self._variance * (1 - 1 / len(self._configs)))
        if not own:
            return of_seeds
        return variance**2 / ((variance - own) ** 2 / of_seeds + own**2 / self.freedom)

    def _quantile(self, freedom: float, comparisons: int) -> float:
        return float(stdtrit(freedom, 1 - FALSE_WINS / (max(1, comparisons) * self._looks)))


def _estimate(above: float, below: float, reach: float | None) -> Estimate:
    """`above` - `below` and its interval, of which no part that is due to rounding counts as different from 0."""
    value, resolution = above - below, RESOLUTION * max(abs(above), abs(below))

    def resolved(number: float) -> float:
        return 0.0 if abs(number) <= resolution else number

    if reach is None:
        return Estimate(value if math.isinf(value) else resolved(value), None, None)
    return Estimate(resolved(value), resolved(value - reach), resolved(value + reach))


@dataclass(frozen=True)
class Race:
    """Where a race stands."""

    fit: Fit
    dropped: dict[str, int] = field(default_factory=dict)  # config: the number of seeds after which it could not win
    missing: list[tuple[str, int]] = field(default_factory=list)  # (config, seed) to run next; none: it is over


def race(values: Values, configs: Sequence[str], seeds: Sequence[int], attempted: set[tuple[str, int]]) -> Race:
    """The race of `configs` over `seeds`, in this order, by the runs so far. The first config, the stock recipe, is the
    best of ties.

    After the second seed and each later one, a config whose mean is certainly above the lowest can no longer win, and
    gets no further seed. `attempted` are (config, seed) of runs that were queued; one of them without a value came to
    nothing, and is done without.
    """
    looks = len(seeds) - 1
    alive = list(configs)
    dropped: dict[str, int] = {}
    fit = Fit({c: {} for c in configs}, looks)
    for count in range(2, len(seeds) + 1):
        missing = [(c, seed) for seed in seeds[:count] for c in alive if (c, seed) not in attempted]
        known = {c: {s: v for s, v in values.get(c, {}).items() if s in seeds[:count]} for c in configs}
        fit = Fit(known, looks)
        if missing or not fit.means:
            return Race(fit, dropped, missing)
        hopeless = [c for c in alive if c != fit.best and (c not in fit.means or _is_beaten(fit, c))]
        dropped.update(dict.fromkeys(hopeless, count))
        alive = [c for c in alive if c not in hopeless]
        if len(alive) == 1:
            break
    return Race(fit, dropped)


def _is_beaten(fit: Fit, config: str) -> bool:
    return math.isinf(fit.means[config]) or fit.difference(config, fit.best).is_above_zero
