"""Whether short runs rank as full ones do: agreement, its uncertainty, and the advice."""

import math
import random

import pytest
from scipy import stats

from search.confirmation.fidelity import fidelity, tau_interval

NAMES = "abcdefgh"


def configs(*values: float) -> dict[str, float]:
    return dict(zip(NAMES, values, strict=False))


def test_the_same_order_is_tau_1_and_the_opposite_minus_1() -> None:
    same = fidelity(configs(1, 2, 3, 4), configs(10, 20, 30, 40), {}, 0.2, 3)
    assert same
    assert (same.tau, same.top, same.top_overlap, same.advice) == (1, 3, 3, None)
    assert same.p_value == pytest.approx(2 / math.factorial(4))
    opposite = fidelity(configs(1, 2, 3, 4), configs(4, 3, 2, 1), {}, 0.2, 2)
    assert opposite
    assert (opposite.tau, opposite.top_overlap) == (-1, 0)
    assert opposite.advice
    assert "training.truncation = 0.4 instead of 0.2" in opposite.advice


def test_only_configs_with_both_values_count() -> None:
    found = fidelity(configs(1, 2, math.inf), {**configs(1, 2, 3), "z": 0.0}, {}, 0.2, 3)
    assert found
    assert (found.configs, found.top) == (2, 1), "of two configs both are among the best two"
    assert fidelity(configs(1), configs(1, 2), {}, 0.2, 3) is None


def test_equal_values_have_no_order() -> None:
    found = fidelity(configs(1, 1, 1), configs(1, 2, 3), {}, 0.2, 3)
    assert found
    assert found.tau is None
    assert found.advice is None


def test_trials_as_long_as_full_runs_cannot_be_lengthened() -> None:
    found = fidelity(configs(1, 2, 3, 4), configs(4, 3, 2, 1), {}, 1.0, 2)
    assert found
    assert (found.tau, found.advice) == (-1, None)


@pytest.mark.parametrize(
    ("full", "advised"),
    [((1, 2, 3, 4), False), ((1, 2, 4, 3), False), ((2, 1, 4, 3), True)],
    ids=["tau 1", "tau 0.67", "tau 0.33"],
)
def test_advice_is_given_below_a_tau_of_0_6(full: tuple[float, ...], advised: bool) -> None:
    found = fidelity(configs(1, 2, 3, 4), configs(*full), {}, 0.2, 3)
    assert found
    assert (found.advice is not None) == advised


@pytest.mark.parametrize(("top", "overlap"), [(1, 0), (2, 1), (3, 3)])
def test_the_best_by_one_that_are_among_the_best_by_the_other(top: int, overlap: int) -> None:
    found = fidelity(configs(1, 2, 3, 4), configs(3, 1, 2, 4), {}, 0.2, top)
    assert found
    assert (found.top, found.top_overlap) == (top, overlap)


def test_the_advice_is_where_the_full_runs_curves_begin_to_agree_with_their_ends() -> None:
    full = configs(1.0, 2.0, 3.0, 4.0)
    crossing = {  # in the opposite order until half of the run
        name: [(share, value if share >= 0.5 else 5 - value) for share in (0.1, 0.3, 0.5, 0.7, 1.0)]
        for name, value in full.items()
    }
    curves = {name: [(s, v + 10 * (s < 0.5)) for s, v in curve] for name, curve in crossing.items()}
    found = fidelity(configs(4, 3, 2, 1), full, curves, 0.2, 3)
    assert found
    assert found.advice
    assert "try training.truncation = 0.5 instead of 0.2" in found.advice


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
