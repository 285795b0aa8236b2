"""Whether truncated runs rank configs as full runs do, and what pruning lost."""

import math
from collections.abc import Mapping

from search.settings.best_config import Fidelity
from search.ties import ranked, ranks

POOR = 0.6  # Kendall's tau: 80 of 100 pairs of configs in the same order
FEWEST_TO_RANK = 4  # configs; fewer stand in one order or its reverse too easily
_Z = 1.959964  # of a 95 % interval


def fidelity(truncated: Mapping[str, float], full: Mapping[str, float], truncation: float, top: int) -> Fidelity | None:
    """The rank agreement of configs' values in truncated and in full runs; None with fewer than two configs in both."""
    from scipy.stats import kendalltau  # half a second, which commands that only read a study need not spend

    configs = [c for c in truncated if c in full and math.isfinite(truncated[c]) and math.isfinite(full[c])]
    count = len(configs)
    if count < 2:
        return None
    short, long = ([values[c] for c in configs] for values in (truncated, full))
    tau, p_value = map(float, kendalltau(ranks(short), ranks(long)))
    top = min(top, count - 1)  # of all configs, all are the best
    if math.isnan(tau):  # all the same in one of the two: there is no order
        none = dict.fromkeys(("tau", "low", "high", "p_value", "advice"))
        return Fidelity(configs=count, top=top, top_overlap=0, **none)
    low, high = tau_interval(tau, count)
    best_short, best_long = (set(ranked(configs, values.__getitem__)[:top]) for values in (truncated, full))
    advice = None
    if tau < POOR and truncation < 1:
        advice = (
            f"short runs rank {count} configs poorly (tau {tau:.2f}): lengthen the trials, try training.truncation ="
            f" {min(1.0, 2 * truncation):.2g} instead of {truncation:g}"
        )
    overlap = len(best_short & best_long)
    return Fidelity(
        configs=count, tau=tau, low=low, high=high, p_value=p_value, top=top, top_overlap=overlap, advice=advice
    )


def tau_interval(tau: float, configs: int) -> tuple[float, float]:
    """A conservative 95 % interval for Kendall's tau of this number of configs.

    The variance of tau is at most 2 (1 - tau^2) / n (Kendall and Gibbons, Rank Correlation Methods, chapter 4), that
    of a proportion of concordant pairs p = (1 + tau) / 2 from n / 2 independent draws; so p gets Wilson's interval
    (1927) with that number, which stays in its bounds and has a width also at tau = 1.
    """
    n = configs / 2
    p = (1 + tau) / 2
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    reach = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return max(-1.0, 2 * (centre - reach) - 1), min(1.0, 2 * (centre + reach) - 1)
