import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.schedule import to_fractions, to_steps

between = st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True)
fraction_sets = st.sets(between, max_size=9).map(lambda found: tuple(sorted(found)))


@st.composite
def runs(draw: st.DrawFn) -> tuple[tuple[float, ...], int]:
    """Milestones and a horizon with room for them, often with none to spare."""
    fractions = draw(fraction_sets)
    spare = draw(st.integers(0, 3) | st.integers(0, 10**6))
    return fractions, len(fractions) + 1 + spare


@settings(deadline=None)
@given(runs())
def test_steps_strictly_increase_inside_the_run(run: tuple[tuple[float, ...], int]) -> None:
    fractions, horizon = run
    steps = to_steps(fractions, horizon)
    assert len(steps) == len(fractions)
    assert all(a < b for a, b in zip((0, *steps), (*steps, horizon), strict=True))


@settings(deadline=None)
@given(st.data(), st.integers(2, 10**6))
def test_to_fractions_is_the_inverse(data: st.DataObject, horizon: int) -> None:
    steps = tuple(sorted(data.draw(st.sets(st.integers(1, horizon - 1), max_size=9))))
    fractions = to_fractions(steps, horizon)
    assert all(0 < fraction < 1 for fraction in fractions)
    assert to_steps(fractions, horizon) == steps


@pytest.mark.parametrize(
    ("fractions", "horizon", "steps"),
    [
        ((), 1, ()),
        ((1 / 3, 2 / 3), 900, (300, 600)),
        ((1 / 6, 1 / 3, 1 / 2), 4000, (667, 1333, 2000)),
        ((0.5,), 2, (1,)),
        ((0.001,), 10, (1,)),  # 0 would be no step of the run
        ((0.999,), 10, (9,)),  # 10 would come after the last update
        ((0.50, 0.51, 0.52), 10, (5, 6, 7)),  # all three round to 5
        ((0.97, 0.98, 0.99), 10, (7, 8, 9)),
        ((0.1, 0.2, 0.3), 4, (1, 2, 3)),
    ],
)
def test_to_steps(fractions: tuple[float, ...], horizon: int, steps: tuple[int, ...]) -> None:
    assert to_steps(fractions, horizon) == steps


@pytest.mark.parametrize(("count", "horizon"), [(1, 1), (2, 2), (3, 3), (3, 1)])
def test_a_run_too_short_for_its_milestones_is_refused(count: int, horizon: int) -> None:
    fractions = [(i + 1) / (count + 1) for i in range(count)]
    with pytest.raises(ValueError, match=f"^{count} milestones do not fit into a run of {horizon} optimizer steps"):
        to_steps(fractions, horizon)
