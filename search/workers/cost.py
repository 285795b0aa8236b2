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

    def __str__(self) -> str:
        return f"{self.name} {self.runs:,} run{'s' if self.runs > 1 else ''}, {self.steps:,} steps"


def search_cost(settings: Settings, prepared: Prepared) -> Cost:
    count, horizon = settings.study.trials, settings.trial_horizon(prepared.train_clips)
    return Cost("search", count, count * horizon, count * settings.training.evaluations)


def confirmation_costs(settings: Settings, prepared: Prepared) -> list[Cost]:
    """Of the rate line, the race and the audit."""
    confirm, training = settings.confirm, settings.training
    full, short = settings.full_horizon(prepared.train_clips), settings.trial_horizon(prepared.train_clips)
    line = 1 + confirm.top + len(confirm.rates) if confirm.rates != "turn" else LINE_RUNS + 2 * (confirm.top - 1)
    parts = [("rate line", line), ("race", (2 + _has_another_default(settings)) * confirm.seeds)]
    costs = [Cost(name, runs, runs * full, runs * training.full_evaluations) for name, runs in parts]
    count = confirm.audit
    if count:
        evaluations = count * (training.evaluations + training.full_evaluations)
        costs.append(Cost("audit", 2 * count, count * (short + full), evaluations))
    return costs


def _has_another_default(settings: Settings) -> bool:
    """Whether the space's first baseline, fitted into it, is not the stock recipe."""
    space = settings.search_space()
    default = space.baselines[0] if space.baselines else settings.stock_recipe()
    return default.name != STOCK or bool(space.to_params(default.hyperparameters)[1])


def forecast(costs: Sequence[Cost], findings: Findings | None, slots: int) -> str:
    """All parts in a line. The hours, where trials have shown how long a step takes."""
    text = f"at most: {'; '.join(map(str, costs))}"
    found = pace(findings) if findings else None
    if found is None:
        return text
    seconds = sum(found[0] * cost.steps + found[1] * cost.evaluations for cost in costs) / slots
    return f"{text}; about {duration(seconds)} at the pace of the trials so far"


def pace(findings: Findings) -> tuple[float, float] | None:
    """(seconds of an optimizer step, of an evaluation), medians of the search. None before a trial has ended."""
    known = [(r.record, len(r.evaluations)) for r in findings.rows if r.record and r.record["steps"] and r.evaluations]
    if not known:
        return None
    a_step = median(record["train_seconds"] / record["steps"] for record, _ in known)
    return a_step, median(record["evaluation_seconds"] / count for record, count in known)
