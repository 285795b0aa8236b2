"""Whether a config is proven better than the stock recipe, by few full runs of both with fresh seeds.

Runs of one seed draw the same clips and the same dropout, so configs are compared within a seed: a one-sided paired
t-test (Student 1908) of the differences. It is looked at after the third seed and after each later one. The looks share
`FALSE_WINS` between them (alpha spending, Lan and DeMets 1983, by Bonferroni's sum), as do the configs that compete, so
a config that is no better is declared better in at most 5 % of the races, however many seeds are asked for in the end.

The race of a config is over once it has won, and once it cannot win whatever the seeds that are left may bring. That is
exact: of n differences whose first m have the sum S and the sum of squares Q, (sum)^2 / (sum of squares) is at most
S^2 / Q + n - m (Cauchy's inequality), and t rises with it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from search.confirmation.verdict import Estimate, is_gain
from search.settings.sections import FEWEST_SEEDS
from search.ties import RESOLUTION, ranked

FALSE_WINS = 0.05
# The share of it that a look spends, by the number of seeds. The k-th later look spends 1 / (k (k + 1)) of the rest.
# That sums to the rest, and falls slowly, so that many seeds can still prove what few could not.
_SPENT = {FEWEST_SEEDS: 0.4, FEWEST_SEEDS + 1: 0.5}
METHOD = (
    "differences within fresh seeds, Student's paired t, looked at from the third seed on with Bonferroni's correction"
    " over looks and configs: a config that is no better is declared better in at most"
    f" {100 * FALSE_WINS:.0f} % of the races"
)

TWICE = 2  # what must happen more than once to be believed

Values = Mapping[str, Mapping[int, float]]  # config -> seed -> lowest evaluation; infinite where the run diverged


def spent(seeds: int) -> float:
    """The part of `FALSE_WINS` that the look after so many seeds spends."""
    if seeds < FEWEST_SEEDS:
        return 0.0
    later = seeds - max(_SPENT)
    return FALSE_WINS * (_SPENT[seeds] if seeds in _SPENT else (1 - sum(_SPENT.values())) / (later * (later + 1)))


class Fit:
    """Means of `values` and their differences.

    Args:
        values: Of each config by its seeds. The stock recipe's first.
        more: Further runs of a config, at seeds of its own, which count for its distance from a constant only.

    `means` has every config; infinite for one of whose runs diverged.
    """

    def __init__(self, values: Values, more: Values | None = None) -> None:
        self._values = {config: dict(runs) for config, runs in values.items() if runs}
        self._more = more or {}
        self.means = {config: math.fsum(runs.values()) / len(runs) for config, runs in self._values.items()}
        self._challengers = max(1, len(self._values) - 1)
        self.level = 1 - 2 * spent(max(FEWEST_SEEDS, *(len(runs) for runs in self._values.values()), 0))

    @property
    def best(self) -> str:
        """The lowest of the configs that are proven better than the first, and of all where none is; of ties the first.

        Each is compared with the first at the seeds that both ran. Means of different seeds do not compare: who left
        before a hard seed would look better for it.
        """
        first = next(iter(self.means))
        proven = [config for config in self.means if config != first and is_gain(self.difference(first, config))]
        if math.isinf(self.means[first]):
            return ranked(proven or self.means, self.means.__getitem__)[0]
        return ranked(proven or self.means, lambda c: self.means[first] - self.difference(first, c).value)[0]

    def seeds(self, config: str) -> int:
        """The number of its runs."""
        return len(self._values[config])

    def differences(self, worse: str, better: str) -> list[float]:
        """By how much `better` lies below `worse`, at each seed that both ran."""
        above, below = self._values.get(worse, {}), self._values.get(better, {})
        return [_resolved(above[seed] - below[seed], above[seed]) for seed in above if seed in below]

    def difference(self, worse: str, better: str) -> Estimate:
        """By how much `better` lies below `worse`, at the seeds that both ran; infinite where one of them diverged."""
        above, below = self.means[worse], self.means[better]
        if not (math.isfinite(above) and math.isfinite(below)):
            return Estimate(above - below if math.isinf(above) != math.isinf(below) else 0.0)
        return _estimate(self.differences(worse, better), self._challengers)

    def below(self, constant: float, config: str) -> Estimate:
        """By how much the mean of `config` lies below `constant`, which has no seed."""
        runs = [*self._values[config].values(), *self._more.get(config, {}).values()]
        if not all(map(math.isfinite, runs)):
            return Estimate(constant - math.inf)
        return _estimate([_resolved(constant - value, constant) for value in runs], 1, fewest=2)


def _resolved(number: float, scale: float) -> float:
    """What rounding alone may make counts as 0."""
    return 0.0 if abs(number) <= RESOLUTION * abs(scale) else number


def _estimate(values: Sequence[float], configs: int, fewest: int = FEWEST_SEEDS) -> Estimate:
    """The mean of `values` with its interval and p, both corrected for the looks and for `configs` that compete."""
    from scipy.special import stdtr, stdtrit

    count = len(values)
    if not count:
        return Estimate(0.0)
    mean = _resolved(math.fsum(values) / count, max(map(abs, values)))
    if count < fewest:
        return Estimate(mean)
    alpha, error = spent(max(count, FEWEST_SEEDS)) / configs, _deviation(values) / math.sqrt(count)
    reach = float(stdtrit(count - 1, 1 - alpha)) * error
    p = float(stdtr(count - 1, -mean / error)) if error else float(mean <= 0)
    return Estimate(mean, mean - reach, mean + reach, min(1.0, p * FALSE_WINS / alpha))


def _deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def can_win(differences: Sequence[float], seeds: int, configs: int) -> bool:
    """Whether some look up to that of so many `seeds` can still declare the config better, at its very best."""
    total, squares = math.fsum(differences), math.fsum(d * d for d in differences)
    for count in range(max(FEWEST_SEEDS, len(differences) + 1), seeds + 1):
        known = total * total / squares if total > 0 else 0.0
        share = (known + count - len(differences)) / count
        if share >= 1 - RESOLUTION or math.sqrt((count - 1) * share / (1 - share)) > _limit(count, configs):
            return True
    return False


@cache
def _limit(count: int, configs: int) -> float:
    """The t that a look after so many seeds asks for."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 1 - spent(count) / configs))


