"""The race: Student's paired test over spent looks, when it is over, and how often luck is declared a win."""

import math
import random
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from search.confirmation.race import FALSE_WINS, Fit, Race, can_win, race, spent
from search.settings.sections import MOST_SEEDS

Truth = dict[str, dict[int, float]]
SEEDS = (1, 2, 3, 4)
nan, inf = math.nan, math.inf


def by_seed(**values: Sequence[float]) -> Truth:
    """The runs of each config with seeds 1, 2, …; nan: it comes to nothing."""
    return {config: dict(enumerate(runs, 1)) for config, runs in values.items()}


def drawn(rng: random.Random, seeds: Sequence[int] = SEEDS, **effects: float) -> Truth:
    """Runs whose seeds move all configs together, five times as far as the noise of 1 does each."""
    common = {seed: rng.gauss(0, 5) for seed in seeds}
    return {config: {s: common[s] + e + rng.gauss(0, 1) for s in seeds} for config, e in effects.items()}


def raced(truth: Truth, seeds: Sequence[int] = SEEDS, base: float = 1e6) -> tuple[Race, list[tuple[str, int]]]:
    """The race by what it asks for, and all runs that it asked for. Where `truth` has no run, none came to an end."""
    values: Truth = {}
    asked: list[tuple[str, int]] = []
    while (found := race(values, list(truth), seeds, set(asked), base)).missing:
        asked += found.missing
        for config, seed in found.missing:
            if not math.isnan(truth[config].get(seed, nan)):
                values.setdefault(config, {})[seed] = truth[config][seed]
    assert len(set(asked)) == len(asked)
    return found, asked


def has_winner(found: Race) -> bool:
    best = found.fit.best
    return best != "V0" and found.fit.difference("V0", best).is_above_zero


# The test


@pytest.mark.parametrize("challengers", [1, 2])
@pytest.mark.parametrize("count", [3, 4, 7])
def test_a_look_is_student_s_paired_test_at_the_level_that_it_spends(count: int, challengers: int) -> None:
    """A third config shares what is spent, and changes nothing else. It ran fewer seeds."""
    truth = drawn(random.Random(7), range(1, count + 1), V0=1.0, a=0.0, b=0.5)
    truth["b"] = dict(list(truth["b"].items())[:2])
    fit = Fit({config: truth[config] for config in ("V0", "a", "b")[: 1 + challengers]})
    stock, other = ([*truth[config].values()] for config in ("V0", "a"))
    alpha, found = spent(count) / challengers, fit.difference("V0", "a")
    interval = stats.ttest_rel(stock, other).confidence_interval(1 - 2 * alpha)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    p = stats.ttest_rel(stock, other, alternative="greater").pvalue
    assert found.p == pytest.approx(min(1, p * 0.05 / alpha))
    assert fit.level == pytest.approx(1 - 2 * spent(count))
    assert challengers == 1 or fit.difference("V0", "b").low is None, "two seeds are no look"


def test_all_looks_together_spend_at_most_5_percent_and_a_later_one_is_free_of_how_many_are_planned() -> None:
    assert sum(map(spent, range(MOST_SEEDS + 1))) <= FALSE_WINS == 0.05
    assert spent(2) == 0 and all(spent(count) > 0 for count in range(3, MOST_SEEDS + 1))


def test_the_distance_from_the_base_is_student_s_test_of_all_runs() -> None:
    fit = Fit(by_seed(V0=[2.0, 2.1, 2.3]), more={"V0": {0: 2.2}})
    interval = stats.ttest_1samp([2.0, 2.1, 2.3, 2.2], 2.5).confidence_interval(1 - 2 * spent(4))
    found = fit.below(2.5, "V0")
    assert (found.low, found.high) == pytest.approx((2.5 - interval.high, 2.5 - interval.low))
    assert fit.means["V0"] == pytest.approx(6.4 / 3), "means are of the race alone"


