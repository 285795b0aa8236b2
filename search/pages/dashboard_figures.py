"""The figures of a study in Optuna's dashboard, by Plotly.

Optuna draws the evaluations of each trial, importances and slices itself. These show what it leaves out: pruned trials,
why trials stopped, the untouched base, the rate line of a confirmation, and what its race proves.
"""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from plotly.graph_objects import Figure

from search.pages.drawing import COLOURS
from search.pages.marks import best_so_far, by_kind, limits, loss, thinned
from search.pages.material import Material
from search.study.findings import Row

if TYPE_CHECKING:
    from search.pages.rate_curves import Curve

MOST = 400  # trials drawn; more would make the figure large, and each refresh of it slow
LOSS = "lowest eval, nats per audio token"
_SYMBOLS = {"o": "circle", "s": "square", "v": "triangle-down", "X": "x", "P": "cross"}  # by matplotlib's markers
_GREY = "#808080"  # legible on white and on black


def figures(material: Material) -> dict[str, Figure]:
    """Of a search and its confirmation, by the ids under which they are stored."""
    history = _trials(material, "Lowest evaluation of each trial", "trial", lambda row: float(row.trial.number))
    rates = _trials(material, "Learning rate", "learning rate", lambda row: row.trial.params.get("lr"))
    if rates:
        rates.update_xaxes(type="log")
    numbers, values = best_so_far(material.judged)
    if history and values:
        line = {"color": COLOURS["blue"], "width": 2, "shape": "hv"}
        name, lowest = f"best so far, {values[-1]:.4f}", [round(value, 5) for value in values]
        history.add_scatter(mode="lines", name=name, line=line, x=numbers, y=lowest, hoverinfo="skip")
    found = {"confirmation": confirmation(material), "rate-line": rate_line(material)}
    found |= {"history": history, "learning-rate": rates}
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
    made = _figure(title, x, LOSS)
    made.update_yaxes(range=bounds)
    _levels(made, partial(made.add_hline, annotation_position="top right"), lines, bounds)
    for kind, chosen in by_kind(rows):
        symbol = _SYMBOLS[kind.marker] + ("-open" if kind.hollow else "")
        made.add_scatter(
            mode="markers",
            name=f"{kind.label} ({len(chosen)})",
            x=[at(row) for row in chosen],
            y=[round(min(loss(row), bounds[1]), 5) for row in chosen],
            text=[f"trial {row.trial.number}: {loss(row):.4f}" for row in chosen],
            marker={"color": COLOURS[kind.colour], "size": 8, "symbol": symbol},
            hoverinfo="text",
            cliponaxis=False,
        )
    return made


def confirmation(material: Material) -> Figure | None:
    """Of each config that races the mean with its interval, and each run. None while no run has a finite value."""
    if material.runs is None:
        return None
    from search.confirmation.runs import FULL  # scipy: half a second, which only a confirmation needs

    fit, runs, fresh = material.runs.race.fit, material.runs.values(FULL), material.runs.plan.fresh
    names = sorted((name for name, mean in fit.means.items() if math.isfinite(mean)), key=lambda name: fit.means[name])
    if not names:
        return None
    chosen = material.confirmation.exported if material.confirmation else None
    shown = {name: html.escape(name) + (" (exported)" if name == chosen else "") for name in names}  # Plotly has tags
    base, means = material.findings.base.mel_ce, [fit.means[name] for name in names]
    estimates = [fit.below(base, name) for name in names]
    lows = [mean if e.high is None else base - e.high for mean, e in zip(means, estimates, strict=True)]
    highs = [mean if e.low is None else base - e.low for mean, e in zip(means, estimates, strict=True)]
    ran = [(v, name, seed) for name in names for seed, v in runs.get(name, {}).items() if seed in fresh]
    dots = [(v, name, seed) for v, name, seed in ran if math.isfinite(v)]
    made = _figure("Race: full runs with fresh seeds", LOSS, None)
    made.update_yaxes(autorange="reversed", type="category")
    made.add_scatter(
        mode="markers",
        name="one run",
        x=[v for v, _, _ in dots],
        y=[shown[name] for _, name, _ in dots],
        text=[f"seed {seed}: {v:.4f}" for v, _, seed in dots],
        marker={"size": 8, "symbol": "circle-open", "color": COLOURS["orange"], "line": {"width": 2}},
        hoverinfo="text",
    )
    above = [high - value for high, value in zip(highs, means, strict=True)]
    below = [value - low for low, value in zip(lows, means, strict=True)]
    made.add_scatter(
        mode="markers",
        name=f"mean, {100 * fit.level:.0f} % interval",
        x=means,
        y=list(shown.values()),
        text=[f"mean {value:.4f}" for value in means],
        marker={"size": 11, "symbol": "diamond", "color": COLOURS["blue"]},
        error_x={"array": above, "arrayminus": below, "color": COLOURS["blue"], "thickness": 2},
        hoverinfo="text",
    )
    ends = [*lows, *highs, *(v for v, _, _ in dots)]
    bounds = limits([min(ends), max(ends)], [base])
    made.update_xaxes(range=bounds)
    _levels(made, partial(made.add_vline, annotation_position="top left"), {"untouched base": base}, bounds)
    return made


