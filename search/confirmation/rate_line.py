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

from search.confirmation.candidates import Candidate, distinct, same, scaled
from search.settings.sections import LINE_RUNS
from search.ties import is_lower, ranked
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps

TURNS_BEFORE = 0.75  # of a run
LARGEST_CORRECTION = 5.0


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
        """What the rate is multiplied by for a run that is at its lowest at its end.

        At least 1 / `LARGEST_CORRECTION`, so that one noisy evaluation cannot throw the rate far down.
        """
        return max(1 / LARGEST_CORRECTION, self.time / self.whole)


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
    most at the rate of the same sum. Then more runs are made one by one, as `_further` tells.
    """
    stock, *trials = starts
    chains: dict[str, list[Candidate]] = {start.name: [] for start in starts}  # the runs of each start

    def runs() -> list[Candidate]:
        return [config for chain in chains.values() for config in chain]

    def add(start: Candidate, factor: float) -> bool:
        """Whether nothing that trains alike is there yet."""
        config = scaled(start, factor)
        if any(same(config.point, other.point) for other in runs()):
            return False
        chains[start.name].append(config)
        return True

    add(stock, 1)
    if stock.name in ended:
        first = ended[stock.name]
        tells = first.turned and first.time > 0
        if first.turned:
            add(stock, first.correction)
        for trial in trials:
            cap = first.time / sum_of_rates(trial.point, horizon, horizon) if tells else 1
            add(trial, max(1 / LARGEST_CORRECTION**2, min(1, cap)))
        while all(config.name in ended for config in runs()) and len(runs()) < LINE_RUNS + 2 * max(0, len(trials) - 1):
            if not any(add(start, factor) for start, factor in _further(starts, chains, ended)):
                break
    return Line(runs(), ended)


def _further(
    starts: Sequence[Candidate], chains: Mapping[str, Sequence[Candidate]], ended: Mapping[str, LineRun]
) -> Iterator[tuple[Candidate, float]]:
    """(start, factor) of the runs that may be worth making, the best first."""

    def lowest(start: Candidate) -> float:
        return ended[chains[start.name][-1].name].lowest

    for start in ranked((s for s in starts if chains[s.name]), lowest):
        *before, last = chains[start.name]
        run = ended[last.name]
        if run.turned:
            yield start, last.factor * run.correction
        elif before and ended[before[-1].name].turned and not is_lower(run.lowest, ended[before[-1].name].lowest):
            # The correction made it worse, so it was too large: the turn was noise.
            yield start, math.sqrt(before[-1].factor * last.factor)
    # Of the runs so far alone: `ended` has those that this decided on, too, and others besides the line.
    known = [(start, config) for start in starts for config in chains[start.name]]
    if len(known) < LINE_RUNS - 1 and not any(ended[config.name].turned for _, config in known):
        # Nothing overfits. Short runs favour rates that are too high in this case, too: go down while that helps.
        start, best = ranked(known, lambda pair: ended[pair[1].name].lowest)[0]
        whole = ended[best.name].whole
        if not any(whole / 4 < ended[config.name].whole < whole / 1.5 for _, config in known):
            yield start, best.factor / 2
