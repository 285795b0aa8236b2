"""Figures of the confirmation: its rate line, what its race came to, and whether short runs rank as full ones do."""

import math
from typing import Any

from search.confirmation.fidelity import FEWEST_TO_RANK
from search.confirmation.race import Fit
from search.confirmation.runs import Runs
from search.pages import rate_curves
from search.pages.drawing import COLOURS, DASHED, DOTTED, WIDE, Picture, figure, legend, to_svg
from search.pages.marks import level, limits
from search.pages.rate_curves import Curve
from search.settings.best_config import Candidate, Confirmation
from search.settings.sections import STOCK
from search.show.confirmation_tables import ordered

_HEIGHT = 190.0  # of the axes of short against full runs, points
_LINE = 10.0  # of a label, points


def rate_line(found: Runs) -> Picture | None:
    """The full runs along the learning rate, and the sum of rates at which they turn. None before one has ended."""
    known = rate_curves.curves(found)
    if not known:
        return None
    shown = rate_curves.drawn(known)
    sums = [x for curve in shown for x in curve.sums]
    made, (axes,) = figure((WIDE[0], WIDE[1] + 0.17 * (len(shown) // 2)))
    axes.set(xscale="log", xlim=(min(sums) / 1.15, max(sums) * 1.15))
    axes.set_ylim(limits([value for curve in shown for value in curve.values], [found.plan.base]))
    styles = iter([(colour, dashes) for dashes in ("-", DASHED) for colour in ("orange", "green", "purple", "grey")])
    for curve in shown:
        colour, dashes = ("blue", "-") if curve.is_finalist else ("text", "-") if curve.is_stock else next(styles)
        _course(axes, curve, COLOURS[colour], dashes)
    if (tau := rate_curves.turning_sum(found, known)) is not None:
        axes.axvline(tau, color=COLOURS["orange"], linewidth=7, alpha=0.25, label=f"where runs turn, {tau:.3g}")
    level(axes, found.plan.base, "untouched base", "grey", DOTTED)
    _tick_sums(axes)
    axes.set(xlabel=rate_curves.ACROSS, ylabel="evaluation,\nnats per audio token")
    legend(made, 2)
    return Picture(to_svg(made), rate_curves.caption(found, known))


def _course(axes: Any, curve: Curve, colour: str, dashes: Any) -> None:
    """A run, with a mark at its lowest evaluation; what is above the axis lies on its upper edge."""
    top = axes.get_ylim()[1]
    axes.plot(
        curve.sums, curve.values, color=colour, linestyle=dashes, linewidth=2.4 if curve.is_finalist else 1.3,
        label=curve.label, zorder=3,
    )  # fmt: skip
    at = len(curve.values) - 1 if curve.diverged else curve.lowest
    axes.plot(
        [curve.sums[at]], [min(curve.values[at], top)], "X" if curve.diverged else "o", color=colour, markersize=8,
        markerfacecolor=colour if curve.turned or curve.diverged else COLOURS["page"], markeredgewidth=1.6,
        clip_on=False, zorder=5,
    )  # fmt: skip


def _tick_sums(axes: Any) -> None:
    """At 1, 2 and 5 of each power of ten, without mathematics, which is not drawn here."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")


def runs(found: Confirmation, fit: Fit) -> Picture | None:
    """The full runs of each config with their mean, and beside it the difference to the stock recipe.

    None where every run diverged.
    """
    configs = [c for c in ordered(found) if any(run.value is not None for run in c.runs)][::-1]
    if not configs:
        return None
    others = [c.name for c in configs if c.mean is not None and c.name != STOCK]
    is_compared = bool(others) and math.isfinite(fit.means.get(STOCK, math.inf))
    grid = {"width_ratios": (3, 2)} if is_compared else {}
    made, (left, *right) = figure((WIDE[0], 1.3 + 0.34 * len(configs)), 1, 1 + is_compared, sharey=True, **grid)
    _values(left, found, configs)
    caption = f"There is no difference to the stock recipe ({STOCK}) to show: it diverged, or ran alone."
    for axes in right:
        _differences(axes, fit, {c.name: place for place, c in enumerate(configs) if c.name in others})
        axes.set_xlabel(f"below the stock recipe ({STOCK}) by,\nnats per audio token, {100 * fit.level:.0f} % interval")
        caption = "Where an interval lies right of 0, the config is better than the stock recipe."
    for axes in made.axes:
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=5)
    legend(made, 3)
    return Picture(to_svg(made), caption)


def _values(axes: Any, found: Confirmation, configs: list[Candidate]) -> None:
    """Each run, the means and, where it is near, the base."""
    runs = [(run.value, place) for place, c in enumerate(configs) for run in c.runs if run.value is not None]
    means = [(c.mean, place) for place, c in enumerate(configs) if c.mean is not None]
    values = [value for value, _ in runs]
    axes.plot(
        values, [place for _, place in runs], "o", markersize=5.5, markerfacecolor="none",
        markeredgecolor=COLOURS["blue"], label="a full run (one fresh seed)",
    )  # fmt: skip
    axes.plot(
        [mean for mean, _ in means], [place for _, place in means], "|", markersize=15, markeredgewidth=2.6,
        color=COLOURS["text"], label="mean",
    )  # fmt: skip
    is_near = max(found.base - min(values), max(values) - found.base) <= 3 * (max(values) - min(values))
    label = f"untouched base, {found.base:.4f}" + ("" if is_near else " (outside)")
    if is_near:
        axes.axvline(found.base, color=COLOURS["grey"], linestyle=DASHED)
    axes.plot([], [], color=COLOURS["grey"], linestyle=DASHED, label=label)
    axes.set_yticks(range(len(configs)), [config.name for config in configs])
    axes.set_ylim(-0.6, len(configs) - 0.4)
    axes.set_xlabel("lowest evaluation of a full run,\nnats per audio token")


def _differences(axes: Any, fit: Fit, places: dict[str, int]) -> None:
    """By how much each mean lies below the stock recipe's, with its simultaneous interval."""
    for name, place in places.items():
        margin = fit.difference(STOCK, name)
        if margin.low is not None and margin.high is not None:
            axes.plot([margin.low, margin.high], [place, place], color=COLOURS["orange"], linewidth=2)
        axes.plot([margin.value], [place], "D", color=COLOURS["orange"], markersize=5.5)
    axes.axvline(0, color=COLOURS["text"], linewidth=1)
    axes.tick_params(axis="y", length=0, labelleft=False)


def fidelity(found: Runs) -> Picture | None:
    """Short against full runs; None with fewer configs in both than can be ranked."""
    short, full = found.short, found.at(found.plan.seed)
    both = {n: (x, full[n]) for n, x in short.items() if math.isfinite(x) and math.isfinite(full.get(n, math.inf))}
    if len(both) < FEWEST_TO_RANK:
        return None
    audited = {candidate.name for candidate in found.plan.audited}
    made, (axes,) = figure((5.2, 3.3))
    for is_audited, marker, label in (
        (False, "o", "in the rate line"),
        (True, "v", "pruned, and finished for the audit"),
    ):
        chosen = [point for name, point in both.items() if (name in audited) == is_audited]
        if chosen:
            colour = COLOURS["orange" if is_audited else "blue"]
            face = "none" if is_audited else colour
            axes.plot(*zip(*chosen, strict=True), marker, label=label, color=colour, markersize=6, markerfacecolor=face)
    axes.margins(0.14)
    _name(axes, both)
    axes.set(xlabel="in a short run, nats per audio token", ylabel="in a full run,\nnats per audio token")
    legend(made, 2)
    caption = "Short runs rank as full ones do where the points rise from the lower left to the upper right."
    if len(found.line.runs) > len(both) - len(audited):
        caption += " Configs that had no short run, such as a trial's at another rate, are not here."
    return Picture(to_svg(made), caption)


def _name(axes: Any, points: dict[str, tuple[float, float]]) -> None:
    """Names beside the points, on the side of the middle, none above another."""
    middle = (max(x for x, _ in points.values()) + min(x for x, _ in points.values())) / 2
    bottom, top = axes.get_ylim()
    last = {"left": -math.inf, "right": -math.inf}  # heights of the labels below, points
    for name, (x, y) in sorted(points.items(), key=lambda item: item[1][1]):
        side = "right" if x > middle else "left"
        own = (y - bottom) / (top - bottom) * _HEIGHT
        last[side] = max(own, last[side] + _LINE)
        axes.annotate(
            name, (x, y), xytext=(7 if side == "left" else -7, last[side] - own), textcoords="offset points",
            fontsize=8, ha=side, va="center", color=COLOURS["text"],
        )  # fmt: skip
