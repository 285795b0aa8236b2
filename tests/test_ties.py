"""Decisions do not hang on rounding: the same values, a few units in the last place apart, decide the same."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from search.confirmation.race import race
from search.confirmation.verdict import Proof
from search.study.findings import Findings, row_of
from search.study.pruners import MedianRule, TwoIncreasePruner
from search.ties import RESOLUTION, is_lower, is_tie, lowest, ranked, ranks
from search.trial import Evaluation

ULPS = 4
GRID = 2.0**-10  # values of the tests: either equal, or further apart than any rounding
# Losses as trials record them: between 0.5 and 9 nats, with ties among them.
LOSSES = st.integers(512, 9216).map(lambda n: n * GRID)
FEW = st.integers(2048, 2052).map(lambda n: n * GRID)

nan, inf = math.nan, math.inf


def moved(value: float, rng: random.Random) -> float:
    """`value`, up to ULPS units in the last place away."""
    towards = rng.choice([-inf, inf])
    for _ in range(rng.randint(0, ULPS)):
        value = math.nextafter(value, towards)
    return value


def evaluation(step: int, value: float) -> Evaluation:
    return Evaluation(step=step, mel_ce=value, text_ce=1.0, probe_mel_ce=1.0, probe_text_ce=1.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([3, 1, 2], [2, 0, 1]),
        ([2, 1, 2, 1 + 1e-10], [1, 0, 1, 0]),
        ([1, 1 + 1e-8], [0, 1]),
        ([1, inf, nan, 2], [0, 2, 2, 1]),
        ([1 + 1.6e-9, 1, 1 + 0.8e-9], [0, 0, 0]),  # by way of the third
    ],
)
def test_ranks(values: list[float], expected: list[int]) -> None:
    assert ranks(values) == expected


def test_ties_keep_their_order() -> None:
    items = {"a": 2.0, "b": 1.0 + 1e-12, "c": 1.0, "d": inf, "e": nan}
    assert ranked(items, items.__getitem__) == ["b", "c", "a", "d", "e"]


def test_the_lowest_evaluation_is_the_earliest_of_ties_and_never_comes_back() -> None:
    values = [nan, 2.0, 1.0, 1.0 - 1e-12, inf, 1.5]
    found = lowest(evaluation(i, v) for i, v in enumerate(values))
    assert found is not None
    assert found.step == 2
    assert lowest([evaluation(1, nan)]) is None
    passed = [1.0, 1.0 - 1.5 * RESOLUTION, 1.0 - 0.75 * RESOLUTION]  # the third ties with both
    assert [lowest(evaluation(i, v) for i, v in enumerate(passed[:n])).step for n in (1, 2, 3)] == [0, 1, 1]  # type: ignore[union-attr]


@given(st.floats(0.1, 100), st.floats(0.1, 100))
def test_of_two_values_one_is_lower_or_they_tie(one: float, other: float) -> None:
    assert [is_lower(one, other), is_tie(one, other), is_lower(other, one)].count(True) == 1


def decided(values: Mapping[str, Mapping[int, float]], configs: Sequence[str], seeds: Sequence[int]) -> Any:
    """Winner, verdict, who was dropped and which runs are next."""
    attempted = {(c, s) for c, runs in values.items() for s in runs}
    found = race(values, configs, seeds, attempted, 4.0)
    if not found.fit.means:
        return None, None, found.dropped, found.missing
    best = found.fit.best
    over_stock = found.fit.difference("V0", best) if best != "V0" and "V0" in found.fit.means else None
    proof = Proof(best, found.fit.means[best], found.fit.below(4.0, best), over_stock, found.fit.level, len(configs), 1)
    return best, proof.verdict, found.dropped, found.missing


@st.composite
def races(draw: st.DrawFn) -> dict[str, dict[int, float]]:
    """Configs with one to three runs each, some of them alike in all of theirs."""
    found: dict[str, dict[int, float]] = {}
    for name in ("V0", "a", "b", "c")[: draw(st.integers(2, 4))]:
        if found and draw(st.booleans()):
            found[name] = dict(found[draw(st.sampled_from(sorted(found)))])
        else:
            count = draw(st.integers(1, 3))
            found[name] = {seed: draw(FEW) for seed in draw(st.permutations([1, 2, 3]))[:count]}
    return found


@settings(max_examples=300, deadline=None)
@given(races(), st.randoms(use_true_random=False))
def test_a_race_decides_the_same_a_few_last_places_away_and_in_any_order(
    values: dict[str, dict[int, float]], rng: random.Random
) -> None:
    expected = decided(values, list(values), [1, 2, 3])
    if expected[0] is not None and not is_clear(values):
        return
    near = {c: {s: moved(v, rng) for s, v in rng.sample(list(runs.items()), len(runs))} for c, runs in values.items()}
    shuffled = dict(rng.sample(list(near.items()), len(near)))
    assert decided(shuffled, list(values), [1, 2, 3]) == expected


def is_clear(values: Mapping[str, Mapping[int, float]]) -> bool:
    """Whether no bound that decides lies at the tolerance's own edge: between a tenth of it and ten times it."""
    fit = race(values, list(values), [1, 2, 3], {(c, s) for c, runs in values.items() for s in runs}, 4.0).fit
    bounds = [fit.below(4.0, fit.best).low]
    bounds += [fit.difference(c, fit.best).low for c in fit.means if c != fit.best]
    edge = RESOLUTION * 4
    return not any(bound is not None and edge / 10 < abs(bound) < edge * 10 for bound in bounds)


