"""What the figures of a report share: their colours and shapes, sizes, and how they become SVG."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from search.pages.drawing import plain, to_svg
from search.pages.material import completed, lowest
from search.study.findings import Row
from search.trial import StopReason

LOSS = "lowest evaluation,\nnats per audio token"
COLOURS = {
    "blue": "#0072b2", "orange": "#d55e00", "green": "#009e73", "purple": "#a8437f", "grey": "#7f7f7f",
    "text": "#123456", "page": "#fedcba",
}  # fmt: skip
WIDE, SMALL = (7.2, 3.3), (3.0, 2.3)  # inches; text of 8 points stays readable on a telephone and on paper


@dataclass(frozen=True)
class Kind:
    """How trials of one stop reason look."""

    label: str
    colour: str
    marker: str
    hollow: bool = False


KINDS = {
    StopReason.FINISHED: Kind("finished", "blue", "o"),
    StopReason.TWO_INCREASES: Kind("two increases", "green", "s"),
    StopReason.MEDIAN: Kind("pruned by the median", "orange", "v", hollow=True),
    StopReason.DIVERGED: Kind("diverged", "purple", "X"),
}
OTHER = Kind("ended otherwise", "grey", "P", hollow=True)


def kind(row: Row) -> Kind:
    found = next((kind for reason, kind in KINDS.items() if reason == row.reason), None)
    return found or OTHER


@contextmanager
def figure(
    size: tuple[float, float], left: float = 0.72, bottom: float = 0.46
) -> Iterator[tuple[Any, Any, Callable[[], str]]]:
    """(figure, its axes, what makes an SVG element of it). Text is text: no $ in it is mathematics.

    `left` and `bottom` are the margins for the labels of these sides, inches; the left one grows with the digits of
    its ticks. An engine that finds all margins takes as long as the drawing.
    """
    import matplotlib  # half a second, which only pages have
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"text.parse_math": False, "legend.fontsize": 8}):
        made = Figure(figsize=size)
        width, height = size
        made.subplots_adjust(left=left / width, right=1 - 0.1 / width, bottom=bottom / height, top=1 - 0.1 / height)
        axes = made.subplots()
        style(axes)

        def drawn() -> str:
            made.subplots_adjust(left=max(left, _left_of(axes)) / width)
            return to_svg(made, COLOURS)

        yield made, axes, drawn


def _left_of(axes: Any) -> float:
    """Inches that the label and the ticks of the vertical axis take; 0 without a label."""
    label, (low, high) = axes.get_ylabel(), axes.get_ylim()
    if not label:
        return 0.0
    ticks = axes.yaxis.get_major_formatter().format_ticks([tick for tick in axes.get_yticks() if low <= tick <= high])
    return 0.16 + 0.142 * len(label.splitlines()) + 0.071 * max(map(len, ticks), default=0)


def style(axes: Any) -> None:
    plain(axes, COLOURS["text"], COLOURS["grey"])
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(8.5)
    axes.yaxis.label.set_size(8.5)


def legend(made: Any, columns: int = 4, handles: Sequence[Any] | None = None) -> None:
    """Above the axes, where it hides no point."""
    handles = handles or made.axes[0].get_legend_handles_labels()[0]
    if not handles:
        return
    height = made.get_figheight()
    made.subplots_adjust(top=1 - (0.14 + 0.19 * -(-len(handles) // columns)) / height)
    made.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, handletextpad=0.5,
        labelcolor=COLOURS["text"], columnspacing=1.2, borderaxespad=0.1,
    )  # fmt: skip


def points(axes: Any, rows: Sequence[Row], at: Callable[[Row], float], top: float, named: bool = True) -> None:
    """A mark for each trial, by its stop reason; what is above `top` lies on the upper edge."""
    size = 5.0 if len(rows) <= 100 else 3.6 if len(rows) <= 500 else 2.6
    for each in (*KINDS.values(), OTHER):
        chosen = [row for row in rows if kind(row) is each]
        if not chosen:
            continue
        values = [min(lowest(row) or math.inf, top) for row in chosen]
        colour = COLOURS[each.colour]
        axes.plot(
            [at(row) for row in chosen], values, linestyle="none", marker=each.marker, markersize=size,
            markerfacecolor="none" if each.hollow else colour, markeredgecolor=colour,
            markeredgewidth=0.9 if each.hollow else 0.4, alpha=0.9 if len(rows) <= 100 else 0.6,
            label=each.label if named else None, clip_on=False, zorder=3 if each.hollow else 4,
        )  # fmt: skip


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
        reach = max(high, line) - min(low, line)
        if reach <= 2 * (high - low):
            low, high = min(low, line), max(high, line)
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def thinned(rows: Sequence[Row], most: int, kept: int = 60) -> list[Row]:
    """At most `most` trials: the best `kept` and a part of the rest, drawn at random but always the same."""
    if len(rows) <= most:
        return list(rows)
    ordered = sorted(rows, key=lambda row: (not completed(row.trial), lowest(row) or math.inf))
    chosen = [*ordered[:kept], *random.Random(1).sample(ordered[kept:], most - kept)]
    return sorted(chosen, key=lambda row: row.trial.number)
