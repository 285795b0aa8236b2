"""Trials in figures: a mark and a colour for each stop reason, the range of a loss axis, and which are drawn."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import quantiles
from typing import Any

from search.pages.drawing import COLOURS
from search.pages.material import completed
from search.study.findings import Row
from search.trial import StopReason


@dataclass(frozen=True)
class Kind:
    """How trials of one stop reason look."""

    label: str
    colour: str
    marker: str
    hollow: bool = False

    @property
    def style(self) -> dict[str, Any]:
        """Of a mark, for matplotlib."""
        colour = COLOURS[self.colour]
        return {"marker": self.marker, "color": colour, "markerfacecolor": "none" if self.hollow else colour}


KINDS = {
    StopReason.FINISHED: Kind("finished", "blue", "o"),
    StopReason.TWO_INCREASES: Kind("two increases", "green", "s"),
    StopReason.STOPPED_BY_NAME: Kind("stopped by name", "blue", "D", hollow=True),
    StopReason.MEDIAN: Kind("pruned by the median", "orange", "v", hollow=True),
    StopReason.DIVERGED: Kind("diverged", "purple", "X"),
}
OTHER = Kind("ended otherwise", "grey", "P", hollow=True)


def kind(row: Row) -> Kind:
    return next((kind for reason, kind in KINDS.items() if reason == row.reason), OTHER)


def by_kind(rows: Sequence[Row]) -> Iterator[tuple[Kind, list[Row]]]:
    """(kind, its trials), of those that there are."""
    for each in (*KINDS.values(), OTHER):
        chosen = [row for row in rows if kind(row) is each]
        if chosen:
            yield each, chosen


def loss(row: Row) -> float:
    """The lowest evaluation of a trial, nats per audio token; infinite without one."""
    return row.best.mel_ce if row.best else math.inf


def best_so_far(rows: Sequence[Row]) -> tuple[list[int], list[float]]:
    """(trials, the lowest value up to each): of completed ones, without repeats, which cannot be the best."""
    done = {row.trial.number: row.trial.value for row in rows if completed(row) and not row.repeat}
    finite = {number: value for number, value in done.items() if value is not None}
    return list(finite), list(accumulate(finite.values(), min))


def points(axes: Any, rows: Sequence[Row], at: Callable[[Row], float], top: float) -> None:
    """A mark for each trial, by its stop reason; what is above `top` lies on the upper edge."""
    size = 5.0 if len(rows) <= 100 else 3.6 if len(rows) <= 500 else 2.6
    for each, chosen in by_kind(rows):
        axes.plot(
            [at(row) for row in chosen], [min(loss(row), top) for row in chosen], linestyle="none", markersize=size,
            alpha=0.9 if len(rows) <= 100 else 0.6, label=each.label, clip_on=False, zorder=3 if each.hollow else 4,
            **each.style,
        )  # fmt: skip


def level(axes: Any, value: float, name: str, colour: str, dashes: Any) -> None:
    """A labelled line at `value` where the axis contains it; else the label says on which side it lies."""
    bottom, top = axes.get_ylim()
    side = " (above)" if value > top else " (below)" if value < bottom else ""
    axes.plot([], [], color=COLOURS[colour], linestyle=dashes, label=f"{name}, {value:.4f}{side}")
    if not side:
        axes.axhline(value, color=COLOURS[colour], linestyle=dashes, linewidth=1.2)


def limits(values: Sequence[float], lines: Sequence[float] = ()) -> tuple[float, float]:
    """Of a loss axis: from below the lowest to where the bulk ends, so that a few high ones do not flatten the rest.

    `lines` belong in it where that leaves the points at least half of the height, or where these have no height.
    """
    low, high = min(values), max(values)
    if low == high:
        low, high = min([low, *lines]), max([high, *lines])
    if len(values) >= 8:
        first, _, third = quantiles(values, n=4)
        high = min(high, third + 2.0 * (third - first))
    high = max(high, low + 1e-3 * max(1.0, abs(low)))
    for line in lines:
        if max(high, line) - min(low, line) <= 2 * (high - low):
            low, high = min(low, line), max(high, line)
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def thinned(rows: Sequence[Row], most: int, kept: int = 60) -> list[Row]:
    """At most `most` trials: the best `kept` and a part of the rest, drawn at random but always the same."""
    if len(rows) <= most:
        return list(rows)
    ordered = sorted(rows, key=lambda row: (not completed(row), loss(row)))
    chosen = [*ordered[:kept], *random.Random(1).sample(ordered[kept:], most - kept)]
    return sorted(chosen, key=lambda row: row.trial.number)
