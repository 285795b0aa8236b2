"""Figures of the searched dimensions: the value of trials against each, and against two together."""

import random
from collections.abc import Sequence
from typing import Any

from search.pages.dimensions import Dimension, holding
from search.pages.drawing import COLOURS, LOSS, SMALL, WIDE, Picture, figure, legend, to_svg
from search.pages.marks import limits, loss, points, thinned
from search.pages.material import Material, completed

SLICE = 300  # trials drawn in one figure at most
FEWEST_TOGETHER = 12  # completed trials that have a value in both dimensions


def slices(material: Material, known: Sequence[Dimension]) -> list[tuple[Dimension, Picture]]:
    """The value of trials against each dimension, pruned ones hollow; a small figure each, on one scale of losses."""
    scale = limits([loss(row) for row in material.judged])
    held = [each for each in known if holding(each, material.judged)]
    return [(each, _slice(material, each, scale)) for each in held]


def _slice(material: Material, dimension: Dimension, scale: tuple[float, float]) -> Picture:
    rows, best = holding(dimension, material.judged), material.best
    draw = random.Random(1)
    # Trials of one whole value would hide each other.
    places = {
        row.trial.number: dimension.place(row) + (draw.uniform(-0.22, 0.22) if dimension.ticks() else 0.0)
        for row in rows
    }
    made, (axes,) = figure(SMALL)
    _axis(axes, "x", dimension)
    points(axes, thinned(rows, SLICE), lambda row: places[row.trial.number], scale[1])
    if best is not None and best.trial.number in places and best.trial.value is not None:
        axes.plot(
            [places[best.trial.number]], [best.trial.value], marker="o", markersize=11, markerfacecolor="none",
            markeredgecolor=COLOURS["text"], markeredgewidth=1.3, clip_on=False, zorder=6,
        )  # fmt: skip
    axes.set(ylim=scale, ylabel=LOSS)
    return Picture(to_svg(made))


def best_two(
    material: Material, names: Sequence[str], known: Sequence[Dimension]
) -> tuple[Dimension, Dimension] | None:
    """The two most important continuous dimensions, of `names` in this order, that enough completed trials have."""
    by_name = {dimension.name: dimension for dimension in known}
    able = [by_name[name] for name in names if name in by_name and by_name[name].ticks() is None]
    for i, second in enumerate(able):
        for first in able[:i]:
            rows = [row for row in holding(first, holding(second, material.judged)) if completed(row)]
            if len(rows) >= FEWEST_TOGETHER:
                return first, second
    return None


def together(material: Material, across: Dimension, up: Dimension) -> Picture:
    """Trials over two dimensions, each in the colour of its value."""
    rows = holding(across, holding(up, material.judged))
    shown = sorted(thinned(rows, SLICE), key=loss, reverse=True)  # the best on top
    low, high = limits([loss(row) for row in rows])
    made, (axes,) = figure((WIDE[0], 4.0))
    _axis(axes, "x", across)
    _axis(axes, "y", up)
    drawn = None
    for is_done, marker, label in ((False, "v", "pruned"), (True, "o", "completed")):
        chosen = [row for row in shown if completed(row) == is_done]
        drawn = axes.scatter(
            [across.place(row) for row in chosen], [up.place(row) for row in chosen], marker=marker, label=label,
            c=[loss(row) for row in chosen], vmin=low, vmax=high, cmap="viridis", s=44 if len(shown) <= 100 else 24,
            edgecolors=COLOURS["grey"], linewidths=0.6, clip_on=False,
        )  # fmt: skip
    best = material.best
    if best in rows and best is not None:
        axes.plot(
            [across.place(best)], [up.place(best)], linestyle="none", marker="o", markersize=13, label="the best",
            markerfacecolor="none", markeredgecolor=COLOURS["text"], markeredgewidth=1.3, clip_on=False,
        )  # fmt: skip
    bar = made.colorbar(drawn, ax=axes)
    bar.set_label(LOSS, color=COLOURS["text"], fontsize=8.5)
    bar.ax.tick_params(colors=COLOURS["text"], labelsize=8)
    bar.outline.set_visible(False)
    legend(made, 4)
    return Picture(to_svg(made), "Dark is low. Only trials that have a value in both dimensions are drawn.")


def _axis(axes: Any, side: str, dimension: Dimension) -> None:
    """The range of the dimension, a little more, its scale and its label."""
    axis, ticks = getattr(axes, f"{side}axis"), dimension.ticks()
    low, high = dimension.low, dimension.high
    if dimension.log:
        edge = (high / low) ** 0.03
        axes.set(**{f"{side}scale": "log", f"{side}lim": (low / edge, high * edge)})
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    else:
        edge = 0.5 if ticks else 0.03 * (high - low)
        axes.set(**{f"{side}lim": (low - edge, high + edge)})
    if ticks:
        axis.set_ticks([place for place, _ in ticks], labels=[name for _, name in ticks])
    axes.set(**{f"{side}label": dimension.label})
