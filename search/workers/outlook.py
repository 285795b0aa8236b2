"""What a study is expected to cost yet, in hours of GPUs and of the clock, once runs have shown how long they take.

`search.workers.cost` says what it costs at most. Less is expected, since rules end runs: of a search the share that
they left so far, of a confirmation the usual one.
"""

from collections.abc import Sequence
from statistics import fmean

from search.settings.settings import Settings
from search.study import recorded, spending
from search.study.findings import Findings
from search.study.spending import weighed
from search.text import duration
from search.workers.budget import slot_pace
from search.workers.cost import Cost, confirmation_costs, search_costs

# The parts of their most optimizer steps that the parts of a confirmation take: means of the default's 210 studies on
# each of five recorded corpora (docs/experiments.md), which lie between 0.66 and 0.83, and between 0.30 and 0.72.
SHARES = {"rate line": 0.74, "race": 0.5}


def expected(costs: Sequence[Cost], found: Findings, slots: int, gpus: float) -> str | None:
    """Each part and all, on `slots` that have this share of a GPU; None before a trial has ended."""
    parts = _seconds(costs, found)
    if parts is None:
        return None
    walls = [seconds / min(slots, cost.at_once) for cost, seconds in zip(costs, parts, strict=True)]
    told = [f"{c.name} {weighed(s, gpus)}, {duration(w)}" for c, s, w in zip(costs, parts, walls, strict=True)]
    whole = f"; {weighed(sum(parts), gpus)}, {duration(sum(walls))} in all" if len(costs) > 1 else ""
    return f"expected: {'; '.join(told)}{whole}"


def to_come(settings: Settings, found: Findings, is_confirming: bool) -> list[str]:
    """A sentence on the rest of a search and, unless `is_confirming` already, on a confirmation; or none."""
    prepared, ran = recorded.prepared(found.prepared), spending.ended(row.trial for row in found.rows)
    if prepared is None or not ran:
        return []
    rest = search_costs(settings, prepared, found.finished)
    costs = [*rest, *([] if is_confirming else confirmation_costs(settings, prepared))]
    parts = _seconds(costs, found)
    if not parts:
        return []
    gpus = fmean(run.gpus for run in ran)
    named = {"the rest of the search": parts[: len(rest)], "a confirmation": parts[len(rest) :]}
    told = [f"{weighed(sum(each), gpus)} for {name}" for name, each in named.items() if each]
    return [f"Expected yet: {', '.join(told)}."]


def _seconds(costs: Sequence[Cost], found: Findings) -> list[float] | None:
    """Of a slot, for each part."""
    known = slot_pace(found)
    if known is None:
        return None
    trained, unpruned = found.steps
    share = trained / unpruned if trained else 1.0
    shares = {"search": share, **SHARES}
    return [known.seconds(cost) * shares.get(cost.name, 1.0) for cost in costs]