def test_the_best_is_found_at_the_seeds_that_both_ran() -> None:
    """The second seed is a hard one; who left before it must not look better for that."""
    assert Fit(by_seed(V0=[2.0, 3.0], a=[2.1], b=[1.9, 2.95])).best == "b"
    assert Fit(by_seed(V0=[2.0, inf], a=[2.1], b=[2.0, 2.3])).best == "a", "by their means where V0 diverged"
    assert Fit(by_seed(V0=[2.0, 2.0], a=[2.0, 2.0])).best == "V0", "of ties the stock recipe"


def test_a_proven_config_goes_before_an_unproven_one_that_is_lower() -> None:
    proven, lucky = [1.9, 1.91, 1.89], [1.0, 2.2, 2.0]
    fit = Fit(by_seed(V0=[2.0, 2.01, 1.99], default=proven, trial=lucky))
    assert fit.means["trial"] < fit.means["default"] and not fit.difference("V0", "trial").is_above_zero
    assert fit.best == "default" and fit.difference("V0", "default").is_above_zero
    assert Fit(by_seed(V0=[2.0, 2.01, 1.99], default=[1.9, 2.2, 2.0], trial=lucky)).best == "trial", "none is proven"
    assert Fit(by_seed(V0=[2.0, 2.01, 1.99], a=proven, b=[value - 0.5 for value in proven])).best == "b", "both are"


# Who can still win


LIMITS = {(n, configs): stats.t.ppf(1 - spent(n) / configs, n - 1) for n in range(3, 8) for configs in (1, 2)}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-40, 40).map(float), max_size=5), st.integers(3, 7), st.integers(1, 2), st.integers(0, 999))
def test_who_can_win_has_a_best_case_that_wins_and_who_cannot_has_none(
    known: list[float], seeds: int, configs: int, chance: int
) -> None:
    def wins(more: Sequence[float]) -> bool:
        found = [*known, *more]
        centre, error = fmean(found), stdev(found) / math.sqrt(len(found))
        return centre > 1e-12 and centre > LIMITS[len(found), configs] * error

    counts = [count - len(known) for count in range(max(3, len(known) + 1), seeds + 1)]  # of seeds until each look
    # By calculus the best that can follow is Q / S each time; where S is not above 0, as much as can be.
    total = math.fsum(known)
    each = math.fsum(d * d for d in known) / total if total > 0 else 1e9
    is_open = any(wins([each] * count) for count in counts)
    assert can_win(known, seeds, configs) == is_open
    rng = random.Random(chance)
    scale = 10 ** rng.uniform(0, 4)
    others = [[rng.gauss(scale, scale / 3) for _ in range(count)] for count in counts for _ in range(30)]
    assert is_open or not any(map(wins, others))


RACES: dict[str, tuple[Truth, dict[str, int], int, str]] = {  # truth, who is out, number of runs, best
    "proven at the first look": (by_seed(V0=[3.0, 3.1, 2.9], a=[2.0, 2.11, 1.9]), {}, 6, "a"),
    "behind with the first seed": (by_seed(V0=[2.0, 2.1], a=[2.1]), {"a": 1}, 3, "V0"),
    "no further seed could prove it": (by_seed(V0=[2.0, 2.0, 2.0], a=[1.0, 1.9, 1.9]), {"a": 3}, 6, "a"),
    "proven at the last look": (by_seed(V0=[2.0] * 4, a=[1.5, 1.6, 1.8, 1.65]), {}, 8, "a"),
    "of two the hopeless one leaves": (
        by_seed(V0=[3.0, 3.1, 2.9], a=[3.2], b=[2.0, 2.101, 1.9]), {"a": 1}, 7, "b",
    ),
    "diverged with its first seed": (by_seed(V0=[2.0, 2.1], a=[inf]), {"a": 1}, 3, "V0"),
    "diverged with its second seed": (by_seed(V0=[2.0, 2.1], a=[1.0, inf]), {"a": 2}, 4, "V0"),
    "the stock recipe diverged": (by_seed(V0=[inf, 2.0], a=[2.0, 2.1]), {}, 4, "a"),
    "all diverged": (by_seed(V0=[inf], a=[inf]), {"a": 1}, 2, "V0"),
    "a run came to nothing": (by_seed(V0=[3.0, 3.1, nan, 2.9], a=[2.0, 2.11, 1.9, 1.9]), {}, 8, "a"),
    "all runs of a config came to nothing": (by_seed(V0=[2.0, 2.1], a=[nan, nan]), {"a": 2}, 4, "V0"),
    "the stock recipe alone": (by_seed(V0=[2.0, 2.1]), {}, 2, "V0"),
}  # fmt: skip


