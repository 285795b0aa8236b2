"""The dashboard's figures: a trial's evaluations as SVG, those of a study as Plotly's JSON, in plain dictionaries."""

import html
import io
import math
import statistics
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import TrialState

from search.confirmation.fidelity import FEWEST_TO_RANK
from search.pages.drawing import plain
from search.settings.best_config import Confirmation
from search.study.findings import Row
from search.trial import INTERRUPTIONS, Evaluation, StopReason

LINES = 300  # evaluations of so many trials are drawn, at most

# Colours of Okabe and Ito (2008), their blue a little lighter for dark pages. Each kind has a sign of its own besides.
_BLUE, _ORANGE, _GREEN, _SKY, _RED, _PURPLE = "#1f83c4", "#e69f00", "#009e73", "#56b4e9", "#d55e00", "#cc79a7"
_GREY = "#808080"  # is read on white as on black
_KINDS = {
    StopReason.FINISHED: (_BLUE, "circle"),
    StopReason.TWO_INCREASES: (_ORANGE, "square"),
    StopReason.MEDIAN: (_GREY, "triangle-down"),  # abandoned: the ground for the others
    StopReason.DIVERGED: (_RED, "x"),
    "cut short": (_SKY, "cross"),
    "running": (_GREEN, "circle-open"),
}
_MEDIAN = "median of completed trials"
_AXIS = "eval, nats per audio token"

Points = Sequence[tuple[int, float]]  # (optimizer step, nats), in order
_drawing = threading.Lock()  # matplotlib's settings are the whole process's


def median_of(rows: Sequence[Row]) -> list[tuple[int, float]]:
    """Of the completed trials' evaluations at each step."""
    values: dict[int, list[float]] = {}
    for row in rows:
        if row.trial.state == TrialState.COMPLETE:
            for step, value in points(row):
                values.setdefault(step, []).append(value)
    return [(step, statistics.median(found)) for step, found in sorted(values.items())]


def points(row: Row) -> list[tuple[int, float]]:
    """A trial's evaluations; those of a running one, too. None that is not finite."""
    found = {e.step: e.mel_ce for e in row.evaluations} or row.trial.intermediate_values
    return [(step, value) for step, value in sorted(found.items()) if math.isfinite(value)]


def trial_svg(row: Row, median: Points, base: Evaluation, horizon: int) -> bytes:
    """The trial's evaluations against the study's median and the base, on white: a picture cannot know its page."""
    import matplotlib
    from matplotlib.figure import Figure  # half a second, which only pages have

    with _drawing, matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained", facecolor="white")
        axes = figure.subplots()
        axes.axhline(base.mel_ce, color=_GREY, linestyle="--", label="untouched base")
        if median:
            axes.plot(*zip(*median, strict=True), color=_PURPLE, linewidth=2, label=_MEDIAN)
        if probe := [(e.step, e.probe_mel_ce) for e in row.evaluations if math.isfinite(e.probe_mel_ce)]:
            axes.plot(*zip(*probe, strict=True), "s-", color=_ORANGE, alpha=0.5, markersize=4, label="train probe")
        if found := points(row):
            axes.plot(*zip(*found, strict=True), "o-", color=_BLUE, linewidth=2, label=f"trial {row.trial.number}")
            step, value = min(found, key=lambda point: point[1])
            axes.plot(
                step, value, "o", markersize=13, markerfacecolor="none", markeredgewidth=1.6, color=_BLUE,
                label=f"lowest: {value:.4f} at step {step}",
            )  # fmt: skip
        axes.set_xlim(0, 1.03 * max([horizon, *(step for step, _ in found)]))
        axes.set_xlabel("optimizer steps")
        axes.set_ylabel("mel cross-entropy, nats per audio token")
        plain(axes, "#222222", "#7f7f7f")
        axes.legend(frameon=False, fontsize=9)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()


