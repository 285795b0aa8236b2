"""One study of a strategy, and what there is to measure in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from optuna.trial import TrialState

from benchmarks.curves import table
from benchmarks.curves.corpora import FULL, STEPS
from benchmarks.curves.table import Table
from benchmarks.replay.simulation import Ended, Strategy, best, confirm, search
from benchmarks.replay.world import NullWorld, World
from search.confirmation.candidates import lower_rates
from search.settings.settings import Settings
from space.hyperparameters import Hyperparameters

TRIALS = 40
CHECKPOINTS = (5, 8, 10, 12, 15, 20, 25, 30, 35, 40)  # trials after which a search may end, and be confirmed


@dataclass(frozen=True)
class Checkpoint:
    """A study that ends after so many trials, without its confirmation and with it. Steps are all slots'."""

    trials: int
    trained: int  # optimizer steps of the search
    clock: float
    truth: float  # of the best trial; infinite where none completed
    naive_win: bool  # the best trial's value is below that of the stock recipe in a run of the same length
    confirmed_truth: float  # of the confirmation's winner
    confirming: int  # optimizer steps
    confirming_clock: float
    declares_win: bool
    beats_stock: bool  # the winner, in truth


@dataclass(frozen=True)
class Study:
    corpus: str
    index: int
    anytime: list[tuple[int, float]]  # (optimizer steps trained, truth of the best trial by then), where it changed
    checkpoints: list[Checkpoint]


@lru_cache
def read(corpus: str) -> Table:
    return table.read(corpus)


def run(strategy: Strategy, corpus: str, null: bool, slots: int, index: int) -> Study:
    """Study `index` of a strategy: its sampler's seed, its own luck, and which recorded seed it sees first."""
    world = (NullWorld if null else World)(read(corpus), index % 2, index)
    ended = search(strategy, world, slots, TRIALS, seed=index)
    anytime: list[tuple[int, float]] = []
    lowest = math.inf
    for trial in ended:
        if trial.state == TrialState.COMPLETE and trial.value is not None and trial.value < lowest:
            lowest = trial.value
            anytime.append((trial.trained, world.truth(trial.point)))
    checkpoints = [_checkpoint(ended[:count], strategy, world, slots) for count in CHECKPOINTS]
    return Study(corpus, index, anytime if not strategy.then_full else [], checkpoints)


def _checkpoint(ended: Sequence[Ended], strategy: Strategy, world: World, slots: int) -> Checkpoint:
    settings = strategy.settings
    stock = settings.stock_recipe().hyperparameters
    found = best(ended, max(settings.confirm.top, strategy.then_full), world)
    trained, clock = ended[-1].trained, ended[-1].clock
    points = [(trial.point, trial.value or 0.0) for trial in found]
    if strategy.then_full:
        points = sorted(((p, min(world.curve(p, FULL, 0))) for p, _ in points), key=lambda pair: pair[1])
        trained += STEPS * len(points)
        clock += STEPS * math.ceil(len(points) / slots)
    share = FULL if strategy.then_full else strategy.share
    of_stock = _lowest(world, stock if strategy.then_full else strategy.trained(stock), share)
    proven = confirm(_candidates(found, settings), stock, world, settings, slots)
    return Checkpoint(
        trials=len(ended),
        trained=trained,
        clock=clock,
        truth=world.truth(points[0][0]) if points else math.inf,
        naive_win=bool(points) and points[0][1] < of_stock,
        confirmed_truth=world.truth(proven.point),
        confirming=proven.trained,
        confirming_clock=proven.clock,
        declares_win=proven.declares_win,
        beats_stock=world.truth(proven.point) < world.truth(stock),
    )


def _candidates(found: Sequence[Ended], settings: Settings) -> list[Hyperparameters]:
    """As `search.confirmation.candidates` names them, besides the stock recipe."""
    points = [trial.point for trial in found[: settings.confirm.top]]
    if found and settings.training.truncation < 1:
        points += [point for _, point in lower_rates(found[0].point, settings)]
    return points


def _lowest(world: World, point: Hyperparameters, share: float) -> float:
    return min(world.curve(point, share, 0), default=math.inf)