@pytest.mark.parametrize("name", RACES)
def test_a_race_ends_with_the_winner_and_as_soon_as_nobody_can_win(name: str) -> None:
    truth, dropped, runs, best = RACES[name]
    found, asked = raced(truth)
    assert (found.dropped, len(asked), found.fit.best) == (dropped, runs, best)
    assert has_winner(found) == (best not in ("V0", *dropped) and name != "the stock recipe diverged")


def test_without_any_value_the_race_ends_without_a_winner() -> None:
    found, asked = raced({"V0": {}, "a": {}})
    assert (found.fit.means, found.dropped, len(asked)) == ({}, {"a": 2}, 4)


def test_the_stock_recipe_gets_more_seeds_while_it_may_be_no_better_than_the_base() -> None:
    truth = by_seed(V0=[2.0, 2.3, 2.1, 2.2], a=[2.1])
    for base, seeds in ((9.0, 2), (2.9, 3), (2.4, 4), (2.0, 1)):  # the last: certainly not below
        assert raced(truth, base=base)[1] == [("V0", 1), ("a", 1), *(("V0", seed) for seed in SEEDS[1:seeds])]
    values = {"V0": {1: 2.0}, "a": {1: 2.1}}
    found = race(values, ["V0", "a"], SEEDS, {("V0", 1), ("a", 1)}, 9.0, more={"V0": {0: 2.01}})
    assert not found.missing, "its run on the rate line counts"


def test_more_seeds_later_keep_what_was_won_and_may_win_what_was_not() -> None:
    rng, won_later = random.Random(3), 0
    for _ in range(100):
        truth = drawn(rng, range(1, 21), V0=2.0, a=0.0)
        (few, first), (more, asked) = raced(truth), raced(truth, range(1, 21))
        assert asked[: len(first)] == first
        assert not has_winner(few) or (more.fit.means, asked) == (few.fit.means, first)
        won_later += has_winner(more) and not has_winner(few)
    assert won_later > 10


# How often it errs


def wins(count: int, seeds: Sequence[int], rng: random.Random, **effects: float) -> Any:
    """Of so many races."""
    return stats.binomtest(sum(has_winner(raced(drawn(rng, seeds, **effects), seeds)[0]) for _ in range(count)), count)


@pytest.mark.parametrize("others", [{"a": 0.0}, {"a": 0.0, "b": 0.0}], ids=["one", "two"])
@pytest.mark.parametrize("count", [4, 8])
def test_luck_is_declared_a_win_in_at_most_5_percent_of_the_races(count: int, others: dict[str, float]) -> None:
    """And 6 % is out of question: the 95 % interval of 4,000 races ends below it."""
    found = wins(4000, range(count), random.Random(count), V0=0.0, **others)
    assert found.statistic <= 0.05 and found.proportion_ci().high < 0.06


def test_a_gain_of_four_deviations_is_proven_in_90_percent_of_the_races() -> None:
    assert wins(1000, SEEDS, random.Random(1), V0=4.0, a=0.0).proportion_ci().low >= 0.9


def test_luck_is_declared_a_gain_over_the_base_in_at_most_5_percent_of_the_races() -> None:
    """Of a stock recipe as good as the base, with its run on the rate line: seed 0."""
    rng, count = random.Random(2), 0
    for _ in range(2000):
        values, asked = drawn(rng, range(9), V0=0.0), set()
        while missing := (found := race(values, ["V0"], range(1, 9), asked, 0.0, {"V0": {0: values["V0"][0]}})).missing:
            asked |= set(missing)
        count += found.fit.below(0.0, "V0").is_above_zero
    assert stats.binomtest(count, 2000, 0.05, alternative="greater").pvalue > 0.01