def evaluations(rows: Sequence[Row], median: Points, base: Evaluation, best: Row | None) -> dict[str, Any]:
    """All trials' evaluations by why they stopped; of many trials some, evenly over the study, and always `best`."""
    drawn = [row for row in rows if points(row)]
    count, step = len(drawn), math.ceil(len(drawn) / LINES)
    shown = [row for i, row in enumerate(drawn) if i % step == 0 or row is best] if drawn else []
    traces = []
    for kind, (colour, symbol) in _KINDS.items():
        of_kind = [row for row in shown if kind_of(row) == kind]
        if of_kind:
            faint = min(1.0, max(0.4, 30 / len(shown)))
            traces.append(_lines(of_kind, f"{kind} ({len(of_kind)})", colour, symbol, faint))
    if best is not None and points(best):
        colour, _ = _KINDS[kind_of(best)]
        trace = _lines([best], f"best, trial {best.trial.number}", colour, "diamond", 1.0)
        traces.append({**trace, "line": {"color": colour, "width": 4}, "marker": {"size": 9, "symbol": "diamond"}})
    if median:
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": _MEDIAN,
                "x": [s for s, _ in median], "y": [round(v, 5) for _, v in median],
                "line": {"color": _PURPLE, "width": 3, "dash": "dashdot"},
                "hovertemplate": "median %{y:.4f} at step %{x}<extra></extra>",
            }
        )  # fmt: skip
    title = "Evaluations of all trials"
    if len(shown) < count:
        title = f"Evaluations of {len(shown)} of {count:,} trials, evenly over the study"
    layout = _layout(title, "optimizer steps", _AXIS)
    layout["legend"]["title"] = {"text": "stopped by:"}
    _level(layout, base.mel_ce, "untouched base")
    if values := sorted(value for row in shown for _, value in points(row)):
        high = max(base.mel_ce, values[int(0.95 * (len(values) - 1))])  # one that diverges would flatten all others
        layout["yaxis"]["range"] = [values[0] - 0.05 * (high - values[0]), high + 0.05 * (high - values[0])]
    return {"data": traces, "layout": layout}


def kind_of(row: Row) -> str:
    if not row.trial.state.is_finished():
        return "running"
    if row.reason in INTERRUPTIONS or row.reason not in _KINDS:
        return "cut short"
    return StopReason(row.reason)


