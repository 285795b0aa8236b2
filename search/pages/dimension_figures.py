"""Figures of the searched dimensions: a slice for each, and a map of two."""

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from search.pages.canvas import COLOURS, KINDS, LOSS, OTHER, SMALL, WIDE, figure, kind, legend, limits, points, thinned
from search.pages.dimensions import Dimension, holding
from search.pages.material import Material, completed, lowest
from search.pages.search_figures import Picture
from search.study.findings import Row

SLICE = 300  # trials drawn in one slice at most
FEWEST_FOR_A_MAP = 12  # completed trials that have a value in both dimensions
_GRID = 60  # points of the map a side
_REACH = 0.12  # of the smoothing, as a share of a side


def slices(material: Material, known: Sequence[Dimension]) -> list[tuple[Dimension, Picture]]:
    """The value of trials against each dimension, pruned ones hollow; a small figure each, on one scale of losses."""
    rows = material.judged
    bottom, top = limits([lowest(row) or math.inf for row in rows])
    return [(each, _slice(material, each, holding(each, rows), bottom, top)) for each in known if holding(each, rows)]


def _slice(material: Material, dimension: Dimension, rows: Sequence[Row], bottom: float, top: float) -> Picture:
    draw = random.Random(1)
    ticks = dimension.ticks()
    # Trials of one whole value would hide each other.
    spread = {row.trial.number: draw.uniform(-0.22, 0.22) if ticks else 0.0 for row in rows}

    def at(row: Row) -> float:
        return dimension.place(row.trial.params[dimension.name]) + spread[row.trial.number]

    best = material.best
    with figure(SMALL, left=0.66) as (_, axes, svg):
        _axis(axes.xaxis, axes.set_xscale, axes.set_xlim, dimension)
        points(axes, thinned(rows, SLICE), at, top)
        if best is not None and dimension.name in best.trial.params and best.trial.value is not None:
            axes.plot(
                [at(best)], [best.trial.value], marker="o", markersize=11, markerfacecolor="none",
                markeredgecolor=COLOURS["text"], markeredgewidth=1.3, clip_on=False, zorder=6,
            )  # fmt: skip
        axes.set_ylim(bottom, top)
        axes.set_xlabel(dimension.label)
        axes.set_ylabel(LOSS)
        drawn = svg()
    done = sum(completed(row.trial) for row in rows)
    gist = f"Lowest evaluation against {dimension.title}: {done} completed and {len(rows) - done} pruned trials."
    if best is not None and dimension.name in best.trial.params:
        gist += f" The best has {_shown(best.trial.params[dimension.name])}."
    return Picture(drawn, gist)


def key(material: Material) -> str:
    """The legend of all slices, as a figure of its own."""
    present = {kind(row) for row in material.judged}
    with figure((WIDE[0], 0.34), bottom=0.0) as (made, axes, svg):
        axes.set_axis_off()
        for each in (*KINDS.values(), OTHER):
            if each not in present:
                continue
            colour = COLOURS[each.colour]
            axes.plot(
                [], [], linestyle="none", marker=each.marker, color=colour, label=each.label, markersize=5,
                markerfacecolor="none" if each.hollow else colour,
            )  # fmt: skip
        axes.plot(
            [], [], linestyle="none", marker="o", markersize=9, markerfacecolor="none", label="the best",
            markeredgecolor=COLOURS["text"],
        )  # fmt: skip
        legend(made, 6)
        return str(svg())


def best_two(
    material: Material, names: Sequence[str], known: Sequence[Dimension]
) -> tuple[Dimension, Dimension] | None:
    """The two most important dimensions, of `names` in this order, that a map can be drawn of: continuous ones."""
    by_name = {dimension.name: dimension for dimension in known}
    able = [by_name[name] for name in names if name in by_name and by_name[name].ticks() is None]
    for i, second in enumerate(able):
        for first in able[:i]:
            rows = _held(material, first, second)
            if len(rows) >= FEWEST_FOR_A_MAP and all(
                len({row.trial.params[d.name] for row in rows}) >= 4 for d in (first, second)
            ):
                return first, second
    return None


