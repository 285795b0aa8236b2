"""Figures of pages: one palette, one set-up, and SVG whose text is text and whose colours are the page's."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from search.pages.chart import BASE, Axis, Chart

# Colours of Okabe and Ito (2008), which colour-blind readers can tell apart. In a page each is the CSS variable of its
# name (page.css), which has another value on dark screens; matplotlib needs colours of its own to draw with.
COLOURS = {
    "blue": "#0072b2", "orange": "#d55e00", "green": "#009e73", "purple": "#a8437f", "grey": "#7f7f7f",
    "text": "#123456", "page": "#fedcba",
}  # fmt: skip
# Of matplotlib, which nothing else in this process draws with.
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": COLOURS["grey"], "axes.grid": True, "axes.labelcolor": COLOURS["text"], "axes.labelsize": 8.5,
    "axes.spines.right": False, "axes.spines.top": False, "font.family": "sans-serif", "font.size": 8,
    "grid.alpha": 0.25, "grid.color": COLOURS["grey"], "grid.linewidth": 0.6, "legend.borderaxespad": 0.1,
    "legend.columnspacing": 1.2, "legend.fontsize": 8, "legend.frameon": False, "legend.handletextpad": 0.5,
    "legend.labelcolor": COLOURS["text"], "svg.fonttype": "none", "svg.hashsalt": "xtts-study",
    "text.parse_math": False, "xtick.color": COLOURS["text"], "ytick.color": COLOURS["text"],
}  # fmt: skip
WIDTH, SMALL = 7.2, (3.0, 2.3)  # inches; text of 8 points stays readable on a telephone and on paper
DASHED, DOTTED = (0, (5, 3)), (0, (1, 1.5))  # of lines that are no data: the base, the stock recipe

_SHAPES = re.compile(r'(?:<use [^>]*>| d="[^"]*")')  # coordinates, in points
_DIGITS = re.compile(r"(\.\d\d)\d+")  # a hundredth of a point is enough, and halves a page of many trials
# Groups have numbered ids, which nothing refers to. The ids that remain are hashes of what they name: two pictures that
# have one in common draw the same there.
_NEEDLESS = re.compile(r"\s*<metadata>.*?</metadata>|font-family: [^;\"]*; |(?<=\n) +| id=\"\w+_\d+\"", re.DOTALL)


@dataclass(frozen=True)
class Picture:
    """A figure, and what has to be said below it."""

    svg: Markup
    caption: str = ""


def picture(*charts: Chart | None) -> Picture | None:
    """The charts beside each other, with the legend of the first above them; None where there is none."""
    there = [chart for chart in charts if chart]
    if not there:
        return None
    ratios = {"width_ratios": (3, 2), "sharey": True} if len(there) > 1 else {}
    made = _drawn(there, (WIDTH, there[0].height), **ratios)
    handles = made.axes[0].get_legend_handles_labels()[0]
    if handles:
        made.legend(handles=handles, loc="outside upper left", ncols=there[0].columns)
    return Picture(_to_svg(made), there[-1].caption)


def small(chart: Chart) -> Picture:
    """Without a legend."""
    return Picture(_to_svg(_drawn([chart], SMALL)))


def _drawn(charts: Sequence[Chart], size: tuple[float, float], **ratios: Any) -> Any:
    """A figure of `size` inches. No display is needed for it."""
    import matplotlib
    from matplotlib.figure import Figure  # half a second, which only pages have

    matplotlib.rcParams.update(_STYLE)
    made = Figure(figsize=size, layout="constrained")
    for axes, chart in zip(made.subplots(1, len(charts), squeeze=False, **ratios).flat, charts, strict=True):
        _paint(axes, chart)
    return made


def _paint(axes: Any, chart: Chart) -> None:
    for letter, axis in (("x", chart.x), ("y", chart.y)):
        _scale(axes, letter, axis)
    for each in chart.series:
        colour = COLOURS[each.colour]
        face = colour if not each.hollow else COLOURS["page"] if each.line else "none"
        for (low, high), y in zip(each.intervals, each.y, strict=False):
            axes.plot([low, high], [y, y], color=colour, linewidth=each.width)
        axes.plot(
            each.x, each.y, color=colour, linestyle="-" if each.line == "steps" else each.line or "none",
            drawstyle="steps-post" if each.line == "steps" else "default", linewidth=each.width, marker=each.marker,
            markevery=None if each.marked is None else [each.marked], markersize=each.size, markerfacecolor=face,
            markeredgewidth=2 if each.marker == "|" else None, alpha=each.alpha, label=each.label or None,
            clip_on=bool(each.line), zorder=3 if each.hollow else 4, solid_capstyle="butt",
        )  # fmt: skip
    for axis, line in ((chart.x, axes.axvline), (chart.y, axes.axhline)):
        for name, label, value in axis.lines():
            colour, dashes = ("grey", DASHED) if name == BASE else ("text", DOTTED)
            style = {"color": COLOURS[colour], "linestyle": dashes}
            axes.plot([], [], label=label, **style)
            if value is not None:
                line(value, linewidth=1.2, **style)


def _scale(axes: Any, letter: str, axis: Axis) -> None:
    """The name, range and ticks of an axis."""
    from matplotlib.ticker import LogLocator

    along = getattr(axes, f"{letter}axis")
    axes.set(**{f"{letter}label": axis.label})
    if axis.log:
        axes.set(**{f"{letter}scale": "log"})
        is_wide = axis.bounds is None or axis.bounds[1] > 30 * axis.bounds[0]
        along.set_major_locator(LogLocator(subs=(1,) if is_wide else (1, 2, 5)))
        along.set_major_formatter("{x:g}")  # without mathematics, which is not drawn here
        along.set_minor_formatter("")
    if axis.whole:
        along.get_major_locator().set_params(integer=True)
    if axis.ticks:
        along.set_ticks([place for place, _ in axis.ticks], labels=[name for _, name in axis.ticks])
        along.grid(visible=False)
    if axis.bounds:
        axes.set(**{f"{letter}lim": axis.bounds})


def _to_svg(made: Any) -> Markup:
    """The figure as an SVG element in which each of COLOURS is the page's CSS variable of its name.

    Its text has the page's font, and no $ in it is mathematics.
    """
    drawn = io.StringIO()
    made.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    text = _SHAPES.sub(lambda found: _DIGITS.sub(r"\1", found.group()), text)
    return Markup(_NEEDLESS.sub("", text))  # matplotlib has escaped its texts