def _lines(rows: Sequence[Row], name: str, colour: str, symbol: str, opacity: float) -> dict[str, Any]:
    """One trace of many trials, with gaps between them: the page draws few traces fast and many slowly."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for row in rows:
        for step, value in points(row):
            x.append(step)
            y.append(round(value, 5))
            numbers.append(row.trial.number)
        x.append(None)
        y.append(None)
        numbers.append(None)
    return {
        "type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": y, "customdata": numbers,
        "line": {"color": colour, "width": 1.5}, "marker": {"size": 5, "symbol": symbol}, "opacity": opacity,
        "hovertemplate": "trial %{customdata}: %{y:.4f} at step %{x}<extra></extra>",
    }  # fmt: skip


def fidelity(found: Confirmation) -> dict[str, Any] | None:
    """Short against full value of each config; None where there is nothing to compare."""
    pairs = [(c.name, c.truncated, c.mean) for c in found.candidates]
    pairs += [(f"trial {t.trial}, pruned", t.truncated, t.full) for t in (found.audit.trials if found.audit else [])]
    known = [(name, short, full) for name, short, full in pairs if short is not None and full is not None]
    if len(known) < FEWEST_TO_RANK:
        return None
    judged = found.fidelity
    tau = ""
    if judged and judged.tau is not None:
        tau = f"<br><sub>Kendall's tau {judged.tau:.2f} (95 % interval {judged.low:.2f} to {judged.high:.2f})</sub>"
    title = f"Do short runs rank {len(known)} configs as full ones do?{tau}"
    known = [(html.escape(name), short, full) for name, short, full in known]  # Plotly renders some tags
    layout = _layout(title, "short run: lowest eval, nats per audio token", "full runs: mean, nats per audio token")
    trace = {
        "type": "scatter", "mode": "markers", "name": "configs", "showlegend": False,
        "x": [short for _, short, _ in known], "y": [full for _, _, full in known],
        "text": [name for name, _, _ in known], "marker": {"size": 10, "color": _BLUE}, "cliponaxis": False,
        "hovertemplate": "%{text}: short run %{x:.4f}, full runs %{y:.4f}<extra></extra>",
    }  # fmt: skip
    across, up = _around([short for _, short, _ in known], 0.06), _around([full for *_, full in known], 0.12)
    layout["xaxis"]["range"], layout["yaxis"]["range"] = across, up
    layout["annotations"] = _named(known, across, up)
    return {"data": [trace], "layout": layout}


def _around(values: Sequence[float], share: float) -> list[float]:
    """Ends of an axis that leave so much of it free on both sides."""
    low, high = min(values), max(values)
    room = share * (high - low) or 0.01
    return [low - room, high + room]


def _named(known: Sequence[tuple[str, float, float]], x: Sequence[float], y: Sequence[float]) -> list[dict[str, Any]]:
    """A name beside each point, towards the middle; those of close points one above the other, with a line to each."""
    width, least = x[1] - x[0], 0.065 * (y[1] - y[0])  # of the figure; from one line of text to the next
    found = []
    for side, anchor in ((1, "left"), (-1, "right")):
        height = -math.inf
        for name, short, full in sorted(known, key=lambda point: point[2]):
            if (short <= (x[0] + x[1]) / 2) != (side == 1):
                continue
            height = max(full, height + least)
            beyond = [s for _, s, f in known if 0 <= side * (s - short) < 0.2 * width and abs(f - height) < least]
            begin = max([short, *beyond], key=lambda s: side * s) + side * 0.04 * width  # no point lies under the name
            found.append(
                {
                    "text": name, "font": {"color": _GREY}, "x": short, "y": full, "axref": "x", "ayref": "y",
                    "ax": begin, "ay": height, "xanchor": anchor, "showarrow": True,
                    "arrowhead": 0, "arrowwidth": 1, "arrowcolor": _GREY, "standoff": 6,
                }
            )  # fmt: skip
    return found


def confirmation(
    means: Mapping[str, tuple[float, float | None, float | None]],
    runs: Mapping[str, Mapping[int, float]],
    base: float,
    chosen: str | None,
    level: float,
) -> dict[str, Any] | None:
    """`means` are (mean, lower end, upper end of its interval) by config, `runs` values by config and seed.

    `chosen` is the config that is exported. None where no run has ended with a finite value.
    """
    names = [name for name in sorted(means, key=lambda n: means[n][0]) if math.isfinite(means[name][0])]
    if not names:
        return None
    shown = {name: html.escape(name) + (" (exported)" if name == chosen else "") for name in names}
    dots = [(v, name, seed) for name in names for seed, v in runs.get(name, {}).items() if math.isfinite(v)]
    bounds = [means[name] for name in names]
    single = {
        "type": "scatter", "mode": "markers", "name": "a run each", "x": [v for v, _, _ in dots],
        "y": [shown[name] for _, name, _ in dots], "customdata": [seed for _, _, seed in dots],
        "marker": {"size": 8, "symbol": "circle-open", "color": _ORANGE, "line": {"width": 2}},
        "hovertemplate": "seed %{customdata}: %{x:.4f}<extra></extra>",
    }  # fmt: skip
    mean = {
        "type": "scatter", "mode": "markers", "name": f"mean, {100 * level:.0f} % interval",
        "x": [m for m, _, _ in bounds], "y": [shown[name] for name in names],
        "marker": {"size": 11, "symbol": "diamond", "color": _BLUE},
        "error_x": {
            "type": "data", "symmetric": False, "color": _BLUE, "thickness": 2,
            "array": [0 if high is None else high - m for m, _, high in bounds],
            "arrayminus": [0 if low is None else m - low for m, low, _ in bounds],
        },
        "hovertemplate": "mean %{x:.4f}<extra></extra>",
    }  # fmt: skip
    layout = _layout("Confirmation: full runs with several seeds", "lowest eval, nats per audio token", None)
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    _level(layout, base, "untouched base", across=False)
    return {"data": [single, mean], "layout": layout}


def _layout(title: str, x: str, y: str | None) -> dict[str, Any]:
    """No ground of its own, and greys in between: the page is white or black, and the figure is not told which."""
    grid = "rgba(128,128,128,0.25)"
    axis = {"gridcolor": grid, "zeroline": False, "linecolor": _GREY, "automargin": True}
    return {
        "title": {"text": title, "font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": _GREY, "orientation": "v"},
        "font": {"color": _GREY},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y or ""}},
        "legend": {"orientation": "h", "y": -0.28},
        "margin": {"t": 64, "r": 40, "b": 40, "l": 60},
        "hovermode": "closest",
    }


def _level(layout: dict[str, Any], value: float, name: str, across: bool = True) -> None:
    """A dashed line at `value`, named: of the y axis, or of the x axis where not `across`."""
    at, along = ("y", "x") if across else ("x", "y")
    line = {f"{at}0": value, f"{at}1": value, f"{along}0": 0, f"{along}1": 1, f"{along}ref": "paper", f"{at}ref": at}
    layout["shapes"] = [{"type": "line", **line, "line": {"color": _GREY, "dash": "dash", "width": 1.5}}]
    place = {"x": 1, "y": value, "xref": "paper", "xanchor": "right", "yanchor": "bottom"}
    if not across:
        place = {"x": value, "y": 1, "yref": "paper", "xanchor": "right", "yanchor": "top"}
    layout["annotations"] = [{**place, "text": f"{name}, {value:.4f}", "showarrow": False}]
