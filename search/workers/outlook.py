"""What the parts of a study cost, before it is paid: at most, and as expected, once runs have shown how long they take.

Less than the most is expected, since rules end runs.
"""

from collections.abc import Sequence
from statistics import fmean

from optuna.trial import TrialState

from search.settings.settings import Settings
from search.study import recorded, spending
from search.study.findings import Findings
from search.study.spending import hours
from search.text import duration
from search.workers.cost import Cost, confirmation_costs, pace, search_costs
from search.workers.events import Part, View

# The share of their most optimizer steps that runs make: means of the default's studies on each of five recorded
# corpora (docs/experiments.md), which lie between 0.47 and 0.64 for the trials of a search once the median rule acts,
# between 0.66 and 0.83 for a rate line, and between 0.30 and 0.72 for a race.
SHARES = {"search": 0.55, "rate line": 0.74, "race": 0.5}
TRUST = 6  # judged trials whose own share counts as much as the recorded one


def tell(view: View, parts: Sequence[Part], gpus: float) -> None:
    """All parts in a line at their most, and in another as expected. `gpus` is a slot's share of a GPU."""
    unit = _unit(gpus)
    for line in (at_most(parts), expected(parts, unit)):
        if line:
            view.note(line)
    view.forecast(parts, unit)


def forecast(settings: Settings, costs: Sequence[Cost], found: Findings, slots: int, gpus: float) -> list[Part]:
    """The `costs` on so many slots that have this share of a GPU each."""
    known, weight = pace(found.rows), gpus or 1.0
    if known is None:
        return [Part(cost.name, cost.runs, cost.steps) for cost in costs]
    parts = []
    for cost in costs:
        at_once = min(slots, cost.at_once)
        most, likely = known.seconds(cost), known.seconds(cost, expected_share(cost, settings, found))
        seconds = weight * most, most / at_once, weight * likely, likely / at_once
        parts.append(Part(cost.name, cost.runs, cost.steps, *seconds))
    return parts


def expected_share(cost: Cost, settings: Settings, found: Findings) -> float:
    """Of a part's most optimizer steps, what is expected."""
    if cost.name != "search":
        return SHARES.get(cost.name, 1.0)
    startup = settings.pruning.startup_trials if settings.pruning.median else cost.runs + len(found.rows)
    completed, shares = 0, []
    for row in found.judged:
        if completed >= startup and row.steps:
            shares.append(row.steps / (row.steps + found.saved(row)))
        completed += row.trial.state == TrialState.COMPLETE
    whole = min(cost.runs, max(0, startup - completed))  # that start before the rule acts
    later = (TRUST * SHARES["search"] + sum(shares)) / (TRUST + len(shares))
    return (whole + (cost.runs - whole) * later) / cost.runs


def at_most(parts: Sequence[Part]) -> str:
    """With the time by the clock once it is known."""
    told = [f"{p.name} {p.runs:,} run{'' if p.runs == 1 else 's'}, {p.steps:,} steps" for p in parts]
    times = [p.most_by_clock for p in parts if p.most_by_clock is not None]
    if len(times) < len(parts):
        return f"at most: {'; '.join(told)}"
    timed = "; ".join(f"{text}, {duration(time)}" for text, time in zip(told, times, strict=True))
    whole = f"; {duration(sum(times))} in all" if len(parts) > 1 else ""
    return f"at most: {timed}{whole}, at the pace of the trials so far"


def expected(parts: Sequence[Part], unit: str) -> str | None:
    """None before a run has ended."""
    known = [(p.name, p.expected, p.by_clock) for p in parts if p.expected is not None and p.by_clock is not None]
    if not known:
        return None
    told = [f"{name} {hours(seconds)} {unit}, {duration(clock)}" for name, seconds, clock in known]
    if len(known) > 1:
        _, seconds, clocks = zip(*known, strict=True)
        told.append(f"{hours(sum(seconds))} {unit}, {duration(sum(clocks))} in all")
    return f"expected: {'; '.join(told)}"


def to_come(settings: Settings, found: Findings, is_confirming: bool) -> list[str]:
    """A sentence on the rest of a search and, unless `is_confirming` already, on a confirmation; or none."""
    prepared, ran = recorded.prepared(found.prepared), spending.ended(row.trial for row in found.rows)
    if prepared is None or not ran:
        return []
    gpus = fmean(run.gpus for run in ran)
    rest = search_costs(settings, prepared, found.finished)
    full = [] if is_confirming else confirmation_costs(settings, prepared)
    named = {"the rest of the search": rest, "a confirmation": full}
    sums = {
        name: sum(part.expected or 0.0 for part in forecast(settings, costs, found, 1, gpus))
        for name, costs in named.items()
    }
    told = [f"{hours(seconds)} {_unit(gpus)} for {name}" for name, seconds in sums.items() if seconds]
    return [f"Expected yet: {', '.join(told)}."] if told else []


def _unit(gpus: float) -> str:
    return "GPU h" if gpus else "slot h"
