"""The rate line: few full runs along the learning rate, all with the study's seed, that find the config to prove.

Short runs hardly overfit, so the search ranks rates first that are too high for a full run. But where a full run
overfits, the sum of its learning rates up to its lowest evaluation is nearly the same at every rate: it is the time of
a gradient flow, and the model has learned what there is to learn. So one run that turned tells the rate at which a run
would turn just at its end. docs/experiments.md has the measurements, and where the law ends.

Which runs are next is a function of those that have ended, so that the line resumes and is shared like a search.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from search.confirmation.candidates import Candidate, distinct, scaled
from search.settings.sections import LINE_RUNS
from search.ties import is_lower, ranked
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps

TURNS_BEFORE = 0.75  # of a run
# Bounds of what a correction multiplies a rate by. One noisy evaluation cannot throw it far down, and a smaller change
# is not worth a run.
SMALLEST, LARGEST = 0.25, 0.5
NEAR = 1.3  # sums of rates whose quotient is at most this are about the same


@dataclass(frozen=True)
class LineRun:
    """A full run that ended: its evaluations in nats per audio token at optimizer steps of a run of `horizon`."""

    point: Hyperparameters
    horizon: int
    steps: Sequence[int]
    values: Sequence[float]
    diverged: bool = False

    @property
    def lowest(self) -> float:
        """Infinite where the run diverged."""
        return math.inf if self.diverged or not self.values else min(self.values)

    @property
    def step(self) -> int:
        """Of the lowest evaluation, the earliest of ties; 0 where there is none."""
        known = ranked(zip(self.steps, self.values, strict=True), lambda evaluation: evaluation[1])
        return known[0][0] if known and math.isfinite(known[0][1]) else 0

    @property
    def turned(self) -> bool:
        """Whether it was at its lowest long before its end, and rose."""
        if self.diverged or not self.values:
            return self.diverged
        return self.step < TURNS_BEFORE * self.horizon and is_lower(self.lowest, self.values[-1])

    @property
    def time(self) -> float:
        """The sum of the learning rates up to the lowest evaluation."""
        return sum_of_rates(self.point, self.step, self.horizon)

    @property
    def whole(self) -> float:
        """The sum of the learning rates of a run that is not stopped."""
        return sum_of_rates(self.point, self.horizon, self.horizon)

    @property
    def correction(self) -> float:
        """What the rate is multiplied by for a run that is at its lowest at its end, within bounds."""
        return min(LARGEST, max(SMALLEST, self.time / self.whole))


def sum_of_rates(point: Hyperparameters, until: int, horizon: int) -> float:
    """Of the first `until` optimizer steps of a run of `horizon`."""
    edges = [0, *to_steps(point.milestones, horizon), horizon]
    rates = [point.lr * (point.gamma or 1.0) ** drops for drops in range(len(edges) - 1)]
    pairs = zip(rates, itertools.pairwise(edges), strict=True)
    return math.fsum(rate * max(0, min(until, end) - start) for rate, (start, end) in pairs)


@dataclass(frozen=True)
class Line:
    """Where a rate line stands."""

    runs: list[Candidate]  # that were run, or are to be run next
    ended: Mapping[str, LineRun]  # by candidate

    @property
    def missing(self) -> list[Candidate]:
        """None: the line has ended."""
        return [config for config in self.runs if config.name not in self.ended]

    def lowest(self, config: Candidate) -> float:
        return self.ended[config.name].lowest

    @property
    def sum_of_rates(self) -> float | None:
        """Up to the lowest evaluation: the median of the runs that turned; None where none did."""
        known = [self.ended[config.name] for config in self.runs if config.name in self.ended]
        told = [run.time for run in known if run.turned and run.time > 0]
        return median(told) if told else None


def fixed_rates(starts: Sequence[Candidate], rates: Sequence[float], ended: Mapping[str, LineRun]) -> Line:
    """The stock recipe, which is the first of `starts`, the best trials, and the best of these at multiples."""
    return Line(list(distinct([*starts, *(scaled(best, rate) for best in starts[1:2] for rate in rates)])), ended)


def rate_line(starts: Sequence[Candidate], ended: Mapping[str, LineRun], horizon: int) -> Line:
    """The line of the stock recipe, which is the first of `starts`, and of the best trials.

    The stock recipe runs first. If it turned, it runs again at the rate that its turn tells, and the trials start at
    most at the sum of rates of that turn. Then more runs are made one by one, as `_further` tells.
    """
    stock, *trials = starts
    if stock.name not in ended:
        return Line([stock], ended)
    first, by_name = ended[stock.name], {start.name: start for start in starts}
    corrected = [scaled(stock, first.correction)] if first.turned else []
    capped = [scaled(trial, _cap(trial.point, first, horizon)) for trial in trials]
    runs = list(distinct([stock, *corrected, *capped]))
    while all(config.name in ended for config in runs) and len(runs) < LINE_RUNS + 2 * max(0, len(trials) - 1):
        further = _further(runs, {config.name: ended[config.name] for config in runs}, stock)
        made = (scaled(by_name[c.scaled_from or c.name], c.factor * factor) for c, factor in further)
        if (new := next(distinct(made, runs), None)) is None:
            break
        runs.append(new)
    return Line(runs, ended)


def _cap(trial: Hyperparameters, stock: LineRun, horizon: int) -> float:
    """What the rate of `trial` is multiplied by so that it does not go beyond where the stock recipe turned."""
    if not stock.turned:
        return 1.0
    return min(1.0, (stock.time or SMALLEST * stock.whole) / sum_of_rates(trial, horizon, horizon))


def _further(
    runs: Sequence[Candidate], ended: Mapping[str, LineRun], stock: Candidate
) -> Iterator[tuple[Candidate, float]]:
    """(config, what its rate is multiplied by) of the runs that may be worth making, the best first."""

    def is_untried(config: Candidate, factor: float) -> bool:
        """Whether no run lies between `config` and its rate times `factor`, or near that."""
        whole = ended[config.name].whole
        return not any(factor * whole / NEAR <= run.whole <= whole / NEAR for run in ended.values())

    in_order = ranked(runs, lambda config: ended[config.name].lowest)
    for config in in_order:
        run = ended[config.name]
        if run.turned and is_untried(config, run.correction):
            yield config, run.correction
    best, run = in_order[0], ended[in_order[0].name]
    if math.isinf(run.lowest) or any(o.turned and 0 < o.time <= NEAR * run.whole for o in ended.values() if o != run):
        return  # no run says anything, or the best is where another one turned
    faster = min((other.whole for other in ended.values() if other.whole > run.whole), default=0.0)
    if stock.name in (best.name, best.scaled_from) and faster > run.whole / SMALLEST:
        yield best, math.sqrt(faster / run.whole)  # short runs favour rates that are too high, not too low
    elif is_untried(best, LARGEST):
        yield best, LARGEST
