"""The ways to search that are compared."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler

from benchmarks.curves.corpora import FULL, SHARES, STEPS
from benchmarks.replay.simulation import Strategy, settings_for
from search.settings.settings import Settings
from search.study.sampler import make_sampler
from search.study.storage import make_pruner
from search.trial import Prepared

DEFAULT = "the project's default"


def ours(seed: int) -> BaseSampler:
    return make_sampler(seed, 1)


def tpe(seed: int) -> BaseSampler:
    """As `optuna.create_study` makes it."""
    return TPESampler(seed=seed)


def random(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def quasi_random(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)


def of_optuna(make: Callable[[int], BasePruner]) -> Callable[[Settings, Prepared], BasePruner]:
    """A pruner of Optuna's, made for a horizon."""
    return lambda settings, prepared: make(settings.trial_horizon(prepared.train_clips))


def unpruned(name: str, sampler: Callable[[int], BaseSampler], share: float = FULL) -> Strategy:
    return Strategy(name, settings_for(share), sampler, lambda *_: NopPruner(), baselines=True)


def default(
    name: str = DEFAULT,
    share: float | None = None,
    every: int = 1,
    confirm: Mapping[str, Any] | None = None,
    **pruning: Any,
) -> Strategy:
    """The project's own search, with what is given otherwise."""
    share = share or Settings().training.truncation
    settings = settings_for(share, confirm, **pruning)
    return Strategy(name, settings, ours, make_pruner, baselines=True, every=every, follows=True)


def compared() -> list[Strategy]:
    """The rows of the table, besides the stock recipe alone. All try the same baselines first, and hold the same race.

    A tenth of the run is one of ten epochs. The reference, whose best run is the mark, tries no baselines.
    """
    full, median_only = settings_for(FULL), settings_for(FULL, two_increases=False)
    rivals = [
        Strategy("TPE + median", median_only, tpe, of_optuna(lambda _: MedianPruner())),
        Strategy("TPE + percentile 25", full, tpe, of_optuna(lambda _: PercentilePruner(25.0))),
        Strategy("TPE + Successive Halving", full, tpe, of_optuna(lambda _: SuccessiveHalvingPruner())),
        Strategy("TPE + Hyperband", full, tpe, of_optuna(lambda h: HyperbandPruner(max_resource=h))),
        Strategy("TPE + median + two increases", full, tpe, make_pruner),
    ]
    return [
        reference(),
        unpruned("random, unpruned, with baselines", random),
        replace(unpruned("random, a tenth, then the best 3", random), until=STEPS // 10, then_full=3),
        unpruned("TPE, unpruned", tpe),
        *(replace(rival, baselines=True) for rival in rivals),
        replace(default("the default without a rate line"), follows=False),
        default("the default, fixed rates 0.5 and 0.25", confirm={"rates": (0.5, 0.25)}),
        former(),
        default(),
        replace(default("the default, until settled"), until_settled=True),
    ]


def reference() -> Strategy:
    """40 unpruned full-length random runs."""
    return replace(unpruned("random, unpruned", random), baselines=False)


def varied() -> list[Strategy]:
    """The default with one setting changed at a time."""
    name = "default, "
    truncation = Settings().training.truncation
    return [
        default(),
        *(default(f"{name}truncation {share:g}", share=share) for share in (*SHARES, FULL) if share != truncation),
        default(f"{name}two best trials", confirm={"top": 2}),
        default(f"{name}evaluations halved", every=2),
        default(f"{name}startup_trials 3", startup_trials=3),
        default(f"{name}startup_trials 12", startup_trials=12),
        default(f"{name}warmup_evaluations 0", warmup_evaluations=0),
        default(f"{name}warmup_evaluations 2", warmup_evaluations=2),
        default(f"{name}no median", median=False),
        default(f"{name}no two increases", two_increases=False),
        default(f"{name}n_increases 3", n_increases=3),
        default(f"{name}min_delta 0", min_delta=0.0),
        default(f"{name}min_delta 0.02", min_delta=0.02),
        replace(default(f"{name}without baselines"), baselines=False),
        replace(default(f"{name}random"), sampler=random),
        replace(default(f"{name}quasi-random"), sampler=quasi_random),
        replace(default(f"{name}Optuna's own TPE"), sampler=tpe),
    ]


def former(name: str = "the former way") -> Strategy:
    """As near to the project's default at commit 6e5cfa8 as today's parts are: no rate line, trials of a fifth.

    Then the best trial ran in full at three fixed rates beside the stock recipe; here the best of these is found first,
    and then raced. docs/experiments.md says what differs.
    """
    confirm = {"rates": (0.5, 0.25), "seeds": 3}
    return default(name, share=0.2, confirm=confirm, warmup_evaluations=4, min_delta=0.02)


def wrong() -> list[Strategy]:
    """The default, and the former way, where the stock recipe's rate is wrong."""
    ways = [(default, ""), (former, "the former way, ")]
    return [
        replace(make(f"{name}stock rate x {factor:g}"), stock_factor=factor)
        for make, name in ways
        for factor in (0.1, 0.25, 4.0)
    ]


@cache
def _all() -> dict[str, Strategy]:
    return {strategy.name: strategy for strategy in (*varied(), *wrong(), *compared())}


def by_name(name: str) -> Strategy:
    return _all()[name]
