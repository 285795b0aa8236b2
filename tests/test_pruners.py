import math
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import BasePruner, ThresholdPruner

from search.study.pruners import FirstToFire, MedianRule, TwoIncreasePruner, rises

nan, inf = math.nan, math.inf


def prune_steps(pruner: BasePruner, values: Sequence[float]) -> list[int]:
    """The steps, counted from 1, after which `should_prune` says stop; the trial reports on regardless."""
    trial = optuna.create_study(pruner=pruner).ask()
    found = []
    for step, value in enumerate(values, 1):
        trial.report(value, step)
        if trial.should_prune():
            found.append(step)
    return found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([1, 2, 3], [3]),
        ([1, 2, 3, 4], [3, 4]),
        ([1, 2, 1, 2, 1, 2], []),
        ([1, 2, 3, 1, 2, 3], [3, 6]),
        # PatientPruner(None, 1) stops here: it looks at the best so far, not at consecutive values.
        ([3, 2, 2.5, 2.4], []),
        # Ties
        ([1, 1, 1, 1], []),
        ([1, 2, 2, 3, 4], [5]),
        ([1, 1 + 1e-10, 1 + 2e-10], []),
        # NaN: a rise after a number, none after NaN, and no number is above it
        ([1, 2, nan], [3]),
        ([nan, 1, 2, 3], [4]),
        ([nan, nan, nan], []),
        ([1, 2, nan, nan, 3, 4, 5], [3, 7]),
        # Infinity
        ([1, 2, inf], [3]),
    ],
)
def test_two_increases(values: list[float], expected: list[int]) -> None:
    assert prune_steps(TwoIncreasePruner(min_delta=0.0), values) == expected


@pytest.mark.parametrize(
    ("n_increases", "values", "expected"),
    [
        (1, [2, 1, 2, 1], [3]),
        (1, [1, 1, nan], [3]),
        (3, [1, 2, 3, 2, 3, 4, 5], [7]),
    ],
)
def test_n_increases(n_increases: int, values: list[float], expected: list[int]) -> None:
    assert prune_steps(TwoIncreasePruner(n_increases, 0.0), values) == expected


@pytest.mark.parametrize(
    ("min_delta", "values", "expected"),
    [
        (0.5, [1, 1.5, 2], []),  # a rise must exceed it
        (0.5, [1, 1.625, 2.25], [3]),
        (0.5, [1, 2, 2.25, 3], []),  # each rise of its own, not their sum
        (0.5, [1, 2, nan], [3]),
        (1e9, [1, 2, inf], []),
    ],
)
def test_min_delta(min_delta: float, values: list[float], expected: list[int]) -> None:
    assert prune_steps(TwoIncreasePruner(min_delta=min_delta), values) == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 3), st.integers(0, 1))
def test_fires_exactly_at_the_end_of_a_streak(values: list[int], n_increases: int, min_delta: int) -> None:
    streak, expected = 0, []
    for step in range(2, len(values) + 1):
        streak = streak + 1 if values[step - 1] - values[step - 2] > min_delta else 0
        if streak >= n_increases:
            expected.append(step)
    assert prune_steps(TwoIncreasePruner(n_increases, min_delta), values) == expected


@pytest.mark.parametrize(
    ("start", "values", "expected"),
    [
        # From 6 to 2 in two evaluations is 2 each: two rises must end above 3.
        (6, [4, 2, 2.5, 3], []),
        (6, [4, 2, 2.5, 3.1], [4]),
        (6, [4, 2, 3.5, 3.4, 3.45], []),  # far above the lowest, but not twice in a row
        (6, [4, 2, 2.9, 2.5, 2.8, 3.2], [6]),  # since the lowest, not since the last fall
        (6, [4, 3, 2, 2, 2.5, 2.6], []),  # of equals the earliest: 4 in three evaluations
        (6, [4, 3, 2, 2, 2.5, 2.7], [6]),
        # One rise more counts however small it is.
        (6, [4, 2, 2.01, 2.02, 2.03, 2.04, 2], [5, 6]),
        # Never below the start: each rise counts.
        (6, [7, 7.1, 7.2, 6.5, 7], [3]),
        (6, [6, 6.1, 6.2], [3]),
        # Without a start the first value stands for it: 4 in two evaluations.
        (None, [6, 4, 2, 2.5, 3], []),
        (None, [6, 4, 2, 2.5, 3.1], [5]),
        (None, [2, 9, 10, 11], [4]),  # while it is the lowest, nothing is known of gains
        # Not numbers
        (6, [4, 2, 2.1, nan], [4]),
        (6, [nan, 4, 2, 2.5, 3, 2.7], [5]),  # 4 in three evaluations
        (6, [4, 2, 2.1, inf], [4]),
    ],
)
def test_auto_measures_a_rise_by_the_gains_before(
    start: float | None, values: list[float], expected: list[int]
) -> None:
    assert prune_steps(TwoIncreasePruner(start=start), values) == expected


