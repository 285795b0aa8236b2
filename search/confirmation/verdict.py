"""The answer of a confirmation in words."""

import math

from search.confirmation.race import Estimate, Fit
from search.settings.best_config import Verdict


def verdict(over_base: Estimate, over_stock: Estimate | None) -> Verdict:
    if not over_base.is_above_zero:
        return "do not fine-tune"
    if over_stock and (over_stock.is_above_zero or over_stock.value == math.inf):
        return "better than the stock recipe"
    return "no better than the stock recipe"


def sentence(
    found: Verdict, fit: Fit, winner: str, stock: str, over_stock: Estimate | None, over_base: Estimate, seeds: int
) -> str:
    """The result in a sentence or two."""
    level = f"{100 * fit.level:.0f} %"
    capital = winner[:1].upper() + winner[1:]
    against_base = f"{_reach(over_base, level)} below the untouched base"
    if found == "do not fine-tune":
        if not math.isfinite(fit.means[winner]):
            return "Do not fine-tune: every config diverged."
        side = "below" if over_base.value > 0 else "above"
        rest = ", which is not told from chance" if over_base.value > 0 else ""
        return (
            f"Do not fine-tune: {winner}, the best config, is at {fit.means[winner]:.4f}, {abs(over_base.value):.4f}"
            f" nats per audio token {side} the untouched base{rest} ({_interval(over_base, level)})."
        )
    if found == "better than the stock recipe":
        assert over_stock is not None
        by = "which diverged" if over_stock.value == math.inf else f"by {_reach(over_stock, level)}"
        return f"{capital} is better than the stock recipe ({stock}), {by}; it is {against_base}. {seeds} seeds."
    if over_stock is None and len(fit.means) == 1:
        return f"No better than the stock recipe: only {stock} itself ran, {against_base}. {seeds} seeds."
    if over_stock is None:
        return f"No better than the stock recipe: {stock} itself has the lowest mean, {against_base}. {seeds} seeds."
    return (
        f"No better than the stock recipe ({stock}): {winner} is {_reach(over_stock, level)} below it, which {seeds}"
        f" seeds do not tell from chance; it is {against_base}."
    )


def _reach(estimate: Estimate, level: str) -> str:
    return f"{estimate.value:.4f} nats per audio token ({_interval(estimate, level)})"


def _interval(estimate: Estimate, level: str) -> str:
    if estimate.low is None or estimate.high is None:
        return "no interval: too few runs"
    return f"{level} interval {estimate.low:.4f} to {estimate.high:.4f}"
