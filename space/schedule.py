"""Milestones between fractions of a run and its optimizer steps."""

from collections.abc import Sequence


def to_steps(fractions: Sequence[float], horizon: int) -> tuple[int, ...]:
    """Optimizer steps at which the learning rate drops in a run of `horizon` optimizer steps.

    A milestone of m means that the first m updates use the rate before it. The steps are strictly increasing,
    at least 1 and below `horizon`, so that each changes at least one update: where rounding would let two meet
    (short runs), the later one moves on, or all move back from the end.

    Raises ValueError when the run has too few steps for so many milestones.
    """
    if len(fractions) > horizon - 1:
        raise ValueError(
            f"{len(fractions)} milestones do not fit into a run of {horizon} optimizer steps; each needs a step of its"
            " own before the last: lengthen the run or lower the number of milestones"
        )
    steps: list[int] = []
    for fraction in fractions:
        steps.append(max(round(fraction * horizon), steps[-1] + 1 if steps else 1))
    latest = horizon - 1
    for i in reversed(range(len(steps))):
        steps[i] = min(steps[i], latest)
        latest = steps[i] - 1
    return tuple(steps)
