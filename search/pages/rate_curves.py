"""The full runs of a rate line as curves, for the figures of the report and of the dashboard."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.confirmation.candidates import Candidate
from search.confirmation.rate_line import LineRun, sum_of_rates
from search.confirmation.runs import Runs
from search.settings.sections import STOCK

MOST = 8  # curves that can be told apart
LONGEST = 34  # signs of a name
TITLE = "Rate line: evaluations over the sum of the learning rates"
ACROSS = "sum of the learning rates so far"


@dataclass(frozen=True)
class Curve:
    """A full run of the line: its evaluations over the sum of the learning rates that it had applied by then."""

    name: str
    rate: float
    steps: list[int]
    sums: list[float]
    values: list[float]  # nats per audio token, finite
    turned: bool  # lowest early, and risen since
    diverged: bool
    is_stock: bool
    is_finalist: bool

    @property
    def lowest(self) -> int:
        """Which of its evaluations."""
        return self.values.index(min(self.values))

    @property
    def label(self) -> str:
        name = self.name if len(self.name) <= LONGEST else f"{self.name[: LONGEST - 1]}…"
        role = ", races" if self.is_finalist else ", diverged" if self.diverged else ""
        return f"lr {self.rate:.2e}: {name}{role}"  # no label starts with the name: matplotlib leaves out "_…"


def curves(runs: Runs) -> list[Curve]:
    """Of the runs of the line that have ended with an evaluation, in their order."""
    ended = [(config, runs.line.ended[config.name]) for config in runs.line.runs if config.name in runs.line.ended]
    finalist = runs.finalist.name if runs.finalist else None
    return [_curve(config, run, finalist) for config, run in ended if any(map(math.isfinite, run.values))]


def _curve(config: Candidate, run: LineRun, finalist: str | None) -> Curve:
    known = [(step, value) for step, value in zip(run.steps, run.values, strict=True) if math.isfinite(value)]
    return Curve(
        name=config.name,
        rate=config.point.lr,
        steps=[step for step, _ in known],
        sums=[sum_of_rates(config.point, step, run.horizon) for step, _ in known],
        values=[value for _, value in known],
        turned=run.turned and not run.diverged,
        diverged=run.diverged,
        is_stock=config.name == STOCK,
        is_finalist=config.name == finalist,
    )


def drawn(found: Sequence[Curve]) -> list[Curve]:
    """At most `MOST` of them: the stock recipe, the finalist, and the lowest of the others, in their order."""
    first = sorted(found, key=lambda c: (not (c.is_stock or c.is_finalist), min(c.values)))[:MOST]
    return [curve for curve in found if curve in first]


def turning_sum(runs: Runs, found: Sequence[Curve]) -> float | None:
    """The sum of learning rates at which runs turn; None where none turned: one that diverged does not show it."""
    return runs.line.sum_of_rates if any(curve.turned for curve in found) else None


def caption(runs: Runs, found: Sequence[Curve]) -> str:
    """How to read the figure."""
    told = [
        "Each line is a full run. From left to right its learning rates add up, so a run with a lower rate ends further"
        " left. A circle marks its lowest evaluation; it is filled if the run turned: it was lowest before three"
        " quarters of its length, and rose."
    ]
    if any(curve.diverged for curve in found):
        told.append("A cross marks the last evaluation of a run that diverged.")
    if (tau := turning_sum(runs, found)) is not None:
        told.append(
            "The vertical band marks the sum at which runs turned; other rates are expected to turn near it. A constant"
            f" rate of {tau / runs.plan.horizon:.2e} reaches it at the last of {runs.plan.horizon:,} steps."
        )
    if waiting := [config.name for config in runs.line.missing]:
        names = f"{', '.join(waiting[:3])}{f' and {len(waiting) - 3} more' if len(waiting) > 3 else ''}"
        told.append(f"The line is not over; next: {names}.")
    if len(found) > MOST:
        told.append(f"{MOST} of {len(found)} runs are drawn, the lowest among them.")
    return " ".join(told)
