"""Figures of the search: its history, the curves of its trials, each dimension and how important it is."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

from search.pages.chart import BASE, LOSS, Axis, Chart, Series, limits
from search.pages.dimensions import Dimension, Importance, holding
from search.pages.material import Material, completed
from search.settings.sections import STOCK
from search.study.findings import Row
from search.trial import StopReason

SLICE = 300  # trials drawn against a dimension at most
CURVES = 240  # trials drawn at most; more are one dark patch
FEWEST_FOR_A_MEDIAN = 5  # trials; with fewer the line would lie on one of theirs, or between two


@dataclass(frozen=True)
class Kind:
    """How trials of one stop reason look."""

    label: str
    colour: str
    marker: str
    hollow: bool = False


KINDS = {
    StopReason.FINISHED: Kind("finished", "blue", "o"),
    StopReason.TWO_INCREASES: Kind("two increases", "green", "s"),
    StopReason.STOPPED_BY_NAME: Kind("stopped by name", "blue", "D", hollow=True),
    StopReason.MEDIAN: Kind("pruned by the median", "orange", "v", hollow=True),
    StopReason.DIVERGED: Kind("diverged", "purple", "X"),
}
OTHER = Kind("ended otherwise", "grey", "P", hollow=True)


def kind(row: Row) -> Kind:
    return next((kind for reason, kind in KINDS.items() if reason == row.reason), OTHER)


def by_kind(rows: Sequence[Row]) -> Iterator[tuple[Kind, list[Row]]]:
    """(kind, its trials), of those that there are."""
    for each in (*KINDS.values(), OTHER):
        chosen = [row for row in rows if kind(row) is each]
        if chosen:
            yield each, chosen


def loss(row: Row) -> float:
    """The lowest evaluation of a trial, nats per audio token; infinite without one."""
    return row.best.mel_ce if row.best else math.inf


def best_so_far(rows: Sequence[Row]) -> tuple[list[int], list[float]]:
    """(trials, the lowest value up to each): of completed ones, without repeats, which cannot be the best."""
    done = {row.trial.number: row.trial.value for row in rows if completed(row) and not row.repeat}
    finite = {number: value for number, value in done.items() if value is not None}
    return list(finite), list(accumulate(finite.values(), min))


def _losses(material: Material) -> Axis:
    """Of the lowest evaluations of trials, with the base and the stock recipe."""
    levels, stock = {BASE: material.findings.base.mel_ce}, material.stock
    if stock:
        levels[f"stock recipe ({STOCK}){'' if completed(stock) else f', {kind(stock).label}'}"] = loss(stock)
    return Axis(LOSS, limits([loss(row) for row in material.judged], list(levels.values())), levels=levels)


def _marks(rows: Sequence[Row], places: Sequence[float], top: float) -> list[Series]:
    """A mark for each trial, by its stop reason; what is above `top` lies on the upper edge."""
    at, is_few = dict(zip([row.trial.number for row in rows], places, strict=True)), len(rows) <= 100
    return [
        Series(
            f"{each.label} ({len(chosen):,})", [at[row.trial.number] for row in chosen],
            [min(loss(row), top) for row in chosen], each.colour, each.marker, each.hollow,
            size=5.0 if is_few else 3.6 if len(rows) <= 500 else 2.6, alpha=0.9 if is_few else 0.6,
            told=[f"trial {row.trial.number}: {loss(row):.4f}" for row in chosen],
        )
        for each, chosen in by_kind(rows)
    ]  # fmt: skip


def history(material: Material, most: int | None = None) -> Chart:
    """Value by trial number, and the best so far; of `most` trials. Needs a judged trial."""
    rows, y = material.judged, _losses(material)
    assert y.bounds
    top, last, shown = y.bounds[1], rows[-1].trial.number, thinned(rows, most or len(rows))
    series = _marks(shown, [row.trial.number for row in shown], top)
    numbers, lowest = best_so_far(rows)
    if lowest:
        name = f"best so far, {lowest[-1]:.4f}"
        series.append(Series(name, [*numbers, last], [*lowest, lowest[-1]], "blue", line="steps", width=1.4))
    above = sum(loss(row) > top for row in rows)
    repeats = sum(row.repeat > 0 for row in rows)
    told = [
        f"{above:,} trials lie above the figure and are drawn at its edge." if above else "",
        "A pruned trial is drawn at its lowest evaluation." if not all(map(completed, rows)) else "",
        f"Repeats of the stock recipe, {repeats:,}, are drawn, but cannot be the best." if repeats else "",
    ]
    x = Axis("trial number", (-0.5, max(last, 3) + 0.5), whole=True)
    return Chart("Lowest evaluation of each trial", x, y, series, " ".join(filter(None, told)), columns=3)


def against(material: Material, dimension: Dimension) -> Chart:
    """The value of trials against a dimension, with a circle around the best."""
    rows, y, best = thinned(holding(dimension, material.judged), SLICE), _losses(material), material.best
    assert y.bounds
    draw = random.Random(1)
    spread = 0.22 if dimension.axis.ticks else 0.0  # trials of one whole value would hide each other
    places = [dimension.place(row) + draw.uniform(-spread, spread) for row in rows]
    series = _marks(rows, places, y.bounds[1])
    series += [
        Series("", [place], [loss(row)], "text", "o", hollow=True, size=11)
        for place, row in zip(places, rows, strict=True)
        if best and row.trial.number == best.trial.number
    ]
    return Chart(dimension.title.capitalize(), dimension.axis, y, series)


def curves(material: Material) -> Chart:
    """Evaluations by optimizer step, coloured by the stop reason, with the median of the trials that were there."""
    rows, base = material.judged, material.findings.base.mel_ce
    shown = thinned(rows, CURVES)
    by_step: dict[int, list[float]] = {}
    for evaluation in (e for row in rows for e in row.evaluations if math.isfinite(e.mel_ce)):
        by_step.setdefault(evaluation.step, []).append(evaluation.mel_ce)
    steps = sorted(by_step)
    values = [value for step in steps for value in by_step[step]]
    bounds = limits(values, [base])
    series = [
        _curve(row, each, each.label if row is chosen[0] else "", len(shown) <= 60)
        for each, chosen in by_kind(shown)
        for row in chosen
    ]
    told = [_falling(material), "Each line is a trial, and ends with the mark of why it stopped."]
    if len(rows) >= FEWEST_FOR_A_MEDIAN:
        middle = [median(by_step[step]) for step in steps]
        series.append(Series("", steps, middle, "page", line="-", width=5))
        series.append(Series("median", steps, middle, "text", line="-", width=2.4))
        told.append(
            f"The median of the trials that reached a step goes from {middle[0]:.4f} at step {steps[0]} to"
            f" {middle[-1]:.4f} at step {steps[-1]}."
        )
    if len(shown) < len(rows):
        told.append(f"{len(shown)} of {len(rows):,} trials are drawn, the best among them; the median is of all.")
    if max(values) > bounds[1]:
        told.append("Higher evaluations leave the figure at its upper edge.")
    x = Axis("optimizer steps", (0, 1.01 * material.findings.horizon))
    y = Axis("evaluation,\nnats per audio token", bounds, levels={BASE: base})
    return Chart("Evaluations", x, y, series, " ".join(filter(None, told)), height=3.6, columns=3)


def _curve(row: Row, kind: Kind, label: str, is_few: bool) -> Series:
    finite = [e for e in row.evaluations if math.isfinite(e.mel_ce)]
    return Series(
        label, [e.step for e in finite], [e.mel_ce for e in finite], kind.colour, kind.marker, kind.hollow,
        line="--" if kind.hollow else "-", marked=len(finite) - 1, size=4.4 if is_few else 2.6,
        width=1.1 if is_few else 0.6, alpha=0.75 if is_few else 0.4,
    )  # fmt: skip


def _falling(material: Material) -> str:
    """How many of the trials that ran to their end were still falling there."""
    ended = [row for row in material.judged if row.reason == StopReason.FINISHED]
    falling = sum(row.best is row.evaluations[-1] for row in ended)
    return f"{falling:,} of {len(ended):,} trials that ran to their end were still falling there." if ended else ""


def importances(found: Importance, known: Sequence[Dimension]) -> Chart:
    """A bar for each dimension, and what chance alone gives."""
    titles = {dimension.name: dimension.title for dimension in known}
    names = list(found.shares)[::-1]
    series: list[Series] = []
    for place, name in enumerate(names):
        label, colour = ("more than chance", "blue") if name in found.told else ("may be chance", "grey")
        label = "" if any(each.label == label for each in series) else label
        series.append(Series(label, (0, 100 * found.shares[name]), (place, place), colour, line="-", width=9))
    chance = [100 * found.chance[name] for name in names]
    label = "reached by chance in 1 of 20 shuffled studies"
    series.append(Series(label, chance, range(len(names)), "orange", "|", size=13))
    y = Axis("", (-0.6, len(names) - 0.4), ticks=[(place, titles.get(name, name)) for place, name in enumerate(names)])
    x = Axis("% of all importance", (0, 1.05 * max(*chance, *(100 * share for share in found.shares.values()))))
    return Chart("Importance of the dimensions", x, y, series, height=0.9 + 0.27 * len(names), columns=3)


def thinned(rows: Sequence[Row], most: int, kept: int = 60) -> list[Row]:
    """At most `most` trials: the best `kept` and a part of the rest, drawn at random but always the same."""
    if len(rows) <= most:
        return list(rows)
    ordered = sorted(rows, key=lambda row: (not completed(row), loss(row)))
    chosen = [*ordered[:kept], *random.Random(1).sample(ordered[kept:], most - kept)]
    return sorted(chosen, key=lambda row: row.trial.number)
