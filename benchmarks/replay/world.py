"""What a run of any config gives: the recorded curve of the config nearest to it. And worlds in which all are equal.

A study has its seeds. The first two are the recorded ones, in the study's order. Further seeds, and every run of a null
world, are drawn from the differences between the two recorded seeds (a residual bootstrap; Efron and Tibshirani 1993,
chapter 9): a part that all configs of a seed share, and a part of the config's own.

Truncated runs were recorded with the first seed. Those of the second are these and the difference of the seeds' full
runs at the same step: exact up to the truncated run's first milestone, before which it is the full run.
"""

import math
import random
from functools import lru_cache

import numpy as np

from benchmarks.curves.corpora import FULL, SEEDS, STEPS
from benchmarks.curves.record import steps_of
from benchmarks.curves.table import Table
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps

GRID = 25  # places of a run at which the rates of two configs are compared
# Chosen by how well a config's nearest neighbour foretells its lowest evaluation (`python -m benchmarks.facts`).
WEIGHT_DECAY = 0.05  # a decade of it counts as so many decades of the learning rate
CLIP = 0.05
DRAWS = 200  # studies from whose luck the deviation between drawn runs is measured
NO_CLIP = 10.0  # the norm that no clip is like


def features(point: Hyperparameters, weight_decay: float = WEIGHT_DECAY, clip: float = CLIP) -> np.ndarray:
    """Where a config lies: the decades of its learning rate along the run, of its weight decay and of its clip.

    Shape (GRID + 2,); the distance of two is the root mean square of their rates' difference in decades, and a little.
    """
    milestones = to_steps(point.milestones, STEPS)
    drops = [sum(m <= STEPS * i / GRID for m in milestones) for i in range(GRID)]
    rates = [math.log10(point.lr) + n * math.log10(point.gamma or 1.0) for n in drops]
    rest = [weight_decay * math.log10(point.weight_decay), clip * math.log10(min(NO_CLIP, point.clip_norm or NO_CLIP))]
    return np.array([*(np.array(rates) / math.sqrt(GRID)), *rest])


class World:
    """The runs of one corpus, with a study's `seeds` of which the first is the search's.

    Args:
        order: Which recorded seed is the study's first: 0 or 1.
        draw: Names the study's own luck: the seeds that were not recorded.
    """

    def __init__(self, table: Table, order: int, draw: int) -> None:
        self.table = table
        self.draw = draw
        self._recorded = [SEEDS[order], SEEDS[1 - order]]
        self._places = _places(table)

    def nearest(self, point: Hyperparameters, share: float = FULL) -> int:
        """Of those recorded at this length: the constant rates were run in full alone."""
        places = self._places if share == FULL else self._places[: self.table.design]
        return int(np.argmin(((places - features(point)) ** 2).sum(axis=1)))

    def key(self, point: Hyperparameters) -> object:
        """The same for points that give the same curves."""
        return self.nearest(point)

    def curve(self, point: Hyperparameters, share: float, seed: int) -> list[float]:
        """The evaluations of a run; `seed` counts from 0, the search's own."""
        config = self.nearest(point, share)
        if seed < len(self._recorded):
            return _recorded(self.table, config, self._recorded[seed], share)
        return self._drawn(self._mean(config, share), config, share, seed)

    def truth(self, point: Hyperparameters) -> float:
        """The mean of the lowest evaluations of its full runs, never stopped; infinite where one diverged."""
        return truths(self.table)[self.nearest(point)]

    def _mean(self, config: int, share: float) -> list[float]:
        both = [_recorded(self.table, config, seed, share) for seed in self._recorded]
        return [sum(pair) / len(pair) for pair in zip(*both, strict=False)]

    def _drawn(self, mean: list[float], name: object, share: float, seed: int) -> list[float]:
        """`mean` with the noise of a seed: what all configs share of it by the seed, the rest by `name` as well."""
        common, own = residuals(self.table, share)
        sign = random.Random(f"{self.draw}/{seed}").choice((-1, 1))
        luck = random.Random(f"{self.draw}/{seed}/{name}")
        noise = sign * common + luck.choice((-1, 1)) * own[luck.randrange(len(own))]
        return [float(value + e) for value, e in zip(mean, noise, strict=False)]


