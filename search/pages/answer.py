"""What a page says first: which config to use, how sure that is, by how much it is better, and what to do next.

What a study proves is decided in `search.confirmation.verdict`; this is how a page says it.
"""

import json
import math
from dataclasses import dataclass, field

from search.confirmation import export
from search.confirmation.race import Fit
from search.confirmation.verdict import Estimate, Searched
from search.pages.material import Material, completed
from search.pages.next_steps import Step, after_confirmation, after_search, without_answer
from search.settings.best_config import Candidate, Confirmation, RateLine, Verdict
from search.settings.sections import STOCK
from search.show import tables
from search.study import divergence
from search.text import shown
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps


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
    headline = "There is no answer yet: no trial has completed."
    sure = "A config is judged only when a trial completes."
    return Answer("warning", headline, sure, told, without_answer(material, options))


def _searched(material: Material, found: Searched, options: str) -> Answer:
    best, horizon = found.best, material.findings.horizon
    told = tables.doubts(material.findings, best, material.space)
    if material.runs is not None:
        told.append("A confirmation was started and is not over.")
    name = f"trial {best.trial.number}" + (f" ({best.name})" if best.name else "")
    sure = f"Not proven: one run with one seed, of {horizon:,} of the {material.full_horizon:,} optimizer steps"
    compared = [Compared(f"the untouched base, {found.base:.4f}", _by(found.over_base), "one run, no interval")]
    if found.stock and found.stock.best and found.over_stock and not found.is_stock:
        ended = "" if completed(found.stock) else f"; that was stopped ({found.stock.reason})"
        other = f"the stock recipe ({STOCK}), {found.stock.best.mel_ce:.4f}"
        compared.append(Compared(other, _by(found.over_stock), f"one run each, no interval{ended}"))
    level, point = "warning", tables.point_of(best, material.space)
    headline = f"The best config so far is {name}: {found.lowest:.4f} nats per audio token."
    if found.is_stock:
        headline += " It is the stock recipe itself."
    if found.verdict == "do not fine-tune":
        level, point = "error", None
        headline = "Do not fine-tune with any config of this study: none beats the untouched base model."
    steps, of = after_search(material, found, options), f"{name}, {found.lowest:.4f}"
    return Answer(level, headline, f"{sure} of a full run.", told, steps, *_described(material, point), of, compared)


HEADLINES: dict[Verdict, tuple[str, str, str]] = {  # level, how sure, headline
    "do not fine-tune": (
        "error", "By full runs", "Do not fine-tune: no config is proven better than the untouched base model.",
    ),
    "better than the stock recipe": (
        "proven", "Proven by full runs", "Use {winner}: it is better than the stock recipe.",
    ),
    "no better than the stock recipe": (
        "warning", "Not proven better by full runs",
        "Use the stock recipe ({exported}): no config is proven better than it.",
    ),
}  # fmt: skip


def _confirmed(material: Material, found: Confirmation, options: str) -> Answer:
    level, sure, headline = HEADLINES[found.verdict]
    winner, fit = next(c for c in found.candidates if c.name == found.winner), material.fit
    assert fit
    has_ended = math.isfinite(fit.means[found.winner])  # not where every config diverged
    seeds = max(len(candidate.runs) for candidate in found.candidates)
    ran = f"a race of {len(found.candidates)} configs with up to {seeds} fresh seeds each"
    point = None if level == "error" else export.recommended(found).hyperparameters
    return Answer(
        level,
        headline.format(winner=found.winner, exported=found.exported),
        f"{sure}: {ran}, {material.full_horizon:,} optimizer steps a run.",
        _told(material, found, winner, fit) if has_ended else [found.text],
        after_confirmation(material, found, options),
        *_described(material, point),
        f"{winner.name}, mean {winner.mean or math.inf:.4f} of {len(winner.runs)} full runs",
        _compared(found, fit) if has_ended else [],
    )


def _compared(found: Confirmation, fit: Fit) -> list[Compared]:
    """The winner with the stock recipe, unless it is that, and with the base."""
    over_base, stock = fit.below(found.base, found.winner), f"the stock recipe ({STOCK})"
    compared = [Compared(f"the untouched base, {found.base:.4f}", _by(over_base), _sure(over_base, fit.level))]
    if found.winner == STOCK:
        return compared
    over_stock = fit.difference(STOCK, found.winner)
    if math.isinf(over_stock.value):
        return [Compared(stock, "diverged", "it diverged in a full run"), *compared]
    by, sure = _by(over_stock), _sure(over_stock, fit.level)
    return [Compared(f"{stock}, {fit.means[STOCK]:.4f}", by, sure), *compared]


def _told(material: Material, found: Confirmation, winner: Candidate, fit: Fit) -> list[str]:
    """Where the winner comes from, and which configs may be as good."""
    told = ["The stock recipe itself has the lowest mean."] if found.winner == STOCK else []
    if winner.scaled_from is not None:
        told.append(
            f"The winner is {winner.scaled_from} with the learning rate {winner.hyperparameters.lr:.3g}"
            f"{_found(found.rate_line)}. Short runs favour rates that are too high for a full run."
        )
    differences = [(name, fit.difference(name, found.winner)) for name in fit.means if name != found.winner]
    close = sorted((d.value, name) for name, d in differences if math.isfinite(d.value) and not d.is_above_zero)
    if close:
        names = ", ".join(f"{name} ({value:.4f} above)" for value, name in close)
        told.append(f"These may be as good as {found.winner}: {names}.")
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
    return f"{abs(gain.value):.4f} {'below' if gain.value > 0 else 'above'}"


def _sure(found: Estimate, level: float) -> str:
    if found.low is None or found.p is None:
        return found.interval
    p = "p below 0.0001" if found.p < 1e-4 else f"p {found.p:.2g}"
    return f"{100 * level:.0f} % {found.interval}, {p}"


def _described(material: Material, point: Hyperparameters | None) -> tuple[str, str]:
    """(the config in words, its values for a full run as JSON); empty without a point."""
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
