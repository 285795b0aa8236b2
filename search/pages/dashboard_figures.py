"""The figures of a study in Optuna's dashboard, in Plotly's JSON as plain dictionaries.

Optuna draws the evaluations of each trial, importances and slices itself. These show what it leaves out: pruned trials,
why trials stopped, the untouched base, and what a confirmation proves.
"""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from search.pages.drawing import COLOURS
from search.pages.marks import by_kind, limits, loss, thinned
from search.pages.material import Material, completed
from search.study.findings import Row

MOST = 400  # trials drawn; more would make the figure large, and each refresh of it slow
LOSS = "lowest eval, nats per audio token"
_SYMBOLS = {"o": "circle", "s": "square", "v": "triangle-down", "X": "x", "P": "cross"}  # by matplotlib's markers
_GREY = "#808080"  # legible on white and on black

Figure = dict[str, Any]


def figures(material: Material) -> dict[str, Figure]:
    """Of a search and its confirmation, by the ids under which they are stored."""
    found: dict[str, Figure | None] = {
        "confirmation": confirmation(material),
        "history": _trials(material, "Lowest evaluation of each trial", "trial", lambda row: float(row.trial.number)),
        "learning-rate": _trials(material, "Learning rate", "learning rate", lambda row: row.trial.params.get("lr")),
    }
    if rates := found["learning-rate"]:
        rates["layout"]["xaxis"]["type"] = "log"
    if history := found["history"]:
        history["data"] += _best_so_far(material.judged)
    return {name: figure for name, figure in found.items() if figure}


def _trials(material: Material, title: str, x: str, at: Callable[[Row], float | None]) -> Figure | None:
    """A mark for each finished trial, by why it stopped; what is too high for the axis lies on its upper edge."""
    rows = thinned([row for row in material.judged if at(row) is not None], MOST)
    if not rows:
        return None
    lines = {"untouched base": material.findings.base.mel_ce}
    if material.stock and material.stock.best:
        lines["stock recipe"] = material.stock.best.mel_ce
    bounds = limits([loss(row) for row in rows], list(lines.values()))
    layout = _layout(title, x, LOSS)
    layout["yaxis"]["range"] = list(bounds)
    _levels(layout, lines, bounds)
    traces = [
        {
            "type": "scatter", "mode": "markers", "name": f"{kind.label} ({len(chosen)})",
            "x": [at(row) for row in chosen],
            "y": [round(min(loss(row), bounds[1]), 5) for row in chosen],
            "text": [f"trial {row.trial.number}: {loss(row):.4f}" for row in chosen],
            "marker": {
                "color": COLOURS[kind.colour], "size": 8,
                "symbol": _SYMBOLS[kind.marker] + ("-open" if kind.hollow else ""),
            },
            "hoverinfo": "text", "cliponaxis": False,
        }
        for kind, chosen in by_kind(rows)
    ]  # fmt: skip
    return {"data": traces, "layout": layout}


