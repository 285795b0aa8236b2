"""One study of a strategy, and what there is to measure in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from benchmarks.curves import table
from benchmarks.curves.corpora import FULL, STEPS
from benchmarks.curves.table import Table
from benchmarks.replay import strategies
from benchmarks.replay.simulation import Ended, Found, Spent, Strategy, best, follow, prove, search
from benchmarks.replay.world import NullWorld, World

TRIALS = 40
CHECKPOINTS = (5, 8, 10, 12, 15, 20, 25, 30, 35, 40)  # trials after which a search may end, and be confirmed


@dataclass(frozen=True)
class Checkpoint:
    """A study that ends after so many trials: what it finds before the race, and exports. Steps of all slots."""

    trials: int
    searched: int  # optimizer steps of the trials
    followed: int  # of the rate line, or of other full runs before the race
    raced: int
    clock: float  # before the race
    confirmed_clock: float
    truth: float  # of the best config before the race; infinite without one
    naive_win: bool  # it has a lower value than the stock recipe in a run of the same length
    exported_truth: float  # of the finalist if it won, otherwise of the stock recipe
    declares_win: bool

    @property
    def found(self) -> int:
        """Optimizer steps before the race."""
        return self.searched + self.followed

    @property
    def confirmed(self) -> int:
        return self.found + self.raced


@dataclass(frozen=True)
class Study:
    corpus: str
    index: int
    checkpoints: list[Checkpoint]
    stock_truth: float


@lru_cache
def read(corpus: str) -> Table:
    return table.read(corpus)


def run(strategy: Strategy, corpus: str, null: bool, slots: int, index: int) -> Study:
    """Study `index` of a strategy: its sampler's seed, its own luck, and which recorded seed it sees first."""
    world = (NullWorld if null else World)(read(corpus), index % 2, index)
    ended = search(strategy, world, slots, TRIALS, seed=index)
    checkpoints = [_checkpoint(ended[:count], strategy, world, slots) for count in CHECKPOINTS]
    return Study(corpus, index, checkpoints, world.truth(strategy.stock))


def _checkpoint(ended: Sequence[Ended], strategy: Strategy, world: World, slots: int) -> Checkpoint:
    stock, settings = strategy.stock, strategy.settings
    completed = best(ended, max(settings.confirm.top, strategy.then_full), world)
    if strategy.follows:
        found = follow([stock, *(t.point for t in completed)], world, settings, slots)
        finalist = found.finalist
    else:
        found = _without_line(completed, strategy, world, slots)
        finalist = found.best if found.runs else None
    values = dict(found.runs)
    share = strategy.share if not (strategy.follows or strategy.then_full) else FULL
    of_stock = min(world.curve(stock, share, 0), default=math.inf)
    raced = prove(finalist, stock, world, settings, slots)
    clock = ended[-1].clock + found.spent.clock
    return Checkpoint(
        trials=len(ended),
        searched=ended[-1].trained,
        followed=found.spent.trained,
        raced=raced.spent.trained,
        clock=clock,
        confirmed_clock=clock + raced.spent.clock,
        truth=world.truth(found.best) if found.runs else math.inf,
        naive_win=finalist is not None and values[finalist] < of_stock,
        exported_truth=world.truth(finalist if raced.is_won and finalist else stock),
        declares_win=raced.is_won,
    )


def _without_line(completed: Sequence[Ended], strategy: Strategy, world: World, slots: int) -> Found:
    """The best trials by their own values, or by those of full runs of them."""
    if not strategy.then_full:
        return Found([(trial.point, trial.value or 0.0) for trial in completed], Spent(0, 0.0))
    runs = [(t.point, min(world.curve(t.point, FULL, 0), default=math.inf)) for t in completed[: strategy.then_full]]
    return Found(runs, Spent(STEPS * len(runs), STEPS * math.ceil(len(runs) / slots)))


def race_of_equals(corpus: str, index: int, gain: float = 0.0) -> bool:
    """Whether a race declares a win in a world of equal configs, or where all are `gain` deviations below the stock.

    The finalist is the best of a rate line, with the seed that the race does not use.
    """
    strategy = strategies.default()
    world = NullWorld(read(corpus), index % 2, index, strategy.stock, gain)
    points = [replace(strategy.stock, lr=factor * strategy.stock.lr) for factor in (0.5, 2.0)]
    found = follow([strategy.stock, *points], world, strategy.settings, 1)
    return prove(found.finalist, strategy.stock, world, strategy.settings, 1).is_won