class NullWorld(World):
    """All configs are equal: each run has the mean curve of one config, and noise.

    With a `gain` all but `stock` are lower by so many deviations between the drawn runs of two seeds.
    """

    def __init__(
        self, table: Table, order: int, draw: int, stock: Hyperparameters | None = None, gain: float = 0.0
    ) -> None:
        super().__init__(table, order, draw)
        good = sorted(range(table.design), key=lambda config: truths(table)[config])
        self._config = good[random.Random(f"{draw}/null").randrange(len(good) // 4)]
        self._stock, self._gain = stock, gain * drawn_deviation(table) if gain else 0.0

    def key(self, point: Hyperparameters) -> object:
        return point

    def curve(self, point: Hyperparameters, share: float, seed: int) -> list[float]:
        gain = 0.0 if point == self._stock else self._gain
        return [v - gain for v in self._drawn(self._mean(self._config, share), point, share, seed)]

    def truth(self, point: Hyperparameters) -> float:
        return truths(self.table)[self._config] - (0.0 if point == self._stock else self._gain)


def _recorded(table: Table, config: int, seed: int, share: float) -> list[float]:
    """The curve of a recorded seed, shorter where it diverged."""
    if (found := table.curves.get((config, seed, share))) is not None:
        return found
    first = SEEDS[0]
    full = table.curves[config, seed, FULL]
    steps = [step for step in steps_of(share) if step <= ([0, *steps_of(FULL)][len(full)])]
    known = table.curves[config, first, share]
    difference = _at(steps, np.subtract(*_paired(full, table.curves[config, first, FULL])))
    return [float(value + d) for value, d in zip(known, difference, strict=False)]


def _paired(one: list[float], two: list[float]) -> tuple[list[float], list[float]]:
    count = min(len(one), len(two))
    return one[:count], two[:count]


def _at(steps: list[int], difference: np.ndarray) -> np.ndarray:
    """A difference of two full runs at other steps; at step 0 there is none."""
    return np.interp(steps, [0, *steps_of(FULL)[: len(difference)]], [0.0, *difference])


_tables: dict[str, Table] = {}


def _known(table: Table) -> str:
    _tables[table.corpus] = table
    return table.corpus


def _places(table: Table) -> np.ndarray:
    return _cached_places(_known(table))


def truths(table: Table) -> list[float]:
    """By config."""
    return _cached_truths(_known(table))


def residuals(table: Table, share: float) -> tuple[np.ndarray, np.ndarray]:
    """(what the seeds' difference has in common over configs, (configs, evaluations) of each config's own).

    Of the better half of the configs: the race is among good ones. Each has the variance of one run.
    """
    return _cached_residuals(_known(table), share)


@lru_cache
def _cached_places(corpus: str) -> np.ndarray:
    return np.array([features(point) for point in _tables[corpus].points])


@lru_cache
def _cached_truths(corpus: str) -> list[float]:
    table = _tables[corpus]
    full = len(steps_of(FULL))

    def value(config: int, seed: int) -> float:
        curve = table.curves[config, seed, FULL]
        return min(curve) if len(curve) == full else math.inf

    return [float(np.mean([value(c, seed) for seed in table.seeds_of(c)])) for c in range(len(table.points))]


@lru_cache
def _cached_residuals(corpus: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    table, found = _tables[corpus], _cached_truths(corpus)
    median = float(np.median(found))
    first, second = SEEDS
    differences = np.array(
        [
            _at(steps_of(share), np.subtract(table.curves[c, first, FULL], table.curves[c, second, FULL]))
            for c in range(table.design)
            if found[c] <= median
        ]
    ) / math.sqrt(2)
    common = differences.mean(axis=0)
    return common, differences - common


def drawn_deviation(table: Table) -> float:
    """The standard deviation of the lowest evaluation between drawn full runs of one config."""
    return _cached_drawn(_known(table))


@lru_cache
def _cached_drawn(corpus: str) -> float:
    variances = []
    for draw in range(DRAWS):
        world = NullWorld(_tables[corpus], 0, draw)
        point = world.table.points[0]
        variances.append(np.var([min(world.curve(point, FULL, seed)) for seed in range(4)], ddof=1))
    return float(np.sqrt(np.mean(variances)))


def seed_deviation(table: Table) -> float:
    """The standard deviation between two full runs of one config, over the better half of the configs."""
    found = _cached_truths(_known(table))
    median = float(np.median(found))
    first, second = SEEDS
    differences = [
        min(table.curves[c, first, FULL]) - min(table.curves[c, second, FULL])
        for c in range(table.design)
        if found[c] <= median
    ]
    return float(np.sqrt(np.mean(np.square(differences)) / 2))
