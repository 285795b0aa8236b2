"""Whether truncated runs rank configs as full runs do, and what pruning lost."""

import math
from collections.abc import Mapping, Sequence

from search.settings.best_config import Fidelity
from search.ties import ranked, ranks

GOOD = 0.8  # Kendall's tau: 90 of 100 pairs of configs in the same order
POOR = 0.6  # 80 of 100
FEWEST_TO_RANK = 4  # configs; fewer stand in one order or its reverse too easily
_Z = 1.959964  # of a 95 % interval

Curve = Sequence[tuple[float, float]]  # (share of the full run, lowest evaluation so far), in order


def fidelity(
    truncated: Mapping[str, float], full: Mapping[str, float], curves: Mapping[str, Curve], truncation: float, top: int
) -> Fidelity | None:
    """The rank agreement of configs' values in truncated and in full runs; None with fewer than two configs in both.

    `curves` are those of the full runs, from which a longer truncation is proposed where the agreement is poor.
    """
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
            f" {_longer(curves, full, truncation):.2g} instead of {truncation:g}"
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


def _longer(curves: Mapping[str, Curve], full: Mapping[str, float], truncation: float) -> float:
    """The share of the full run from which on the full runs' own curves are in the order of their ends.

    At least half as long again as now; twice as long where the curves do not tell.
    """
    from scipy.stats import kendalltau

    known = {c: curves[c] for c in full if c in curves}
    agreed = None
    for share in sorted({at for curve in known.values() for at, _ in curve if truncation < at < 1}, reverse=True):
        so_far = {c: [value for at, value in curve if at <= share + 1e-9] for c, curve in known.items()}
        there = [c for c, values in so_far.items() if values]
        if len(there) < 3 or not kendalltau([min(so_far[c]) for c in there], [full[c] for c in there])[0] >= GOOD:
            break
        agreed = share
    return min(1.0, max(1.5 * truncation, agreed) if agreed else 2 * truncation)
