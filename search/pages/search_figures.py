"""Figures of the search: its history, the curves of its trials, the importance of its dimensions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

from search.pages.canvas import COLOURS, KINDS, LOSS, OTHER, WIDE, figure, kind, legend, limits, points, style, thinned
from search.pages.dimensions import Dimension
from search.pages.importance import Importance
from search.pages.material import Material, completed, lowest
from search.study.findings import Row
from search.trial import StopReason

CURVES = 240  # trials drawn at most; more are one dark patch
FEWEST_FOR_A_MEDIAN = 5  # trials; of fewer the line would lie on one of theirs, or between two
LINES = (("base", "grey", (0, (5, 3))), ("stock", "text", (0, (1, 1.5))))


@dataclass(frozen=True)
class Picture:
    """A figure: its SVG, what it shows in words for those who do not see it, and what has to be said below it."""

    svg: str
    gist: str
    caption: str = ""


def history(material: Material) -> Picture:
    """Value by trial number, the best so far, base and stock as lines. Needs a judged trial."""
    rows = material.judged
    values = [lowest(row) or math.inf for row in rows]
    base, stock = material.findings.base.mel_ce, lowest(material.stock) if material.stock else None
    recipe = "stock recipe (V0)"
    if material.stock is not None and not completed(material.stock.trial):
        recipe += f", {kind(material.stock).label}"
    bottom, top = limits(values, [base] if stock is None else [base, stock])
    with figure(WIDE) as (made, axes, svg):
        points(axes, rows, lambda row: row.trial.number, top)
        done = [row for row in rows if completed(row.trial) and not row.repeat and row.trial.value is not None]
        if done:
            so_far = list(accumulate((row.trial.value or 0.0 for row in done), min))
            numbers = [row.trial.number for row in done]
            axes.step(
                [*numbers, max(numbers[-1], rows[-1].trial.number)], [*so_far, so_far[-1]], where="post",
                color=COLOURS["blue"], linewidth=1.4, label=f"best so far, {so_far[-1]:.4f}",
            )  # fmt: skip
        for (_, colour, dashes), name, value in zip(LINES, ("untouched base", recipe), (base, stock), strict=True):
            if value is None:
                continue
            within = bottom <= value <= top
            label = f"{name}, {value:.4f}" + ("" if within else f" ({'above' if value > top else 'below'})")
            axes.plot([], [], color=COLOURS[colour], linestyle=dashes, label=label)
            if within:
                axes.axhline(value, color=COLOURS[colour], linestyle=dashes, linewidth=1.2)
        axes.set_ylim(bottom, top)
        axes.set_xlim(-0.5, max(rows[-1].trial.number, 3) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("trial number")
        axes.set_ylabel(LOSS)
        legend(made, 4)
        drawn = svg()
    above = sum(value > top for value in values)
    gist = f"Lowest evaluation of {len(rows)} trials by their number."
    if done:
        best = min(done, key=lambda row: row.trial.value or math.inf)
        gist += f" The best is trial {best.trial.number} with {best.trial.value:.4f}; the base has {base:.4f}."
    caption = f"{_settled(material)}{_above(above)}"
    if any(not completed(row.trial) for row in rows):
        caption += "A pruned trial stands at its lowest evaluation before it was pruned. "
    return Picture(drawn, gist, f"{caption}{_repeats(rows)}".rstrip())


def _repeats(rows: Sequence[Row]) -> str:
    """Why a mark may lie below the line of the best so far."""
    count = sum(row.repeat > 0 for row in rows)
    if not count:
        return ""
    subject, verb = ("repeat", "is") if count == 1 else ("repeats", "are")
    return f"{count:,} {subject} of the stock recipe with other seeds {verb} drawn, but cannot be the best."


def _settled(material: Material) -> str:
    """How long ago the search found its best."""
    if material.best is None:
        return ""
    number = material.best.trial.number
    since = sum(row.trial.number > number for row in material.judged)
    if not since:
        return f"Trial {number}, the last, is the best: more trials may find a better one. "
    return f"Trial {number} is the best; {since:,} {'trials have' if since > 1 else 'trial has'} finished since. "


def _above(count: int) -> str:
    if not count:
        return ""
    subject, verb = ("trial lies", "is") if count == 1 else ("trials lie", "are")
    return f"{count:,} {subject} above the figure and {verb} drawn at its edge. "


def curves(material: Material) -> Picture:
    """Evaluations by optimizer step, coloured by the stop reason, with the median of the trials that were there."""
    rows = material.judged
    shown = thinned(rows, CURVES)
    finite = [[(e.step, e.mel_ce) for e in row.evaluations if math.isfinite(e.mel_ce)] for row in rows]
    by_step: dict[int, list[float]] = {}
    for curve in finite:
        for step, value in curve:
            by_step.setdefault(step, []).append(value)
    base = material.findings.base.mel_ce
    bottom, top = limits([value for curve in finite for _, value in curve], [base])
    steps = sorted(by_step)
    with figure((WIDE[0], 3.6)) as (made, axes, svg):
        for each in (*KINDS.values(), OTHER):
            chosen = [row for row in shown if kind(row) is each]
            for i, row in enumerate(chosen):
                axes.plot(
                    [e.step for e in row.evaluations], [e.mel_ce for e in row.evaluations], color=COLOURS[each.colour],
                    linewidth=1.1 if len(shown) <= 60 else 0.6, alpha=0.75 if len(shown) <= 60 else 0.4,
                    linestyle="--" if each.hollow else "-", zorder=2,
                    marker=each.marker if len(row.evaluations) == 1 else None, markersize=4,
                )  # fmt: skip
                last = next(e for e in reversed(row.evaluations) if math.isfinite(e.mel_ce))
                axes.plot(
                    [last.step], [last.mel_ce], marker=each.marker, markersize=4.4 if len(shown) <= 60 else 2.6,
                    color=COLOURS[each.colour], markerfacecolor="none" if each.hollow else COLOURS[each.colour],
                    linestyle="--" if each.hollow else "-", label=None if i else each.label, zorder=3,
                )  # fmt: skip
        middle = [median(by_step[step]) for step in steps]
        if len(rows) >= FEWEST_FOR_A_MEDIAN:
            axes.plot(steps, middle, color=COLOURS["page"], linewidth=5, zorder=5)
            axes.plot(steps, middle, color=COLOURS["text"], linewidth=2.4, label="median", zorder=6)
        if bottom <= base <= top:
            axes.axhline(base, color=COLOURS["grey"], linestyle=LINES[0][2], linewidth=1.2)
        side = "" if bottom <= base <= top else " (above)" if base > top else " (below)"
        axes.plot([], [], color=COLOURS["grey"], linestyle=LINES[0][2], label=f"untouched base, {base:.4f}{side}")
        axes.set_ylim(bottom, top)
        axes.set_xlim(0, 1.01 * material.findings.horizon)
        axes.set_xlabel("optimizer steps")
        axes.set_ylabel("evaluation,\nnats per audio token")
        legend(made, 3)
        drawn = svg()
    caption = f"{_falling(material)}Each line is a trial, and ends with the mark of why it stopped."
    if len(rows) >= FEWEST_FOR_A_MEDIAN:
        caption += " The median is of the trials that came so far."
    if len(shown) < len(rows):
        caption += f" {len(shown)} of {len(rows):,} trials are drawn, the best among them; the median is of all."
    if max(value for curve in finite for _, value in curve) > top:
        caption += " Higher evaluations leave the figure at its upper edge."
    gist = (
        f"Evaluations of {len(shown)} trials over the optimizer steps. Their median goes from {middle[0]:.4f} at step"
    )
    return Picture(drawn, f"{gist} {steps[0]} to {middle[-1]:.4f} at step {steps[-1]}.", caption)


def _falling(material: Material) -> str:
    """How many of the trials that ran to their end were still falling there."""
    ended = [row for row in material.judged if row.reason == StopReason.FINISHED and row.best is not None]
    if not ended:
        return ""
    falling = sum(row.best is row.evaluations[-1] for row in ended)
    return f"{falling:,} of {len(ended):,} trials that ran to their end were lowest there, and still falling. "


def importances(found: Importance, known: Sequence[Dimension]) -> Picture:
    """A bar for each dimension, and what chance alone gives."""
    titles = {dimension.name: dimension.title for dimension in known}
    names = list(found.shares)[::-1]
    with figure((WIDE[0], 0.9 + 0.27 * len(names)), left=1.3) as (made, axes, svg):
        for place, name in enumerate(names):
            told = name in found.told
            axes.barh(
                place, found.shares[name], height=0.62, color=COLOURS["blue"] if told else "none",
                edgecolor=COLOURS["blue"] if told else COLOURS["grey"], linewidth=1, zorder=2,
            )  # fmt: skip
        axes.plot(
            [found.chance[name] for name in names], range(len(names)), linestyle="none", marker="|", markersize=13,
            markeredgewidth=2, color=COLOURS["orange"], zorder=3, label="reached by chance in 1 of 20 shuffled studies",
        )  # fmt: skip
        from matplotlib.patches import Patch

        handles = [
            Patch(facecolor=COLOURS["blue"], label="told from chance"),
            Patch(facecolor="none", edgecolor=COLOURS["grey"], label="not told from chance"),
            *axes.get_legend_handles_labels()[0],
        ]
        legend(made, 3, handles)
        axes.set_yticks(range(len(names)), [titles.get(name, name) for name in names])
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.set_xlim(left=0)
        axes.set_xlabel("share of all importance")
        style(axes)
        axes.grid(axis="y", visible=False)
        drawn = svg()
    gist = "Importance: " + ", ".join(
        f"{titles.get(n, n)} {100 * s:.0f} %{'' if n in found.told else ' (not told from chance)'}"
        for n, s in found.shares.items()
    )
    return Picture(drawn, gist + ".")
