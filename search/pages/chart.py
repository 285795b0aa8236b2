"""A figure as data. Pages draw it as SVG (`drawing`), Optuna's dashboard by Plotly (`dashboard_figures`)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles

LOSS = "lowest evaluation,\nnats per audio token"
BASE = "untouched base"  # a level; the other is the stock recipe's


@dataclass(frozen=True)
class Series:
    """Points with marks, a line, or both. Without a label it is not in the legend."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str  # of `drawing.COLOURS`
    marker: str = ""  # of matplotlib
    hollow: bool = False
    line: str = ""  # "-", "--", or "steps", each as high as the point before
    marked: int | None = None  # the only point with a mark
    size: float = 5.0  # of a mark, points
    width: float = 1.3  # of the line, points
    alpha: float = 1.0
    told: Sequence[str] = ()  # of each point, where the pointer is
    intervals: Sequence[tuple[float, float]] = ()  # of each point, along x


@dataclass(frozen=True)
class Axis:
    """`levels` are lines across it; one that lies outside of the bounds is named only."""

    label: str
    bounds: tuple[float, float] | None = None
    log: bool = False
    whole: bool = False  # its numbers
    ticks: Sequence[tuple[float, str]] = ()  # (place, name) instead of numbers
    levels: Mapping[str, float] = field(default_factory=dict)
    digits: str = ".4f"  # of the levels

    def lines(self) -> Iterator[tuple[str, str, float | None]]:
        """(name, label, where it is drawn) of each level."""
        low, high = self.bounds or (-math.inf, math.inf)
        for name, value in self.levels.items():
            side = " (above)" if value > high else " (below)" if value < low else ""
            yield name, f"{name}, {value:{self.digits}}{side}", None if side else value


@dataclass(frozen=True)
class Chart:
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    caption: str = ""
    height: float = 3.3  # inches
    columns: int = 4  # of the legend


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
