"""Figures of the search: its history, the curves of its trials, each dimension and how important it is."""

import math
import random
from collections.abc import Sequence
from statistics import median
from typing import Any

from search.pages.dimensions import Dimension, Importance, holding
from search.pages.drawing import COLOURS, DASHED, DOTTED, LOSS, SMALL, WIDE, Picture, figure, legend, to_svg
from search.pages.marks import best_so_far, by_kind, kind, level, limits, loss, points, thinned
from search.pages.material import Material, completed
from search.settings.sections import STOCK
from search.trial import StopReason

SLICE = 300  # trials drawn against a dimension at most
CURVES = 240  # trials drawn at most; more are one dark patch
FEWEST_FOR_A_MEDIAN = 5  # trials; with fewer the line would lie on one of theirs, or between two


def history(material: Material) -> Picture:
    """Value by trial number, the best so far, base and stock as lines. Needs a judged trial."""
    rows, base, stock = material.judged, material.findings.base.mel_ce, material.stock
    values = [loss(row) for row in rows]
    bottom, top = limits(values, [base, *([loss(stock)] if stock else [])])
    made, (axes,) = figure(WIDE)
    axes.set_ylim(bottom, top)
    axes.set_xlim(-0.5, max(rows[-1].trial.number, 3) + 0.5)
    points(axes, rows, lambda row: row.trial.number, top)
    numbers, so_far = best_so_far(rows)
    if so_far:
        axes.step(
            [*numbers, rows[-1].trial.number], [*so_far, so_far[-1]], where="post",
            color=COLOURS["blue"], linewidth=1.4, label=f"best so far, {so_far[-1]:.4f}",
        )  # fmt: skip
    level(axes, base, "untouched base", "grey", DASHED)
    if stock:
        ended = "" if completed(stock) else f", {kind(stock).label}"
        level(axes, loss(stock), f"stock recipe ({STOCK}){ended}", "text", DOTTED)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="trial number", ylabel=LOSS)
    legend(made, 4)
    above = sum(value > top for value in values)
    repeats = sum(row.repeat > 0 for row in rows)
    told = [
        _settled(material),
        f"{above:,} trials lie above the figure and are drawn at its edge." if above else "",
        "A pruned trial is drawn at its lowest evaluation." if not all(map(completed, rows)) else "",
        f"Repeats of the stock recipe, {repeats:,}, are drawn, but cannot be the best." if repeats else "",
    ]
    return Picture(to_svg(made), " ".join(filter(None, told)))


def _settled(material: Material) -> str:
    """How long ago the search found its best."""
    if material.best is None:
        return ""
    number = material.best.trial.number
    since = sum(row.trial.number > number for row in material.judged)
    if not since:
        return f"Trial {number}, the last, is the best: more trials may find a better one."
    return f"Trial {number} is the best; {since:,} {'trials have' if since > 1 else 'trial has'} finished since."