@pytest.mark.parametrize(
    ("n_increases", "values", "expected"),
    [
        (1, [4, 2, 2.9, 2, 2.1, 2.2], [6]),
        (1, [4, 2, 3.1], [3]),
        (3, [4, 2, 2.5, 3, 3.1], [5]),
        (3, [4, 2, 2.1, 2.2, 2.3, 2.4], [6]),
    ],
)
def test_auto_and_other_numbers_of_increases(n_increases: int, values: list[float], expected: list[int]) -> None:
    assert prune_steps(TwoIncreasePruner(n_increases, start=6), values) == expected


def test_auto_ends_the_run_that_overfits_by_small_rises() -> None:
    """Held-out real speech: 0.006, 0.009, 0.013 and 0.004 in a row, which 0.02 nats a rise did not end."""
    values = [2.6, 2.0, 1.75, 1.65, 1.61, 1.59, 1.596, 1.605, 1.618, 1.622]
    assert prune_steps(TwoIncreasePruner(min_delta=0.02), values) == []
    assert prune_steps(TwoIncreasePruner(start=3.76), values) == [9, 10]


@settings(deadline=None)
@given(
    st.lists(st.integers(-20, 20), max_size=12),
    st.none() | st.integers(-20, 20),
    st.integers(1, 3),
    st.sampled_from([0.25, 8.0, 1024.0]),
    st.integers(-64, 64),
)
def test_auto_depends_on_no_unit(values: list[int], start: int | None, n: int, scale: float, shift: int) -> None:
    moved = TwoIncreasePruner(n, start=None if start is None else scale * (start + shift))
    found = prune_steps(TwoIncreasePruner(n, start=start), values)
    assert prune_steps(moved, [scale * (value + shift) for value in values]) == found
    rising = [step for step in range(1, len(values) + 1) if rises(values[:step]) >= n]
    assert {step for step in rising if rises(values[:step]) > n} <= set(found) <= set(rising)


def test_values_count_in_the_order_of_their_steps() -> None:
    trial = optuna.create_study(pruner=TwoIncreasePruner(min_delta=0.0)).ask()
    for step, value in [(80, 3.0), (9, 1.0), (10, 2.0)]:
        trial.report(value, step)
    assert trial.should_prune()


def test_a_maximising_study_is_refused() -> None:
    trial = optuna.create_study(direction="maximize", pruner=TwoIncreasePruner()).ask()
    trial.report(1.0, 1)
    with pytest.raises(ValueError, match=r"minimises one objective.*maximize"):
        trial.should_prune()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"n_increases": 0}, "n_increases is 0"),
        ({"n_increases": 2.0}, "n_increases is 2.0"),
        ({"n_increases": True}, "n_increases is True"),
        ({"min_delta": -0.1}, "min_delta is -0.1"),
        ({"min_delta": inf}, "min_delta is inf"),
        ({"min_delta": "seed_noise"}, "min_delta is 'seed_noise'"),
        ({"start": nan}, "start is nan"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}; it must be"):
        TwoIncreasePruner(**arguments)


def completed(*values: float) -> optuna.Study:
    """A study whose trials ended with these values at step 1."""
    study = optuna.create_study()
    for value in values:
        trial = study.ask()
        trial.report(value, 1)
        study.tell(trial, value)
    return study


@pytest.mark.parametrize(
    ("first", "startup", "value", "expected"),
    [
        (1, 3, 2.1, True),
        (1, 3, 2.0, False),  # the median itself
        (1, 3, 2.0 + 1e-10, False),  # a tie with it
        (1, 3, 2.0 + 1e-8, True),
        (2, 3, 2.1, False),  # before its first step
        (1, 4, 2.1, False),  # too few trials have completed
    ],
)
def test_the_median_rule(first: int, startup: int, value: float, expected: bool) -> None:
    study = completed(1.0, 2.0, 3.0)
    trial = study.ask()
    assert not MedianRule(startup, first).prune(study, study.trials[-1])  # it has reported nothing
    trial.report(value, 1)
    assert MedianRule(startup, first).prune(study, study.trials[-1]) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 2, 1], [None, None, None]),
        ([3, 9, 1], [None, "high", None]),
        ([1, 2, 3], [None, None, "rises"]),
        ([1, 2, 9], [None, None, "rises"]),  # both: the first in order
    ],
)
def test_fired_names_the_first_rule_that_stops_a_trial(values: list[float], expected: list[str | None]) -> None:
    pruner = FirstToFire({"rises": TwoIncreasePruner(min_delta=0.0), "high": ThresholdPruner(upper=8)})
    study = optuna.create_study(pruner=pruner)
    trial = study.ask()
    fired = []
    for step, value in enumerate(values, 1):
        trial.report(value, step)
        fired.append(pruner.fired(study, study.trials[0]))
        assert trial.should_prune() == (fired[-1] is not None)
    assert fired == expected
