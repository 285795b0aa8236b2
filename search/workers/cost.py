"""What the parts of a study cost at most, in runs and optimizer steps, and how long these take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from search.settings.sections import LINE_RUNS, STOCK
from search.settings.settings import Settings
from search.study import spending
from search.study.findings import Row
from search.trial import Prepared


@dataclass(frozen=True)
class Cost:
    """Of one part, at most."""

    name: str
    runs: int
    steps: int
    evaluations: int
    at_once: int  # runs that do not wait for each other, so that so many slots share the time


def search_costs(settings: Settings, prepared: Prepared, finished: int) -> list[Cost]:
    """Of the trials that are left after so many; nothing where none is."""
    count, horizon = max(0, settings.study.trials - finished), settings.trial_horizon(prepared.train_clips)
    return [Cost("search", count, count * horizon, count * settings.training.evaluations, count)] if count else []


def pipeline_costs(settings: Settings, prepared: Prepared, finished: int) -> list[Cost]:
    """Of the trials that are left after so many, and of the confirmation."""
    return [*search_costs(settings, prepared, finished), *confirmation_costs(settings, prepared)]


def confirmation_costs(settings: Settings, prepared: Prepared) -> list[Cost]:
    """Of the rate line, the race and the audit."""
    confirm, training = settings.confirm, settings.training
    full, short = settings.full_horizon(prepared.train_clips), settings.trial_horizon(prepared.train_clips)
    line, at_once = LINE_RUNS + 2 * (confirm.top - 1), 1  # each run decides the next
    if confirm.rates != "turn":
        line = at_once = 1 + confirm.top + len(confirm.rates)
    racing = 2 + _has_another_default(settings)
    parts = [("rate line", line, at_once), ("race", racing * confirm.seeds, racing)]  # a race goes seed by seed
    costs = [Cost(name, n, n * full, n * training.full_evaluations, together) for name, n, together in parts]
    count = confirm.audit
    if count:
        evaluations = count * (training.evaluations + training.full_evaluations)
        costs.append(Cost("audit", 2 * count, count * (short + full), evaluations, 2 * count))
    return costs


def _has_another_default(settings: Settings) -> bool:
    """Whether the space's first baseline, fitted into it, is not the stock recipe."""
    space = settings.search_space()
    default = space.baselines[0] if space.baselines else settings.stock_recipe()
    return default.name != STOCK or bool(space.to_params(default.hyperparameters)[1])


@dataclass(frozen=True)
class Pace:
    """Seconds of a slot, medians of runs that have ended."""

    set_up: float  # of a run: all but training and evaluation, so with the start of its process and what it speaks
    step: float  # of an optimizer step
    evaluation: float

    def seconds(self, cost: Cost, share: float = 1.0) -> float:
        """Of all runs of a part, one after another, if they make this share of their steps."""
        return self.set_up * cost.runs + share * (self.step * cost.steps + self.evaluation * cost.evaluations)


def pace(rows: Iterable[Row]) -> Pace | None:
    """None before a trial has ended."""
    known = [(r, r.record, len(r.evaluations)) for r in rows if r.record and r.record["steps"] and r.evaluations]
    if not known:
        return None
    return Pace(
        median(_set_up(row, record) for row, record, _ in known),
        median(record["train_seconds"] / record["steps"] for _, record, _ in known),
        median(record["evaluation_seconds"] / count for _, record, count in known),
    )


def _set_up(row: Row, record: Mapping[str, Any]) -> float:
    for held in spending.ended([row.trial]):
        return max(0.0, held.seconds - float(record["train_seconds"]) - float(record["evaluation_seconds"]))
    return float(record["setup_seconds"])
