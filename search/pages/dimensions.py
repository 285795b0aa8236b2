"""The searched dimensions, as the trials have them: names for people, units, scales."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.study.findings import Row

# (name for people, unit or meaning of its value); both together have room below a small figure
NAMES = {
    "lr": ("learning rate", "of AdamW"),
    "weight_decay": ("weight decay", "of AdamW"),
    "n_milestones": ("milestones", "number"),
    "milestone_1": ("first milestone", "share of the run"),
    "milestone_2_of_rest": ("second milestone", "share of the rest"),
    "milestone_3_of_rest": ("third milestone", "share of the rest"),
    "gamma": ("gamma", "factor at a milestone"),
    "clip": ("gradient clip", "on or off"),
    "clip_norm": ("clip norm", "bound of the L2 norm"),
    "new_rows_lr_factor": ("rate of new rows", "factor on the rate"),
    "frozen_layers": ("frozen layers", "number"),
}


@dataclass(frozen=True)
class Dimension:
    """A searched dimension. `choices` of a categorical one; its places on an axis are 0, 1, …"""

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def title(self) -> str:
        return NAMES.get(self.name, (self.name, ""))[0]

    @property
    def label(self) -> str:
        """Of an axis: the name and the unit."""
        return ", ".join(filter(None, NAMES.get(self.name, (self.name, ""))))

    def place(self, row: Row) -> float:
        """Of a trial's value on the axis."""
        value = row.trial.params[self.name]
        return float(self.choices.index(value)) if self.choices else float(value)

    def ticks(self) -> list[tuple[float, str]] | None:
        """(place, label) of each value; None for a continuous axis."""
        if self.choices:
            words = {True: "on", False: "off"}
            return [(float(i), words[c] if isinstance(c, bool) else str(c)) for i, c in enumerate(self.choices)]
        if self.whole and self.high - self.low <= 8:
            return [(float(i), str(i)) for i in range(int(self.low), int(self.high) + 1)]
        return None


def dimensions(rows: Sequence[Row]) -> list[Dimension]:
    """Those that can differ between trials, in the order of the space; some have a value in some trials only."""
    found: dict[str, BaseDistribution] = {}
    for row in rows:
        found |= {name: d for name, d in row.trial.distributions.items() if not d.single()}
    order = list(NAMES)
    made = [_dimension(name, found[name]) for name in sorted(found, key=lambda n: order.index(n) if n in order else 99)]
    return [dimension for dimension in made if dimension is not None]


def _dimension(name: str, distribution: BaseDistribution) -> Dimension | None:
    if isinstance(distribution, CategoricalDistribution):
        return Dimension(name, 0, len(distribution.choices) - 1, choices=tuple(distribution.choices))
    if isinstance(distribution, FloatDistribution | IntDistribution):
        whole = isinstance(distribution, IntDistribution)
        return Dimension(name, distribution.low, distribution.high, distribution.log, whole)
    return None


def holding(dimension: Dimension, rows: Sequence[Row]) -> list[Row]:
    """The trials that have a value there."""
    return [row for row in rows if dimension.name in row.trial.params]