def contour(material: Material, across: Dimension, up: Dimension) -> Picture:
    """A smoothed map of the completed trials' values over two dimensions, with the trials in it."""
    rows = _held(material, across, up)
    places = np.array([[_scaled(d, row.trial.params[d.name]) for d in (across, up)] for row in rows])
    values = np.array([row.trial.value for row in rows])
    side = np.linspace(0, 1, _GRID)
    grid = np.stack(np.meshgrid(side, side), axis=-1)  # [row, column, 2]
    # A mean of the trials around, weighted by their distance (Nadaraya 1964, Watson 1964).
    weights = np.exp(-0.5 * (((grid[:, :, None] - places) / _REACH) ** 2).sum(-1))
    smooth = (weights * values).sum(-1) / np.maximum(weights.sum(-1), 1e-12)
    field = np.ma.masked_where(weights.max(-1) < math.exp(-0.5 * 2**2), smooth)  # nothing is known further away
    shown = thinned([r for r in material.judged if {across.name, up.name} <= r.trial.params.keys()], SLICE)
    with figure((WIDE[0], 4.0)) as (made, axes, svg):
        _axis(axes.xaxis, axes.set_xscale, axes.set_xlim, across)
        _axis(axes.yaxis, axes.set_yscale, axes.set_ylim, up)
        at_x, at_y = [_value(across, share) for share in side], [_value(up, share) for share in side]
        drawn = axes.contourf(at_x, at_y, field, levels=8, cmap="cividis", alpha=0.85)
        bar = made.colorbar(drawn, ax=axes)
        bar.set_label(LOSS, color=COLOURS["text"], fontsize=8.5)
        bar.ax.tick_params(colors=COLOURS["text"], labelsize=8)
        bar.outline.set_visible(False)
        for done, marker, name in ((True, "o", "completed"), (False, "v", "pruned")):
            chosen = [row for row in shown if completed(row.trial) == done]
            axes.plot(
                [row.trial.params[across.name] for row in chosen], [row.trial.params[up.name] for row in chosen],
                linestyle="none", marker=marker, markersize=5 if len(shown) <= 100 else 3.5, label=name,
                markerfacecolor="#ffffff" if done else "#000000", markeredgecolor="#000000" if done else "#ffffff",
                markeredgewidth=0.7, clip_on=False,
            )  # fmt: skip
        best = material.best
        if best in rows:
            assert best is not None
            axes.plot(
                [best.trial.params[across.name]], [best.trial.params[up.name]], linestyle="none", marker="*",
                markersize=13, markerfacecolor="#ffffff", markeredgecolor="#000000", label="the best", clip_on=False,
            )  # fmt: skip
        axes.set_xlabel(across.label)
        axes.set_ylabel(up.label)
        legend(made, 4)
        picture = svg()
    gist = f"Map of the lowest evaluation over {across.title} and {up.title}, from {len(rows)} completed trials."
    if best in rows:
        assert best is not None
        gist += f" The best lies at {_shown(best.trial.params[across.name])} and {_shown(best.trial.params[up.name])}."
    caption = (
        f"Smoothed over an eighth of each side, from the {len(rows)} completed trials that have both; dark is low, and"
        " where nothing is drawn nothing is known. Pruned trials have no part in the colours."
    )
    return Picture(picture, gist, caption)


def _held(material: Material, *known: Dimension) -> list[Row]:
    names = {dimension.name for dimension in known}
    return [row for row in material.judged if completed(row.trial) and names <= row.trial.params.keys()]


def _axis(axis: Any, set_scale: Any, set_limits: Any, dimension: Dimension) -> None:
    """The range of the dimension, a little more, and its scale."""
    ticks = dimension.ticks()
    if dimension.log:
        set_scale("log")
        edge = (dimension.high / dimension.low) ** 0.03
        set_limits(dimension.low / edge, dimension.high * edge)
        axis.set_major_formatter("{x:g}")
        from matplotlib.ticker import NullFormatter

        axis.set_minor_formatter(NullFormatter())
        return
    edge = 0.5 if ticks else 0.03 * (dimension.high - dimension.low)
    set_limits(dimension.low - edge, dimension.high + edge)
    if ticks:
        axis.set_ticks([place for place, _ in ticks], labels=[name for _, name in ticks])


def _scaled(dimension: Dimension, value: Any) -> float:
    """The place between the ends of the range, 0 to 1."""
    scale = math.log if dimension.log else float
    low, high = scale(dimension.low), scale(dimension.high)
    return (scale(dimension.place(value)) - low) / (high - low)


def _value(dimension: Dimension, share: float) -> float:
    """The inverse of `_scaled`."""
    if dimension.log:
        return math.exp(math.log(dimension.low) + share * math.log(dimension.high / dimension.low))
    return dimension.low + share * (dimension.high - dimension.low)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
