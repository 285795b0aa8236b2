"""The configs that a confirmation starts from: the stock recipe, the space's default, the best and pruned trials."""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from search.settings.sections import STOCK
from search.settings.settings import Settings
from search.study.findings import Findings, Row
from search.trial import StopReason
from space.hyperparameters import Count, Hyperparameters

STORED = ConfigDict(extra="forbid", allow_inf_nan=False)  # what another release wrote otherwise is refused


@dataclass(frozen=True, config=STORED)
class Candidate:
    """A config of a confirmation, or a pruned trial that is finished to see what pruning lost."""

    name: str
    point: Hyperparameters
    trial: Count | None = None  # of the search that ran it
    truncated: float | None = None  # its value in the search, nats; None unless COMPLETE
    pruned_at: Count | None = None  # an audited trial: the step of its last evaluation
    pruned_value: float | None = None  # its lowest evaluation by then
    scaled_from: str | None = None  # the config whose learning rate it has `factor` times
    factor: float = 1.0

    @property
    def is_audited(self) -> bool:
        return self.pruned_at is not None


def recipes(findings: Findings, settings: Settings) -> list[Candidate]:
    """The stock recipe as it stands, and the space's default, its first baseline, where that trains otherwise.

    The default is fitted into the space.
    """
    searched, space, stock = _searched(findings, settings), settings.search_space(), settings.stock_recipe()
    default = space.baselines[0] if space.baselines else stock
    params, clipped = space.to_params(default.hyperparameters)
    name = f"{default.name} within the space" if clipped else default.name
    both = [Candidate(STOCK, stock.hyperparameters), Candidate(name, space.from_params(params))]
    # With the best trial of the search that ran it, if there is one.
    ran = (next((replace(c, name=own.name) for c in searched if same(c.point, own.point)), own) for own in both)
    return list(distinct(ran))


def best_trials(findings: Findings, settings: Settings, known: Sequence[Candidate]) -> list[Candidate]:
    """The `confirm.top` best trials, the best first. No two of them train alike, and none like one of `known`."""
    # The search clips a recipe that its space does not contain: its trial does not have the recipe's name.
    taken = {recipe.name for recipe in known}
    trials = (replace(c, name=f"trial {c.trial}") if c.name in taken else c for c in _searched(findings, settings))
    return list(islice(distinct(trials, known), settings.confirm.top))


def _searched(findings: Findings, settings: Settings) -> list[Candidate]:
    """The completed trials, the best first; that of a baseline has its name."""
    space = settings.search_space()
    rows = [(row.trial, row.baseline or f"trial {row.trial.number}") for row in findings.completed]
    return [Candidate(name, space.from_params(trial.params), trial.number, trial.value) for trial, name in rows]


def scaled(config: Candidate, factor: float) -> Candidate:
    """`config` at so many times its learning rate, rounded to the two digits that its name has; itself for 1."""
    factor = float(f"{factor:.2g}")
    if factor == 1:
        return config
    point = replace(config.point, lr=factor * config.point.lr)
    return Candidate(f"{config.name} at {factor:g} x lr", point, scaled_from=config.name, factor=factor)


def audited(findings: Findings, settings: Settings, known: Sequence[Candidate]) -> list[Candidate]:
    """`confirm.audit` trials that the median rule pruned, chosen at random by the study's seed; none of `known`."""
    space = settings.search_space()

    def candidate(row: Row) -> Candidate:
        point, number = space.from_params(row.trial.params), row.trial.number
        value = row.best.mel_ce if row.best else None
        return Candidate(f"trial {number}", point, number, None, row.evaluations[-1].step, value)

    pruned = [candidate(row) for row in findings.judged if row.reason == StopReason.MEDIAN and row.best is not None]
    pruned = [c for c in pruned if not any(same(c.point, other.point) for other in known)]
    count = min(settings.confirm.audit, len(pruned))
    return random.Random(f"{settings.study.seed}/audit").sample(pruned, count)


def distinct(configs: Iterable[Candidate], before: Sequence[Candidate] = ()) -> Iterator[Candidate]:
    """Without those that train like an earlier one, or like one of `before`."""
    known = list(before)
    for config in configs:
        if not any(same(config.point, other.point) for other in known):
            known.append(config)
            yield config


def same(one: Hyperparameters, other: Hyperparameters) -> bool:
    """Whether two points train alike. Storing one as Optuna's parameters may have rounded it in the last digit."""

    def numbers(point: Hyperparameters) -> list[float | None]:
        knobs = [point.lr, point.weight_decay, point.gamma, point.clip_norm]
        return [*knobs, point.new_rows_lr_factor, point.frozen_layers, *point.milestones]

    a, b = numbers(one), numbers(other)
    return len(a) == len(b) and all(
        x == y if x is None or y is None else math.isclose(x, y, rel_tol=1e-9) for x, y in zip(a, b, strict=True)
    )
