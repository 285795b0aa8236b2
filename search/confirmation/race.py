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
from scipy.special import stdtr, stdtrit

from search.confirmation.verdict import Estimate
from search.study.noise import seed_sd
from search.ties import RESOLUTION, ranked

FALSE_WINS = 0.05
METHOD = (
    "differences within seeds (randomised blocks, pooled noise), Student's t with Bonferroni's correction over configs"
    f" and rounds: a config that is no better is declared better in at most {FALSE_WINS:.0%} of the races"
)

Values = Mapping[str, Mapping[int, float]]  # config -> seed -> lowest evaluation; infinite where the run diverged


class Fit:
    """Means of `values` and their differences, with intervals for `looks` looks at them.

    `means` has every config; infinite for one of whose runs diverged, which takes part in nothing else.
    """

    def __init__(self, values: Values, looks: int) -> None:
        self._runs = {c: dict(runs) for c, runs in values.items() if runs and all(map(math.isfinite, runs.values()))}
        self._configs = list(self._runs)
        self._seeds = sorted({seed for runs in self._runs.values() for seed in runs})
        self._looks = looks
        self.level = 1 - 2 * FALSE_WINS / looks
        effects = self._solve()
        # Each config's mean at the average seed, its plain mean where all ran the same seeds. Summed config by config,
        # so that configs of the same values at the same seeds have the same mean, whatever the solver rounded.
        fitted = {c: math.fsum(v - effects[s] for s, v in runs.items()) / len(runs) for c, runs in self._runs.items()}
        self.means: dict[str, float] = {c: fitted.get(c, math.inf) for c, runs in values.items() if runs}

    def _solve(self) -> dict[int, float]:
        """The effect of each seed, by least squares; sets the noise, its degrees of freedom and the covariance."""
        runs = [(c, s, value) for c, of_config in self._runs.items() for s, value in of_config.items()]
        design = np.zeros((len(runs), len(self._configs) + len(self._seeds)))
        for row, (config, seed, _) in zip(design, runs, strict=True):
            row[self._configs.index(config)] = row[len(self._configs) + self._seeds.index(seed)] = 1
        y = np.array([value for *_, value in runs])
        self._covariance = np.linalg.pinv(design.T @ design)
        solution = self._covariance @ design.T @ y
        self.freedom = len(runs) - (int(np.linalg.matrix_rank(design)) if runs else 0)
        residual = y - design @ solution
        self._variance = float(residual @ residual) / self.freedom if self.freedom > 0 else None
        effects = solution[len(self._configs) :]
        return dict(zip(self._seeds, map(float, effects - effects.mean() if runs else effects), strict=True))

    @property
    def best(self) -> str:
        """The config with the lowest mean; of ties the first in the order of `values`."""
        return ranked(self.means, self.means.__getitem__)[0]

    def difference(self, worse: str, better: str) -> Estimate:
        """By how much the mean of `better` lies below that of `worse`, at the same seeds."""
        above, below = self.means[worse], self.means[better]
        if self._variance is None or not (math.isfinite(above) and math.isfinite(below)):
            return self._estimate(above, below)
        contrast = np.zeros(len(self._covariance))
        contrast[self._configs.index(worse)] += 1
        contrast[self._configs.index(better)] -= 1
        error = math.sqrt(max(0.0, float(contrast @ self._covariance @ contrast)) * self._variance)
        return self._estimate(above, below, error, self.freedom, len(self._configs) - 1)

    def below(self, constant: float, config: str) -> Estimate:
        """By how much the mean of `config` lies below `constant`, which has no noise: seeds do not cancel here."""
        deviation, _ = seed_sd(list(runs.values()) for runs in self._runs.values())
        if deviation is None or not math.isfinite(constant - self.means[config]):
            return self._estimate(constant, self.means[config])
        error = deviation / math.sqrt(len(self._runs[config]))
        freedom = self._freedom_within(deviation**2)
        return self._estimate(constant, self.means[config], error, freedom, len(self._configs))

    def _freedom_within(self, variance: float) -> float:
        """Degrees of freedom of the `variance` between runs of one config, pooled over configs (Satterthwaite 1946).

        Part of it is each run's own noise. The rest is the seeds', which all configs share: more configs do not tell
        more about it.
        """
        of_seeds = len(self._seeds) - 1
        own = 0.0 if self._variance is None else min(variance, self._variance * (1 - 1 / len(self._configs)))
        if not own:
            return of_seeds
        return variance**2 / ((variance - own) ** 2 / of_seeds + own**2 / self.freedom)

    def _estimate(
        self, above: float, below: float, error: float | None = None, freedom: float = 0.0, comparisons: int = 1
    ) -> Estimate:
        """`above` - `below` with its interval and p. What rounding alone may make counts as 0."""

        def resolved(number: float) -> float:
            return 0.0 if abs(number) <= RESOLUTION * max(abs(above), abs(below)) else number

        value = above - below if math.isinf(above) or math.isinf(below) else resolved(above - below)
        if error is None:
            return Estimate(value)
        tests = max(1, comparisons) * self._looks
        reach = float(stdtrit(freedom, 1 - FALSE_WINS / tests)) * error
        p = min(1.0, tests * float(stdtr(freedom, -value / error))) if error else float(value <= 0)
        return Estimate(value, resolved(above - below - reach), resolved(above - below + reach), p)


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
    alive, looks = list(configs), len(seeds) - 1
    dropped: dict[str, int] = {}
    fit = Fit({}, looks)
    for count in range(2, len(seeds) + 1):
        missing = [(c, seed) for seed in seeds[:count] for c in alive if (c, seed) not in attempted]
        fit = Fit({c: {s: v for s, v in values.get(c, {}).items() if s in seeds[:count]} for c in configs}, looks)
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
