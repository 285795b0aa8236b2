"""How a cost grows with slots and trials: a fit, and how well it holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Law:
    """constant + per_slot * slots + per_trial * trials, in the unit of what was fitted."""

    constant: float
    per_slot: float
    per_trial: float
    r_squared: float
    worst: float  # largest deviation of a measurement from the law, relative to the measurement

    def at(self, slots: float, trials: float) -> float:
        return self.constant + self.per_slot * slots + self.per_trial * trials


def fit(measured: Sequence[tuple[float, float, float]]) -> Law:
    """The law of (slots, trials, cost), by least squares of the relative deviations; no term is below 0.

    A cost that falls with size would be an accident of the measurement. Needs three cells that differ in both.
    """
    slots, trials, costs = np.array(measured, dtype=float).T
    terms = np.stack([np.ones_like(costs), slots, trials], axis=1)
    used = [0, 1, 2]
    while True:
        found, *_ = np.linalg.lstsq(terms[:, used] / costs[:, None], np.ones_like(costs), rcond=None)
        if (found >= 0).all() or len(used) == 1:
            break
        del used[int(np.argmin(found * np.abs(terms[:, used]).mean(axis=0)))]
    coefficients = np.zeros(3)
    coefficients[used] = found
    constant, per_slot, per_trial = map(float, coefficients)
    residual = costs - terms @ coefficients
    spread = float(((costs - costs.mean()) ** 2).sum())
    r_squared = 1 - float((residual**2).sum()) / spread if spread else 1.0
    return Law(constant, per_slot, per_trial, r_squared, float(np.abs(residual / costs).max()))