def _best_so_far(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A line through the lowest values of completed trials; without repeats, which cannot be the best."""
    done = [row for row in rows if completed(row) and not row.repeat and row.trial.value is not None]
    values = list(accumulate((row.trial.value or math.inf for row in done), min))
    if not done:
        return []
    line = {"color": COLOURS["blue"], "width": 2, "shape": "hv"}
    return [
        {
            "type": "scatter", "mode": "lines", "name": f"best so far, {values[-1]:.4f}", "line": line,
            "x": [row.trial.number for row in done], "y": [round(value, 5) for value in values], "hoverinfo": "skip",
        }
    ]  # fmt: skip


def confirmation(material: Material) -> Figure | None:
    """The mean of each config with its interval, and each run. None while no run has a finite value."""
    if material.runs is None:
        return None
    from search.confirmation.proof import FULL  # scipy: half a second, which only a confirmation needs

    fit, runs = material.runs.race().fit, material.runs.values(FULL)
    names = sorted((name for name, mean in fit.means.items() if math.isfinite(mean)), key=lambda name: fit.means[name])
    if not names:
        return None
    chosen = material.confirmation.exported if material.confirmation else None
    shown = {name: html.escape(name) + (" (exported)" if name == chosen else "") for name in names}  # Plotly has tags
    base, means = material.findings.base.mel_ce, [fit.means[name] for name in names]
    estimates = [fit.below(base, name) for name in names]
    lows = [mean if e.high is None else base - e.high for mean, e in zip(means, estimates, strict=True)]
    highs = [mean if e.low is None else base - e.low for mean, e in zip(means, estimates, strict=True)]
    dots = [(v, name, seed) for name in names for seed, v in runs.get(name, {}).items() if math.isfinite(v)]
    single = {
        "type": "scatter", "mode": "markers", "name": "one run", "x": [v for v, _, _ in dots],
        "y": [shown[name] for _, name, _ in dots], "text": [f"seed {seed}: {v:.4f}" for v, _, seed in dots],
        "marker": {"size": 8, "symbol": "circle-open", "color": COLOURS["orange"], "line": {"width": 2}},
        "hoverinfo": "text",
    }  # fmt: skip
    mean = {
        "type": "scatter", "mode": "markers", "name": f"mean, {100 * fit.level:.0f} % interval", "x": means,
        "y": list(shown.values()), "text": [f"mean {value:.4f}" for value in means], "hoverinfo": "text",
        "marker": {"size": 11, "symbol": "diamond", "color": COLOURS["blue"]},
        "error_x": {
            "type": "data", "symmetric": False, "color": COLOURS["blue"], "thickness": 2,
            "array": [high - value for high, value in zip(highs, means, strict=True)],
            "arrayminus": [value - low for low, value in zip(lows, means, strict=True)],
        },
    }  # fmt: skip
    layout = _layout("Confirmation: full runs with several seeds", LOSS, None)
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    bounds = _around([*lows, *highs, *(v for v, _, _ in dots)], base)
    layout["xaxis"]["range"] = list(bounds)
    _levels(layout, {"untouched base": base}, bounds, across=False)
    return {"data": [single, mean], "layout": layout}


def _around(values: Sequence[float], base: float) -> tuple[float, float]:
    """Ends of an axis for `values`; with the base where that leaves them at least a quarter of it."""
    low, high = min(values), max(values)
    if max(high, base) - min(low, base) <= 4 * (high - low):
        low, high = min(low, base), max(high, base)
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def _layout(title: str, x: str, y: str | None) -> dict[str, Any]:
    """Transparent and grey: the page may be white or black, and the figure is not told which."""
    axis = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "linecolor": _GREY, "automargin": True}
    return {
        "title": {"text": title, "font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": _GREY, "orientation": "v"},
        "font": {"color": _GREY},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "title": {"text": y or ""}},
        "legend": {"orientation": "h", "y": -0.28},
        "margin": {"t": 72, "r": 40, "b": 40, "l": 60},
        "hovermode": "closest",
        "shapes": [],
        "annotations": [],
    }


def _levels(
    layout: dict[str, Any], lines: Mapping[str, float], bounds: tuple[float, float], across: bool = True
) -> None:
    """Dashed lines, named: of the y axis, or of the x axis where not `across`. Outside of `bounds`: in the title."""
    at, along = ("y", "x") if across else ("x", "y")
    outside = []
    for name, value in lines.items():
        if not bounds[0] <= value <= bounds[1]:
            outside.append(f"{name}: {value:.4f}, {'above' if value > bounds[1] else 'below'} these")
            continue
        line = {"color": _GREY, "dash": "dash" if name == "untouched base" else "dot", "width": 1.5}
        ends = {
            f"{at}0": value,
            f"{at}1": value,
            f"{along}0": 0,
            f"{along}1": 1,
            f"{along}ref": "paper",
            f"{at}ref": at,
        }
        layout["shapes"].append({"type": "line", **ends, "line": line})
        place = {
            at: value,
            along: 1,
            f"{along}ref": "paper",
            "xanchor": "right",
            "yanchor": "bottom" if across else "top",
        }
        layout["annotations"].append({**place, "text": f"{name}, {value:.4f}", "showarrow": False})
    if outside:
        layout["title"]["text"] += f"<br><sub>{'; '.join(outside)}</sub>"