def rate_line(material: Material) -> Figure | None:
    """The full runs along the learning rate, and the sum of rates at which they turn. None before one has ended."""
    if material.runs is None:
        return None
    from search.pages import rate_curves  # scipy, as above

    known = rate_curves.curves(material.runs)
    if not known:
        return None
    shown = rate_curves.drawn(known)
    made = _figure(rate_curves.TITLE, rate_curves.ACROSS, "evaluation, nats per audio token")
    lines = {"untouched base": material.findings.base.mel_ce}
    bounds = limits([value for curve in shown for value in curve.values], list(lines.values()))
    made.update_yaxes(range=bounds)
    made.update_xaxes(type="log")
    _levels(made, partial(made.add_hline, annotation_position="top right"), lines, bounds)
    dashes = ("solid", "dash")
    styles = iter([(COLOURS[colour], dash) for dash in dashes for colour in ("orange", "green", "purple", "grey")])
    for curve in shown:
        own = (COLOURS["blue"], "solid") if curve.is_finalist else (_GREY, "solid") if curve.is_stock else None
        _course(made, curve, *(own or next(styles)))
    if (tau := rate_curves.turning_sum(material.runs, known)) is not None:
        band, x = {"color": COLOURS["orange"], "width": 8}, float(f"{tau:.5g}")
        name = f"where runs turn, {tau:.3g}"
        made.add_scatter(mode="lines", name=name, x=[x, x], y=bounds, line=band, opacity=0.3, hoverinfo="skip")
    return made


def _course(made: Figure, curve: "Curve", colour: str, dash: str) -> None:
    """A run, with a mark at its lowest evaluation, filled if it turned; a cross where it diverged."""
    at = len(curve.values) - 1 if curve.diverged else curve.lowest
    symbol = "x" if curve.diverged else "circle" if curve.turned else "circle-open"
    marks = [symbol if place == at else "circle" for place in range(len(curve.values))]
    made.add_scatter(
        mode="lines+markers",
        name=html.escape(curve.label),
        x=[float(f"{x:.5g}") for x in curve.sums],
        y=[round(value, 5) for value in curve.values],
        text=[f"step {step}: {value:.4f}" for step, value in zip(curve.steps, curve.values, strict=True)],
        line={"color": colour, "dash": dash, "width": 3 if curve.is_finalist else 1.5},
        marker={
            "symbol": marks,
            "size": [12 if place == at else 4 for place in range(len(curve.values))],
            "color": colour,
            "line": {"width": 2, "color": colour},
        },
        hoverinfo="text",
    )


def _figure(title: str, x: str, y: str | None) -> Figure:
    """Transparent and grey: the page may be white or black, and the figure is not told which."""
    made = Figure()
    made.update_layout(
        template=None,  # Plotly's is three times as long as the figure, and of a light page
        title={"text": title, "font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": _GREY, "orientation": "v"},
        font={"color": _GREY},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": -0.28},
        margin={"t": 72, "r": 40, "b": 40, "l": 60},
        hovermode="closest",
    )
    axis = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "linecolor": _GREY, "automargin": True}
    return made.update_xaxes(title=x, **axis).update_yaxes(title=y, **axis)


def _levels(made: Figure, draw: Callable[..., object], lines: Mapping[str, float], bounds: Sequence[float]) -> None:
    """Dashed lines, named. Outside of `bounds`: in the title."""
    outside = []
    for name, value in lines.items():
        if bounds[0] <= value <= bounds[1]:
            line = {"color": _GREY, "dash": "dash" if name == "untouched base" else "dot", "width": 1.5}
            draw(value, line=line, annotation_text=f"{name}, {value:.4f}")
        else:
            outside.append(f"{name}: {value:.4f}, {'above' if value > bounds[1] else 'below'} these")
    if outside:
        made.layout.title.text += f"<br><sub>{'; '.join(outside)}</sub>"
