"""Figures of the confirmation: what its full runs came to, and whether short runs rank as they do."""

import math

from search.confirmation.fidelity import FEWEST_TO_RANK
from search.confirmation.proof import FULL, TRUNCATED, Runs
from search.confirmation.race import Estimate, Fit
from search.pages.canvas import COLOURS, WIDE, figure, legend, style
from search.pages.search_figures import LINES, Picture
from search.settings.best_config import Candidate, Confirmation

_HEIGHT = 190.0  # of the axes of short against full runs, points


def ordered(found: Confirmation) -> list[Candidate]:
    """The configs by their means, the lowest first; those that diverged last."""
    return sorted(found.candidates, key=lambda c: math.inf if c.mean is None else c.mean)


def against_stock(found: Confirmation, fit: Fit, stock: str) -> dict[str, Estimate]:
    """By how much each config's mean lies below the stock recipe's, with its simultaneous interval."""
    if not math.isfinite(fit.means.get(stock, math.inf)):
        return {}
    return {c.name: fit.difference(stock, c.name) for c in found.candidates if c.mean is not None and c.name != stock}


def runs(found: Confirmation, fit: Fit, stock: str) -> Picture | None:
    """The full runs of each config with their mean, and beside it the difference to the stock recipe.

    None where every run diverged.
    """
    configs = [c for c in ordered(found) if any(run.value is not None for run in c.runs)][::-1]
    if not configs:
        return None
    margins = against_stock(found, fit, stock)
    longest = max(len(config.name) for config in configs)
    width = min(2.5, 0.3 + 0.065 * longest)
    with figure((WIDE[0], 1.3 + 0.34 * len(configs)), left=width) as (made, axes, svg):
        left, right = axes, None
        if margins:
            axes.remove()
            left, right = made.subplots(1, 2, sharey=True, width_ratios=(3, 2), gridspec_kw={"wspace": 0.1})
        made.subplots_adjust(bottom=0.6 / made.get_figheight(), right=1 - 0.25 / WIDE[0])
        values = [run.value for c in configs for run in c.runs if run.value is not None]
        for place, config in enumerate(configs):
            known = [run.value for run in config.runs if run.value is not None]
            left.plot(
                known, [place] * len(known), "o", markersize=5.5, markerfacecolor="none",
                markeredgecolor=COLOURS["blue"],
            )  # fmt: skip
            if config.mean is not None:
                left.plot([config.mean], [place], "|", markersize=17, markeredgewidth=2.6, color=COLOURS["text"])
            margin = margins.get(config.name)
            if right is None or margin is None:
                continue
            if margin.low is not None and margin.high is not None:
                right.plot([margin.low, margin.high], [place, place], color=COLOURS["orange"], linewidth=2)
            right.plot([margin.value], [place], "D", color=COLOURS["orange"], markersize=5.5)
        left.plot([], [], "o", markerfacecolor="none", markeredgecolor=COLOURS["blue"], label="a full run (one seed)")
        left.plot([], [], "|", markersize=12, markeredgewidth=2.6, color=COLOURS["text"], label="mean")
        near = max(found.base - min(values), max(values) - found.base) <= 3 * (max(values) - min(values))
        if near:
            left.axvline(found.base, color=COLOURS["grey"], linestyle=LINES[0][2])
        label = f"untouched base, {found.base:.4f}" + ("" if near else " (outside)")
        left.plot([], [], color=COLOURS["grey"], linestyle=LINES[0][2], label=label)
        left.set_yticks(range(len(configs)), [config.name for config in configs])
        left.set_ylim(-0.6, len(configs) - 0.4)
        left.set_xlabel("lowest evaluation of a full run,\nnats per audio token")
        left.locator_params(axis="x", nbins=5)
        if right is not None:
            right.axvline(0, color=COLOURS["text"], linewidth=1)
            level = f"{100 * found.level:.0f} % interval"
            right.set_xlabel(f"below the stock recipe ({stock}) by,\nnats per audio token, {level}")
            right.tick_params(axis="y", length=0)
            right.locator_params(axis="x", nbins=5)
        for each in made.axes:
            style(each)
            each.grid(axis="y", visible=False)
        legend(made, 3)
        drawn = svg()
    gist = "Full runs. " + "; ".join(
        f"{c.name}: mean {c.mean:.4f} of {len(c.runs)} seeds" for c in configs[::-1] if c.mean is not None
    )
    caption = "Where an interval lies right of 0, the config is better than the stock recipe."
    if not margins:
        caption = f"There is no difference to the stock recipe ({stock}) to show: it diverged, or ran alone."
    return Picture(drawn, gist + ".", caption)


def fidelity(found: Confirmation, all_runs: Runs) -> Picture | None:
    """Short against full runs; None with fewer configs in both than can be ranked."""
    means = Fit(all_runs.values(FULL), max(1, len(all_runs.seeds) - 1)).means
    short = {c.name: c.truncated for c in found.candidates if c.truncated is not None}
    finished = all_runs.values(TRUNCATED)
    audited = {c.name: next(iter(finished[c.name].values())) for c in all_runs.audited if finished.get(c.name)}
    both = {
        name: (value, means[name])
        for name, value in {**short, **audited}.items()
        if math.isfinite(value) and math.isfinite(means.get(name, math.inf))
    }
    if len(both) < FEWEST_TO_RANK:
        return None
    with figure((5.2, 3.3), left=0.9) as (made, axes, svg):
        for names, marker, label in ((short, "o", "in the race"), (audited, "v", "pruned, and finished for the audit")):
            chosen = [both[name] for name in names if name in both]
            if chosen:
                axes.plot(
                    [x for x, _ in chosen], [y for _, y in chosen], marker, linestyle="none", label=label, markersize=6,
                    color=COLOURS["blue" if names is short else "orange"],
                    markerfacecolor="none" if names is audited else COLOURS["blue"],
                )  # fmt: skip
        rightmost = max(x for x, _ in both.values())
        middle = (rightmost + min(x for x, _ in both.values())) / 2
        axes.margins(0.14)
        bottom, top = axes.get_ylim()
        for side, shift in (("left", 7), ("right", -7)):
            height = -math.inf  # of the label below, points
            for name, (x, y) in sorted(both.items(), key=lambda item: item[1][1]):
                if (x > middle) != (side == "right"):
                    continue
                own = (y - bottom) / (top - bottom) * _HEIGHT
                height = max(own, height + 10)
                axes.annotate(
                    name, (x, y), xytext=(shift, height - own), textcoords="offset points", fontsize=8, ha=side,
                    va="center", color=COLOURS["text"],
                )  # fmt: skip
        axes.set_xlabel("in a short run, nats per audio token")
        axes.set_ylabel("in full runs (mean),\nnats per audio token")
        legend(made, 2)
        drawn = svg()
    gist = f"Lowest evaluation of {len(both)} configs in short and in full runs."
    caption = "Short runs rank as full ones do where the points rise from the lower left to the upper right."
    if any(c.truncated is None and c.runs for c in found.candidates):
        caption += " Configs that had no short run, such as a trial's at a lower rate, are not here."
    return Picture(drawn, gist, caption)
