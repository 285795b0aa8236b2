"""The answer of a study: better than the stock recipe, no better, or do not fine-tune.

A confirmation proves its answer by intervals. A search alone has one short run of each config: its answer is a guess.
"""

import math
from dataclasses import dataclass

from search.settings.best_config import Verdict
from search.settings.sections import STOCK
from search.study.findings import Findings, Row
from search.ties import is_lower


@dataclass(frozen=True)
class Estimate:
    """A difference of losses in nats, with its interval; without one where there is nothing to measure noise by."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None  # one-sided, corrected as the interval is

    @property
    def is_above_zero(self) -> bool:
        return self.low is not None and self.low > 0

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return "no interval: too few runs"
        return f"interval {self.low:.4f} to {self.high:.4f}"


def is_gain(over_stock: Estimate | None) -> bool:
    """Whether the winner is proven better than the stock recipe. A stock recipe that diverged is infinitely worse."""
    return over_stock is not None and (over_stock.is_above_zero or over_stock.value == math.inf)


@dataclass(frozen=True)
class Proof:
    """The winner of a confirmation: how far its mean lies below the base and the stock recipe."""

    winner: str
    mean: float  # infinite where every config diverged
    over_base: Estimate
    over_stock: Estimate | None  # None where the winner is the stock recipe
    level: float  # of the intervals, as a share
    configs: int  # that raced
    seeds: int  # that the winner ran

    @property
    def verdict(self) -> Verdict:
        if not self.over_base.is_above_zero:
            return "do not fine-tune"
        return "better than the stock recipe" if is_gain(self.over_stock) else "no better than the stock recipe"


def sentence(proof: Proof) -> str:
    """The answer of a confirmation with its numbers, in a sentence or two."""
    winner, base, stock = proof.winner, proof.over_base, proof.over_stock
    against_base = f"{_gain(base, proof.level)} below the untouched base"
    if proof.verdict == "do not fine-tune":
        if not math.isfinite(proof.mean):
            return "Do not fine-tune: every config diverged."
        side, rest = ("below", ", which may be chance") if base.value > 0 else ("above", "")
        return (
            f"Do not fine-tune: {winner}, the best config, is at {proof.mean:.4f}, {abs(base.value):.4f} nats per audio"
            f" token {side} the untouched base{rest} ({_interval(base, proof.level)})."
        )
    if stock is None:
        which = "only {} itself ran" if proof.configs == 1 else "{} itself has the lowest mean"
        return f"No better than the stock recipe: {which.format(winner)}, {against_base}. {_seeds(proof)}."
    if is_gain(stock):
        by = "which diverged" if stock.value == math.inf else f"by {_gain(stock, proof.level)}"
        start = f"{winner[:1].upper()}{winner[1:]} is better than the stock recipe ({STOCK}), {by}"
        return f"{start}; it is {against_base}. {_seeds(proof)}."
    return (
        f"No better than the stock recipe ({STOCK}): {winner} is {_gain(stock, proof.level)} below it, which may be"
        f" chance with {_seeds(proof)}; it is {against_base}."
    )


def _seeds(proof: Proof) -> str:
    return f"{proof.seeds} seed{'s' if proof.seeds != 1 else ''}"


def _gain(estimate: Estimate, level: float) -> str:
    return f"{estimate.value:.4f} nats per audio token ({_interval(estimate, level)})"


def _interval(estimate: Estimate, level: float) -> str:
    return estimate.interval if estimate.low is None else f"{100 * level:.0f} % {estimate.interval}"


@dataclass(frozen=True)
class Searched:
    """The best completed trial of a search, and how far it lies below the base and the stock recipe: one run each."""

    best: Row
    lowest: float  # evaluation of the best trial, nats per audio token
    base: float
    stock: Row | None  # the trial of the stock recipe; None where it has no evaluation
    over_base: Estimate
    over_stock: Estimate | None  # None without `stock`

    @property
    def is_stock(self) -> bool:
        """Whether the best trial is the stock recipe itself."""
        return self.stock is not None and self.stock.trial.number == self.best.trial.number

    @property
    def verdict(self) -> Verdict:
        """As a confirmation gives it, but without proof."""
        if not is_lower(self.lowest, self.base):
            return "do not fine-tune"
        stock = self.stock.best if self.stock else None
        is_better = stock is None or is_lower(self.lowest, stock.mel_ce)
        return "better than the stock recipe" if is_better else "no better than the stock recipe"


def searched(findings: Findings) -> Searched | None:
    """The answer of a search alone; None before a trial has completed."""
    best = next(iter(findings.completed), None)
    if best is None:
        return None
    assert best.trial.value is not None
    stock = stock_trial(findings)
    over_stock = Estimate(stock.best.mel_ce - best.trial.value) if stock and stock.best else None
    base = findings.base.mel_ce
    return Searched(best, best.trial.value, base, stock, Estimate(base - best.trial.value), over_stock)


def stock_trial(findings: Findings) -> Row | None:
    """The search's own run of the stock recipe; None where it has no evaluation."""
    return next((row for row in findings.judged if row.baseline == STOCK and not row.repeat and row.best), None)


def sentences(found: Searched) -> list[str]:
    """The answer of a search alone: a sentence on the base, and one on the stock recipe where it was evaluated."""
    number, base, stock = found.best.trial.number, found.base, found.stock
    if found.verdict == "do not fine-tune":
        subject = f"Trial {number}, the best,"
        lines = [f"Do not fine-tune: no trial beats the untouched base model ({base:.4f})."]
    else:
        subject, gain = "It", f"{found.over_base.value:.4f} nats per audio token below the untouched base model"
        lines = [f"Trial {number} is {gain} ({found.lowest:.4f} against {base:.4f})."]
    if stock is None or stock.best is None or found.over_stock is None:
        return lines
    loss = stock.best.mel_ce
    if found.is_stock:
        return [*lines, f"{subject} is the stock recipe ({STOCK}): no other trial was better."]
    if is_lower(found.lowest, loss):
        return [*lines, f"{subject} is {found.over_stock.value:.4f} below the stock recipe ({STOCK}, {loss:.4f})."]
    if stock.trial.value is not None:
        return [*lines, f"{subject} is no better than the stock recipe ({STOCK}, {loss:.4f})."]
    return [*lines, f"The stock recipe ({STOCK}) came to {loss:.4f} before it was stopped ({stock.reason})."]