def curves(material: Material) -> Picture:
    """Evaluations by optimizer step, coloured by the stop reason, with the median of the trials that were there."""
    rows, base = material.judged, material.findings.base.mel_ce
    shown = thinned(rows, CURVES)
    by_step: dict[int, list[float]] = {}
    for evaluation in (e for row in rows for e in row.evaluations if math.isfinite(e.mel_ce)):
        by_step.setdefault(evaluation.step, []).append(evaluation.mel_ce)
    steps = sorted(by_step)
    values = [value for step in steps for value in by_step[step]]
    made, (axes,) = figure((WIDE[0], 3.6))
    axes.set_ylim(limits(values, [base]))
    axes.set_xlim(0, 1.01 * material.findings.horizon)
    is_few = len(shown) <= 60
    for each, chosen in by_kind(shown):
        for i, row in enumerate(chosen):
            finite = [e for e in row.evaluations if math.isfinite(e.mel_ce)]
            axes.plot(
                [e.step for e in finite], [e.mel_ce for e in finite], markevery=[-1], markersize=4.4 if is_few else 2.6,
                linewidth=1.1 if is_few else 0.6, alpha=0.75 if is_few else 0.4, label=None if i else each.label,
                linestyle="--" if each.hollow else "-", zorder=2, **each.style,
            )  # fmt: skip
    told = [_falling(material), "Each line is a trial, and ends with the mark of why it stopped."]
    if len(rows) >= FEWEST_FOR_A_MEDIAN:
        middle = [median(by_step[step]) for step in steps]
        axes.plot(steps, middle, color=COLOURS["page"], linewidth=5, zorder=5)
        axes.plot(steps, middle, color=COLOURS["text"], linewidth=2.4, label="median", zorder=6)
        told.append(
            f"The median of the trials that reached a step goes from {middle[0]:.4f} at step {steps[0]} to"
            f" {middle[-1]:.4f} at step {steps[-1]}."
        )
    level(axes, base, "untouched base", "grey", DASHED)
    axes.set(xlabel="optimizer steps", ylabel="evaluation,\nnats per audio token")
    legend(made, 3)
    if len(shown) < len(rows):
        told.append(f"{len(shown)} of {len(rows):,} trials are drawn, the best among them; the median is of all.")
    if max(values) > axes.get_ylim()[1]:
        told.append("Higher evaluations leave the figure at its upper edge.")
    return Picture(to_svg(made), " ".join(filter(None, told)))


def _falling(material: Material) -> str:
    """How many of the trials that ran to their end were still falling there."""
    ended = [row for row in material.judged if row.reason == StopReason.FINISHED]
    falling = sum(row.best is row.evaluations[-1] for row in ended)
    return f"{falling:,} of {len(ended):,} trials that ran to their end were still falling there." if ended else ""


def importances(found: Importance, known: Sequence[Dimension]) -> Picture:
    """A bar for each dimension, and what chance alone gives."""
    titles = {dimension.name: dimension.title for dimension in known}
    names = list(found.shares)[::-1]
    made, (axes,) = figure((WIDE[0], 0.9 + 0.27 * len(names)))
    for is_told, label, face, edge in (
        (True, "more than chance", COLOURS["blue"], COLOURS["blue"]),
        (False, "may be chance", "none", COLOURS["grey"]),
    ):
        places = [place for place, name in enumerate(names) if (name in found.told) == is_told]
        shares = [found.shares[names[place]] for place in places]
        axes.barh(places, shares, height=0.62, color=face, edgecolor=edge, linewidth=1, zorder=2, label=label)
    axes.plot(
        [found.chance[name] for name in names], range(len(names)), linestyle="none", marker="|", markersize=13,
        markeredgewidth=2, color=COLOURS["orange"], zorder=3, label="reached by chance in 1 of 20 shuffled studies",
    )  # fmt: skip
    axes.set_yticks(range(len(names)), [titles.get(name, name) for name in names])
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlim(left=0)
    axes.set_xlabel("share of all importance")
    axes.grid(axis="y", visible=False)
    legend(made, 3)
    return Picture(to_svg(made))


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
    _across(axes, dimension)
    points(axes, thinned(rows, SLICE), lambda row: places[row.trial.number], scale[1])
    if best is not None and best.trial.number in places and best.trial.value is not None:
        axes.plot(
            [places[best.trial.number]], [best.trial.value], marker="o", markersize=11, markerfacecolor="none",
            markeredgecolor=COLOURS["text"], markeredgewidth=1.3, clip_on=False, zorder=6,
        )  # fmt: skip
    axes.set(ylim=scale, ylabel=LOSS)
    return Picture(to_svg(made))


def _across(axes: Any, dimension: Dimension) -> None:
    """The range of the dimension, a little more, its scale and its label."""
    low, high, ticks = dimension.low, dimension.high, dimension.ticks()
    if dimension.log:
        edge = (high / low) ** 0.03
        axes.set(xlabel=dimension.label, xscale="log", xlim=(low / edge, high * edge))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    else:
        edge = 0.5 if ticks else 0.03 * (high - low)
        axes.set(xlabel=dimension.label, xlim=(low - edge, high + edge))
    if ticks:
        axes.set_xticks([place for place, _ in ticks], labels=[name for _, name in ticks])
