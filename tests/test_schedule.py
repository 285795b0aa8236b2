import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.schedule import to_steps

fractions_of_a_run = st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True)


@settings(deadline=None)
@given(st.sets(fractions_of_a_run, max_size=9).map(sorted), st.integers(0, 3) | st.integers(0, 10**6))
def test_steps_strictly_increase_inside_the_run(fractions: list[float], spare: int) -> None:
    """Also where the run has no step to spare."""
    horizon = len(fractions) + 1 + spare
    steps = to_steps(fractions, horizon)
    assert len(steps) == len(fractions)
    assert all(a < b for a, b in zip((0, *steps), (*steps, horizon), strict=True))


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


def test_a_run_too_short_for_its_milestones_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^2 milestones do not fit into a run of 2 optimizer steps"):
        to_steps((0.3, 0.6), 2)
