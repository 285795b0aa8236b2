"""What a study costs at most, before it is paid: optimizer steps of each part, and hours at the pace so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from search.settings.sections import LINE_RUNS, STOCK
from search.settings.settings import Settings
from search.study.findings import Findings
from search.text import duration
from search.trial import Prepared


@dataclass(frozen=True)
class Cost:
    """Of one part, at most."""

    name: str
    runs: int
    steps: int
    evaluations: int
    at_once: int  # runs that do not wait for each other, so that so many slots share the time

    def __str__(self) -> str:
        return f"{self.name} {self.runs:,} run{'' if self.runs == 1 else 's'}, {self.steps:,} steps"


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


def forecast(costs: Sequence[Cost], findings: Findings | None, slots: int) -> str:
    """All parts in a line. The time of each and of all, once trials have shown how long a step takes."""
    found = pace(findings) if findings else None
    if found is None:
        return f"at most: {'; '.join(map(str, costs))}"
    seconds = [found.seconds(cost) / min(slots, cost.at_once) for cost in costs]
    parts = "; ".join(f"{cost}, {duration(each)}" for cost, each in zip(costs, seconds, strict=True))
    whole = f"; {duration(sum(seconds))} in all" if len(costs) > 1 else ""
    return f"at most: {parts}{whole}, at the pace of the trials so far"


@dataclass(frozen=True)
class Pace:
    """Seconds, medians of a search."""

    set_up: float  # of a run
    step: float  # of an optimizer step
    evaluation: float

    def seconds(self, cost: Cost) -> float:
        """Of all runs of a part, one after another, without what they speak."""
        return self.set_up * cost.runs + self.step * cost.steps + self.evaluation * cost.evaluations


def pace(findings: Findings) -> Pace | None:
    """None before a trial has ended."""
    known = [(r.record, len(r.evaluations)) for r in findings.rows if r.record and r.record["steps"] and r.evaluations]
    if not known:
        return None
    return Pace(
        median(record["setup_seconds"] for record, _ in known),
        median(record["train_seconds"] / record["steps"] for record, _ in known),
        median(record["evaluation_seconds"] / count for record, count in known),
    )
