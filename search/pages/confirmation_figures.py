"""Figures of a confirmation: its rate line, and what its race came to."""

import math
from itertools import cycle

from search.confirmation.candidates import Candidate
from search.confirmation.rate_line import LineRun, sum_of_rates
from search.confirmation.runs import FULL, Runs
from search.pages.chart import BASE, LOSS, Axis, Chart, Series, limits
from search.settings.sections import STOCK


def rate_line(runs: Runs) -> Chart | None:
    """The full runs along the learning rate, and the sum of rates at which they turn. None before one has ended."""
    line, finalist = runs.line, runs.finalist.name if runs.finalist else None
    ended = [(config, line.ended[config.name]) for config in line.runs if config.name in line.ended]
    known = [(config, run) for config, run in ended if any(map(math.isfinite, run.values))]
    if not known:
        return None
    bounds = limits([v for _, run in known for v in run.values if math.isfinite(v)], [runs.plan.base])
    others = cycle((colour, line) for line in ("-", "--") for colour in ("orange", "green", "purple", "grey"))
    series = []
    for config, run in known:
        own = {finalist: ("blue", "-"), STOCK: ("text", "-")}.get(config.name) or next(others)
        series.append(_curve(config, run, *own, is_finalist=config.name == finalist, top=bounds[1]))
    sums = [x for each in series for x in each.x]
    has_turned = any(run.turned and not run.diverged for _, run in known)  # one that diverged does not show the sum
    if tau := line.sum_of_rates if has_turned else None:
        name = f"where runs turn, {tau:.3g}"
        series.append(Series(name, [tau, tau], bounds, "orange", line="-", width=7, alpha=0.25))
    x = Axis("sum of the learning rates so far", (min(sums) / 1.15, max(sums) * 1.15), log=True)
    y = Axis("evaluation,\nnats per audio token", bounds, levels={BASE: runs.plan.base})
    title, height = "Rate line: evaluations over the sum of the learning rates", 3.3 + 0.17 * (len(known) // 2)
    return Chart(title, x, y, series, _caption(runs, tau), height, columns=2)


def _curve(config: Candidate, run: LineRun, colour: str, line: str, is_finalist: bool, top: float) -> Series:
    """A run, with a mark at its lowest evaluation, filled if it turned, or at the last one where it diverged."""
    known = [(step, value) for step, value in zip(run.steps, run.values, strict=True) if math.isfinite(value)]
    values = [value for _, value in known]
    at = len(values) - 1 if run.diverged else values.index(min(values))
    told = [f"step {step}: {value:.4f}" for step, value in known]
    values[at] = min(values[at], top)  # what is above the axis lies on its upper edge
    role = ", races" if is_finalist else ", diverged" if run.diverged else ""
    return Series(
        f"lr {config.point.lr:.2e}: {config.name}{role}",  # it may start with no "_": matplotlib would leave it out
        [sum_of_rates(config.point, step, run.horizon) for step, _ in known],
        values, colour, "X" if run.diverged else "o", hollow=not run.turned, line=line, marked=at, size=8,
        width=2.4 if is_finalist else 1.3, told=told,
    )  # fmt: skip


def _caption(runs: Runs, tau: float | None) -> str:
    """How to read the figure."""
    told = [
        "Each line is a full run. From left to right its learning rates add up, so a run with a lower rate ends further"
        " left. A circle marks its lowest evaluation; it is filled if the run turned: it was lowest before three"
        " quarters of its length, and rose. A cross marks the last evaluation of a run that diverged."
    ]
    if tau:
        told.append(
            "The vertical band marks the sum at which runs turned; other rates are expected to turn near it. A constant"
            f" rate of {tau / runs.plan.horizon:.2e} reaches it at the last of {runs.plan.horizon:,} steps."
        )
    if waiting := [config.name for config in runs.line.missing]:
        told.append(f"The line is not over; next: {', '.join(waiting)}.")
    return " ".join(told)


def race(runs: Runs, exported: str | None) -> tuple[Chart | None, Chart | None]:
    """(each run and the mean of each config, their differences to the stock recipe); None where there are none."""
    fit, fresh = runs.race.fit, runs.plan.fresh
    values = {n: {seed: v for seed, v in runs.values(FULL)[n].items() if seed in fresh} for n in fit.means}
    ran = sorted((n for n in values if any(map(math.isfinite, values[n].values()))), key=fit.means.__getitem__)[::-1]
    if not ran:
        return None, None
    dots = [(v, place, seed) for place, n in enumerate(ran) for seed, v in values[n].items() if math.isfinite(v)]
    means = [(fit.means[n], place) for place, n in enumerate(ran) if math.isfinite(fit.means[n])]
    names = [(place, f"{n} (exported)" if n == exported else n) for place, n in enumerate(ran)]
    base, ends = runs.plan.base, [v for v, *_ in (*dots, *means)]
    y = Axis("", (-0.6, len(ran) - 0.4), ticks=names)
    found = Chart(
        "Race: full runs with fresh seeds",
        Axis(LOSS, limits([min(ends), max(ends)], [base]), levels={BASE: base}),
        y,
        [
            Series("a full run (one fresh seed)", [v for v, *_ in dots], [place for _, place, _ in dots], "blue", "o",
                   hollow=True, size=5.5, told=[f"seed {seed}: {v:.4f}" for v, _, seed in dots]),
            Series("mean", [mean for mean, _ in means], [place for _, place in means], "text", "|", size=14,
                   told=[f"mean {mean:.4f}" for mean, _ in means]),
        ],
        f"There is no difference to the stock recipe ({STOCK}) to show: it diverged, or ran alone.",
        1.3 + 0.34 * len(ran),
        columns=3,
    )  # fmt: skip
    others = [place for _, place in means if ran[place] != STOCK]
    if not others or not math.isfinite(fit.means.get(STOCK, math.inf)):
        return found, None
    estimates = [fit.difference(STOCK, ran[place]) for place in others]
    intervals = [(e.value, e.value) if e.low is None or e.high is None else (e.low, e.high) for e in estimates]
    told = [f"{e.value:.4f} below: {e.interval}" for e in estimates]
    margins = [e.value for e in estimates]
    series = [Series("", margins, others, "orange", "D", size=5.5, width=2, intervals=intervals, told=told)]
    label = f"nats below the stock recipe,\n{100 * fit.level:.0f} % interval"
    caption = "Where an interval lies right of 0, the config is better than the stock recipe."
    ends = [0.0, *(end for interval in intervals for end in interval)]
    x = Axis(label, limits([min(ends), max(ends)]), levels={"no difference": 0.0})
    return found, Chart("Race: differences to the stock recipe", x, y, series, caption)
