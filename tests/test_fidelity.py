"""Whether short runs rank as full ones do: agreement, its uncertainty, and the advice."""

import math
import random

import pytest
from scipy import stats

from search.confirmation.fidelity import fidelity, tau_interval

NAMES = "abcdefgh"


def configs(*values: float) -> dict[str, float]:
    return dict(zip(NAMES, values, strict=False))


@pytest.mark.parametrize(
    ("short", "full", "top", "tau", "overlap", "advice"),
    [
        ((1, 2, 3, 4), (10, 20, 30, 40), 3, 1, 3, None),
        ((1, 2, 3, 4), (4, 3, 2, 1), 2, -1, 0, "training.truncation = 0.4 instead of 0.2"),
        ((1, 2, 3, 4), (1, 2, 4, 3), 3, 2 / 3, 2, None),
        ((1, 2, 3, 4), (2, 1, 4, 3), 3, 1 / 3, 2, "training.truncation"),  # below 0.6
        ((1, 2, 3, 4), (3, 1, 2, 4), 1, 1 / 3, 0, "training.truncation"),
        ((1, 2, 3, 4), (3, 1, 2, 4), 2, 1 / 3, 1, "training.truncation"),
        ((1, 1, 1), (1, 2, 3), 3, None, 0, None),  # equal values have no order
    ],
)
def test_agreement_and_advice(
    short: tuple[float, ...], full: tuple[float, ...], top: int, tau: float | None, overlap: int, advice: str | None
) -> None:
    found = fidelity(configs(*short), configs(*full), 0.2, top)
    assert found
    assert found.tau == (None if tau is None else pytest.approx(tau)) and found.top_overlap == overlap
    assert advice in found.advice if advice and found.advice else found.advice == advice
    as_long = fidelity(configs(*short), configs(*full), 1.0, top)
    assert as_long and as_long.advice is None, "trials as long as full runs cannot be lengthened"


def test_only_configs_with_both_values_count() -> None:
    found = fidelity(configs(1, 2, math.inf), {**configs(1, 2, 3), "z": 0.0}, 0.2, 3)
    assert found
    assert (found.configs, found.top) == (2, 1), "of two configs both are among the best two"
    assert fidelity(configs(1), configs(1, 2), 0.2, 3) is None


def test_the_interval_covers_the_true_tau_also_of_few_configs() -> None:
    """Of bivariate normal values with a correlation of 0.8, whose tau is 2/pi asin(0.8) = 0.59."""
    rng = random.Random(1)
    true = 2 / math.pi * math.asin(0.8)
    for n in (4, 6, 10):
        covered = 0
        for _ in range(300):
            x = [rng.gauss(0, 1) for _ in range(n)]
            y = [0.8 * a + 0.6 * rng.gauss(0, 1) for a in x]
            low, high = tau_interval(float(stats.kendalltau(x, y)[0]), n)
            assert -1 <= low < high <= 1
            covered += low <= true <= high
        assert covered / 300 >= 0.95, n
