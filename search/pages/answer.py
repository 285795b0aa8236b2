"""What a page says first: which config to use, how sure that is, by how much it is better, and what to do next.

What a study proves is decided in `search.confirmation.verdict`; this is how a page says it.
"""

import json
import math
from dataclasses import dataclass, field

from search.confirmation import export
from search.confirmation.verdict import Estimate, Searched
from search.pages.material import Material, completed
from search.pages.next_steps import (
    Step,
    after_confirmation,
    after_search,
    without_answer,
)
from search.settings.best_config import Confirmation, RateLine
from search.settings.sections import STOCK
from search.show import tables
from search.study import divergence
from search.text import shown
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps

CLOSE = 4  # configs that are named


@dataclass(frozen=True)
class Compared:
    """By how much the config's loss lies below another's, and how sure that is."""

    other: str
    by: str
    sure: str


@dataclass(frozen=True)
class Answer:
    """`level` sets the colour: proven, warning or error."""

    level: str
    headline: str
    sure: str
    told: list[str]
    next: list[Step]
    words: str = ""  # of the config to use, if any
    values: str = ""  # the same as JSON, with all digits
    of: str = ""  # whose loss `compared` compares, with that loss
    compared: list[Compared] = field(default_factory=list)


def answer(material: Material, options: str) -> Answer:
    """By the confirmation where it is over, else by the best trial so far. The commands repeat `options`."""
    if material.confirmation is not None:
        return _confirmed(material, material.confirmation, options)
    return _searched(material, material.searched, options) if material.searched else _nothing(material, options)


def _nothing(material: Material, options: str) -> Answer:
    """No trial has completed: why, where that can be seen."""
    findings = material.findings
    told = [f"{findings.finished:,} trials have finished, none of them to its end; {material.running} running."]
    if reason := divergence.why(findings, material.settings):
        told.append(f"{reason}.")
    if cut := findings.cut_short:
        log = material.settings.directory / "trials" / str(cut[-1].trial.number) / "log.txt"
        told.append(f"Cut short: {tables.why_cut_short(cut)}; its log is {shown(log.absolute())} there.")
    headline, sure = (
        "There is no answer yet: no trial has completed.",
        "A config is judged only when a trial completes.",
    )
    return Answer("warning", headline, sure, told, without_answer(material, options))


def _searched(material: Material, found: Searched, options: str) -> Answer:
    best, horizon = found.best, material.findings.horizon
    told = tables.doubts(material.findings, best, material.space)
    if material.runs is not None:
        told.append("A confirmation was started and is not over.")
    name = f"trial {best.trial.number}" + (f" ({best.baseline})" if best.baseline else "")
    sure = f"Not proven: one run with one seed, of {horizon:,} of the {material.full_horizon:,} optimizer steps"
    compared = [Compared(f"the untouched base, {found.base:.4f}", _by(found.over_base), "one run, no interval")]
    if found.stock and found.stock.best and found.over_stock and not found.is_stock:
        ended = "" if completed(found.stock) else f"; that was stopped ({found.stock.reason})"
        other = f"the stock recipe ({STOCK}), {found.stock.best.mel_ce:.4f}"
        compared.append(Compared(other, _by(found.over_stock), f"one run each, no interval{ended}"))
    level, words, values = "warning", *_described(material, tables.point_of(best, material.space))
    headline = f"The best config so far is {name}: {found.lowest:.4f} nats per audio token."
    if found.is_stock:
        headline += " It is the stock recipe itself."
    if found.verdict == "do not fine-tune":
        level, words, values = "error", "", ""
        headline = "Do not fine-tune with any config of this study: none beats the untouched base model."
    steps = after_search(material, found, options)
    of = f"{name}, {found.lowest:.4f}"
    return Answer(level, headline, f"{sure} of a full run.", told, steps, words, values, of, compared)