@settings(max_examples=100, deadline=None)
@given(st.lists(FEW, min_size=1, max_size=8), st.integers(0, 7), st.randoms(use_true_random=False))
def test_the_best_trial_is_the_same_and_the_stock_recipe_comes_first(
    values: list[float], stock: int, rng: random.Random
) -> None:
    def order(values: Sequence[float]) -> list[int]:
        rows = []
        for number, value in enumerate(values):
            attributes = {"baseline": "V0"} if number == stock else {}
            trial = create_trial(state=TrialState.COMPLETE, value=value, user_attrs=attributes)
            trial.number = number
            rows.append(row_of(trial))
        return [row.trial.number for row in Findings("s", rows, 10, evaluation(0, 5.0), {}).completed]

    expected = order(values)
    assert order([moved(value, rng) for value in values]) == expected
    ties = [number for number in expected if values[number] == min(values)]
    assert expected[0] == (stock if stock in ties else min(ties))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(LOSSES | FEW, min_size=3, max_size=9),
    st.sampled_from([(0.0,), (0.02,), ("auto",), ("auto", 3.5)]),  # 0.02 is no multiple of the grid
    st.randoms(use_true_random=False),
)
def test_the_two_increase_rule_decides_the_same(values: list[float], given: Any, rng: random.Random) -> None:
    rule = TwoIncreasePruner(2, *given)
    near = [moved(value, rng) for value in values]
    assert [rule.fires(near[:n]) for n in range(len(values))] == [rule.fires(values[:n]) for n in range(len(values))]


@settings(max_examples=60, deadline=None)
@given(st.lists(FEW, min_size=3, max_size=7), FEW, st.randoms(use_true_random=False))
def test_the_median_rule_decides_the_same(values: list[float], own: float, rng: random.Random) -> None:
    def pruned(values: Sequence[float], own: float) -> bool:
        study = optuna.create_study()
        for value in values:
            study.add_trial(create_trial(state=TrialState.COMPLETE, value=value, intermediate_values={1: value}))
        trial = study.ask()
        trial.report(own, 1)
        return MedianRule(2, 1).prune(study, study.trials[-1])

    assert pruned([moved(value, rng) for value in values], moved(own, rng)) == pruned(values, own)