@dataclass(frozen=True)
class Race:
    """Where a race stands."""

    fit: Fit
    dropped: dict[str, int] = field(default_factory=dict)  # config: the number of seeds after which it could not win
    missing: list[tuple[str, int]] = field(default_factory=list)  # (config, seed) to run next; none: it is over


def race(
    values: Values,
    configs: Sequence[str],
    seeds: Sequence[int],
    attempted: set[tuple[str, int]],
    base: float,
    more: Values | None = None,
) -> Race:
    """The race of `configs` over `seeds`, in this order, by the runs so far. The first config is the stock recipe.

    `attempted` are (config, seed) of runs that were queued; one of them without a value came to nothing, and is done
    without. When nothing else is left to decide, the stock recipe gets further seeds until it is certainly below the
    untouched `base`, which decides whether to fine-tune at all. `more` as in `Fit`.
    """
    stock, *alive = configs
    dropped: dict[str, int] = {}
    fit = Fit({}, more)
    for count in range(1, len(seeds) + 1):
        used = seeds[:count]
        missing = [(c, seed) for seed in used for c in (stock, *alive) if (c, seed) not in attempted]
        fit = Fit({c: {s: v for s, v in values.get(c, {}).items() if s in used} for c in configs}, more)
        if missing:
            return Race(fit, dropped, missing)
        decided = {c: _standing(fit, stock, c, count, len(seeds), len(configs) - 1) for c in alive}
        dropped |= {c: count for c, found in decided.items() if found == "out"}
        alive = [c for c in alive if decided[c] == "open"]
        if not alive and ("won" in decided.values() or not _is_open(fit, stock, base)):
            break
    return Race(fit, dropped)


def _standing(
    fit: Fit, stock: str, config: str, count: int, planned: int, configs: int
) -> Literal["won", "out", "open"]:
    """Of `config` after `count` of the `planned` seeds."""
    if config not in fit.means or stock not in fit.means:  # runs that came to nothing
        return "open" if count < TWICE else "out"
    found = fit.difference(stock, config)
    if math.isinf(found.value):
        return "out" if found.value < 0 else "open" if count < TWICE else "won"
    if found.is_above_zero:
        return "won"
    differences = fit.differences(stock, config)
    is_open = can_win(differences, len(differences) + planned - count, configs)
    return "open" if is_open and math.isfinite(fit.means[config]) else "out"


def _is_open(fit: Fit, stock: str, base: float) -> bool:
    """Whether more seeds may show that the stock recipe is below the base."""
    if stock not in fit.means:
        return False
    found = fit.below(base, stock)
    return found.value > 0 and not found.is_above_zero