def _confirmed(material: Material, found: Confirmation, options: str) -> Answer:
    compared = _compared(material, found)
    told = _told(material, found) if compared else [found.text]
    seeds = max(len(candidate.runs) for candidate in found.candidates)
    raced = f"a race of {len(found.candidates)} configs with up to {seeds} fresh seeds each"
    ran = f"{raced}, {material.full_horizon:,} optimizer steps a run"
    winner = next(c for c in found.candidates if c.name == found.winner)
    words, values = _described(material, export.recommended(found).hyperparameters)
    if found.verdict == "do not fine-tune":
        level, sure, words, values = "error", "By full runs", "", ""
        headline = "Do not fine-tune: no config is proven better than the untouched base model."
    elif found.verdict == "better than the stock recipe":
        level, sure = "proven", "Proven by full runs"
        headline = f"Use {found.winner}: it is better than the stock recipe."
    else:
        level, sure = "warning", "Not proven better by full runs"
        headline = f"Use the stock recipe ({found.exported}): no config is proven better than it."
    of = f"{winner.name}, mean {winner.mean or math.inf:.4f} of {len(winner.runs)} full runs"
    steps = after_confirmation(material, found, options)
    return Answer(level, headline, f"{sure}: {ran}.", told, steps, words, values, of, compared)


def _compared(material: Material, found: Confirmation) -> list[Compared]:
    """The winner with the stock recipe, unless it is that, and with the base. Nothing where every config diverged."""
    fit = material.fit
    assert fit is not None
    if not math.isfinite(fit.means[found.winner]):
        return []
    compared = []
    if found.winner != STOCK:
        over_stock = fit.difference(STOCK, found.winner)
        other, sure = f"the stock recipe ({STOCK}), {fit.means[STOCK]:.4f}", _sure(over_stock, fit.level)
        if math.isinf(over_stock.value):
            other, sure = f"the stock recipe ({STOCK})", "it diverged in a full run"
        compared.append(Compared(other, _by(over_stock), sure))
    over_base = fit.below(found.base, found.winner)
    return [*compared, Compared(f"the untouched base, {found.base:.4f}", _by(over_base), _sure(over_base, fit.level))]


def _told(material: Material, found: Confirmation) -> list[str]:
    """Where the winner comes from, and which configs may be as good."""
    assert material.fit is not None
    fit, told = material.fit, []
    winner = next(c for c in found.candidates if c.name == found.winner)
    if found.winner == STOCK:
        told.append("The stock recipe itself has the lowest mean.")
    if winner.scaled_from is not None:
        told.append(
            f"The winner is {winner.scaled_from} with the learning rate {winner.hyperparameters.lr:.3g}"
            f"{_found(found.rate_line)}. Short runs favour rates that are too high for a full run."
        )
    differences = [(name, fit.difference(name, found.winner)) for name in fit.means if name != found.winner]
    close = sorted((d.value, name) for name, d in differences if math.isfinite(d.value) and not d.is_above_zero)
    if close:
        more = f" and {len(close) - CLOSE} more" if len(close) > CLOSE else ""
        names = ", ".join(f"{name} ({value:.4f} above)" for value, name in close[:CLOSE])
        told.append(f"These may be as good as {found.winner}: {names}{more}.")
    if material.late is not None:
        told.append(f"Trial {material.late}, now the best of the search, has not run in full.")
    return told


def _found(line: RateLine | None) -> str:
    """How a rate that no trial had was found, as the rest of a sentence."""
    if line is None:
        return ""
    rates = sorted(step.hyperparameters.lr for step in line.steps)
    return (
        f", which the rate line found: {len(rates)} full runs with rates from {rates[0]:.2e} to {rates[-1]:.2e}. Their"
        f" seed, {line.seed}, has no part in the race"
    )


def _by(gain: Estimate) -> str:
    if math.isinf(gain.value):
        return "diverged"
    return f"{abs(gain.value):.4f} {'below' if gain.value > 0 else 'above'}"


def _sure(found: Estimate, level: float) -> str:
    if found.low is None or found.p is None:
        return found.interval
    p = "p below 0.0001" if found.p < 1e-4 else f"p {found.p:.2g}"
    return f"{100 * level:.0f} % {found.interval}, {p}"


def _described(material: Material, point: Hyperparameters | None) -> tuple[str, str]:
    """(the config in words, its values for a full run as JSON); empty for a point that cannot be read."""
    if point is None:
        return "", ""
    training, horizon = material.settings.training, material.full_horizon
    values = {
        **point.to_dict(),
        "milestone_steps": list(to_steps(point.milestones, horizon)),
        "horizon": horizon,
        "batch_size": training.batch_size,
        "accumulation": training.accumulation,
    }
    return point.describe(), json.dumps(values, indent=2)
