"""The figures of a study in Optuna's dashboard, by Plotly.

Optuna draws the evaluations of each trial, importances and slices itself. These show what it leaves out: pruned trials,
why trials stopped, the untouched base, the rate line of a confirmation, and what its race proves.
"""

import html
import math
from collections.abc import Sequence
from typing import Any

from plotly.graph_objects import Figure

from search.pages import confirmation_figures, search_figures
from search.pages.chart import BASE, LOSS, Axis, Chart, Series
from search.pages.dimensions import dimensions
from search.pages.drawing import COLOURS
from search.pages.material import Material

METRIC = LOSS.replace("\n", " ")
MOST = 400  # trials drawn; more would make the figure large, and each refresh of it slow
_SYMBOLS = {"o": "circle", "s": "square", "v": "triangle-down", "X": "x", "P": "cross", "D": "diamond", "|": "line-ns"}
_GREY = "#808080"  # legible on white and on black
_COLOURS = {**COLOURS, "grey": _GREY, "text": _GREY}


def figures(material: Material) -> dict[str, Figure]:
    """Of a search and its confirmation, by the ids under which they are stored."""
    charts: dict[str, Chart | None] = {}
    if material.judged:
        charts["history"] = search_figures.history(material, MOST)
    if rate := next((each for each in dimensions(material.judged) if each.name == "lr"), None):
        charts["learning-rate"] = search_figures.against(material, rate)
    if material.runs:
        exported = material.confirmation.exported if material.confirmation else None
        race, against_stock = confirmation_figures.race(material.runs, exported)
        rates = confirmation_figures.rate_line(material.runs)
        charts |= {"confirmation": race, "against-stock": against_stock, "rate-line": rates}
    return {name: to_plotly(chart) for name, chart in charts.items() if chart}


def to_plotly(chart: Chart) -> Figure:
    """Transparent and grey: the page may be white or black, and the figure is not told which."""
    made = Figure()
    made.update_layout(
        template=None,  # Plotly's is three times as long as the figure, and of a light page
        title={"text": chart.title, "font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": _GREY, "orientation": "v"},
        font={"color": _GREY},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": -0.28},
        margin={"t": 72, "r": 40, "b": 40, "l": 60},
        hovermode="closest",
        xaxis=_axis(chart.x),
        yaxis=_axis(chart.y),
    )
    for each in chart.series:
        made.add_scatter(**_trace(each))
    outside = []
    for axis, line, corner in ((chart.x, made.add_vline, "top left"), (chart.y, made.add_hline, "top right")):
        for name, label, value in axis.lines():
            if value is None:
                outside.append(label)
            else:
                style = {"color": _GREY, "dash": "dash" if name == BASE else "dot", "width": 1.5}
                line(value, line=style, annotation_text=label, annotation_position=corner)
    if outside:
        made.layout.title.text += f"<br><sub>{'; '.join(outside)}</sub>"
    return made


def _axis(axis: Axis) -> dict[str, Any]:
    made: dict[str, Any] = {}
    made |= {"title": axis.label.replace("\n", " "), "type": "log" if axis.log else "linear", "zeroline": False,
            "gridcolor": "rgba(128,128,128,0.25)", "linecolor": _GREY, "automargin": True}  # fmt: skip
    if axis.bounds:
        made["range"] = [math.log10(bound) for bound in axis.bounds] if axis.log else axis.bounds
    if axis.ticks:  # Plotly has tags
        made |= {"tickvals": [at for at, _ in axis.ticks], "ticktext": [html.escape(name) for _, name in axis.ticks]}
    return made


def _trace(each: Series) -> dict[str, Any]:
    """Of Plotly: marks are as large as in a page."""
    colour, symbol = _COLOURS[each.colour], _SYMBOLS.get(each.marker, "circle") + ("-open" if each.hollow else "")
    sizes = (
        1.6 * each.size if each.marked is None else [1.6 * each.size * (i == each.marked) for i in range(len(each.x))]
    )
    made: dict[str, Any] = {
        "mode": "+".join(["lines"] * bool(each.line) + ["markers"] * bool(each.marker)),
        "name": html.escape(each.label),
        "showlegend": bool(each.label),
        "x": _short(each.x),
        "y": _short(each.y),
        "opacity": each.alpha,
        "hoverinfo": "text" if each.told else "skip",
        "text": list(each.told),
        "cliponaxis": bool(each.line),
    }
    if each.line:
        dash, shape = ("dash" if each.line == "--" else "solid"), ("hv" if each.line == "steps" else "linear")
        made["line"] = {"color": colour, "width": 1.4 * each.width, "dash": dash, "shape": shape}
    if each.marker:
        made["marker"] = {"color": colour, "size": sizes, "symbol": symbol, "line": {"width": 2, "color": colour}}
    if each.intervals:
        above = [high - x for x, (_, high) in zip(each.x, each.intervals, strict=True)]
        below = [x - low for x, (low, _) in zip(each.x, each.intervals, strict=True)]
        made["error_x"] = {"array": _short(above), "arrayminus": _short(below), "color": colour, "thickness": 2}
    return made


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
