"""Figures of the confirmation: what its full runs came to, and whether short runs rank as they do."""

import math

from search.best_config import Candidate, Confirmation
from search.confirmation.proof import FULL, TRUNCATED, Runs
from search.confirmation.race import Estimate, Fit
from search.study_report.canvas import COLOURS, WIDE, figure, legend, style
from search.study_report.search_figures import LINES, Picture

_HEIGHT = 190.0  # of the axes of short against full runs, points


def ordered(found: Confirmation) -> list[Candidate]:
    """The configs by their means, the lowest first; those that diverged last."""
    return sorted(found.candidates, key=lambda c: math.inf if c.mean is None else c.mean)


def against_stock(found: Confirmation, fit: Fit, stock: str) -> dict[str, Estimate]:
    """By how much each config's mean lies below the stock recipe's, with its simultaneous interval."""
    names = [c.name for c in found.candidates if c.mean is not None and c.name != stock]
    return {name: fit.difference(stock, name) for name in names if math.isfinite(fit.means.get(stock, math.inf))}


def runs(found: Confirmation, fit: Fit, stock: str) -> Picture:
    """The full runs of each config with their mean, and beside it the difference to the stock recipe."""
    configs = [c for c in ordered(found) if any(run.value is not None for run in c.runs)][::-1]
    margins = against_stock(found, fit, stock)
    longest = max(len(config.name) for config in configs)
    with figure((WIDE[0], 1.3 + 0.34 * len(configs)), left=min(2.5, 0.3 + 0.065 * longest)) as (made, axes, svg):
        axes.remove()
        left, right = made.subplots(1, 2, sharey=True, width_ratios=(3, 2), gridspec_kw={"wspace": 0.05})
        made.subplots_adjust(bottom=0.6 / made.get_figheight())
        values = [run.value for c in configs for run in c.runs if run.value is not None]
        for place, config in enumerate(configs):
            known = [run.value for run in config.runs if run.value is not None]
            first = place == 0
            left.plot(
                known, [place] * len(known), "o", markersize=5.5, markerfacecolor="none",
                markeredgecolor=COLOURS["blue"], label="a full run (one seed)" if first else None,
            )  # fmt: skip
            if config.mean is not None:
                left.plot(
                    [config.mean], [place], "|", markersize=17, markeredgewidth=2.6, color=COLOURS["text"],
                    label="mean" if first else None,
                )  # fmt: skip
            margin = margins.get(config.name)
            if margin is None or not math.isfinite(margin.value):
                continue
            if margin.low is not None and margin.high is not None:
                right.plot([margin.low, margin.high], [place, place], color=COLOURS["orange"], linewidth=2)
            right.plot([margin.value], [place], "D", color=COLOURS["orange"], markersize=5.5)
        near = found.base - min(values) <= 3 * (max(values) - min(values))
        if near:
            left.axvline(found.base, color=COLOURS["grey"], linestyle=LINES[0][2])
        label = f"untouched base, {found.base:.4f}" + ("" if near else " (outside)")
        left.plot([], [], color=COLOURS["grey"], linestyle=LINES[0][2], label=label)
        right.axvline(0, color=COLOURS["text"], linewidth=1)
        left.set_yticks(range(len(configs)), [config.name for config in configs])
        left.set_ylim(-0.6, len(configs) - 0.4)
        left.set_xlabel("lowest evaluation of a full run,\nnats per audio token")
        level = f"{100 * found.level:.0f} % interval"
        right.set_xlabel(f"below the stock recipe ({stock}) by,\nnats per audio token, {level}")
        for axes in (left, right):
            style(axes)
            axes.grid(axis="y", visible=False)
        right.tick_params(axis="y", length=0)
        left.locator_params(axis="x", nbins=5)
        right.locator_params(axis="x", nbins=5)
        legend(made, 3)
        drawn = svg()
    gist = "Full runs. " + "; ".join(
        f"{c.name}: mean {c.mean:.4f} of {len(c.runs)} seeds" for c in configs[::-1] if c.mean is not None
    )
    return Picture(drawn, gist + ".", "Where an interval lies right of 0, the config is better than the stock recipe.")


def fidelity(found: Confirmation, all_runs: Runs) -> Picture | None:
    """Short against full runs; None with fewer than two configs in both."""
    means = Fit(all_runs.values(FULL), max(1, len(all_runs.seeds) - 1)).means
    short = {c.name: c.truncated for c in found.candidates if c.truncated is not None}
    finished = all_runs.values(TRUNCATED)
    audited = {c.name: next(iter(finished[c.name].values())) for c in all_runs.audited if finished.get(c.name)}
    both = {
        name: (value, means[name])
        for name, value in {**short, **audited}.items()
        if math.isfinite(value) and math.isfinite(means.get(name, math.inf))
    }
    if len(both) < 2:
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
    return Picture(drawn, gist, caption)
