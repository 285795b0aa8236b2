"""Equal or lower: what may decide between recorded values.

The same values must give the same decision on every processor, and sums differ in their last digits from one vector
unit to the next. So values that agree to nine digits are ties. Double precision carries sixteen digits, of which the
least squares of a race lose two or three; the losses themselves are means of float32 numbers, which carry seven. Nine
lies between: no rounding of ours reaches it, and no difference in training is that small.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import TypeVar

from search.trial import Evaluation

_T = TypeVar("_T")

RESOLUTION = 1e-9  # relative to the larger of two values


def is_tie(one: float, other: float) -> bool:
    """Whether two values are equal to within the resolution. Infinity ties with itself; NaN with nothing."""
    return math.isclose(one, other, rel_tol=RESOLUTION)


def is_lower(one: float, other: float) -> bool:
    """Whether `one` is lower by more than the resolution. False when either is NaN."""
    return one < other and not is_tie(one, other)


def ranks(values: Sequence[float]) -> list[int]:
    """The place of each value, from 0 for the lowest; ties share one. Values that are not finite share the last.

    A value ties with a group when it ties with any member, so the ranks do not depend on the order of `values`.
    """
    place, before, found = -1, math.nan, {}
    for value in sorted(filter(math.isfinite, values)):
        place += not is_tie(before, value)
        found[value] = place
        before = value
    return [found.get(value, place + 1) for value in values]


def ranked(items: Iterable[_T], value: Callable[[_T], float]) -> list[_T]:
    """`items` with the lowest value first. Ties keep their order; values that are not finite come last."""
    items = list(items)
    places = ranks([value(item) for item in items])
    return [items[i] for i in sorted(range(len(items)), key=places.__getitem__)]


def lowest(evaluations: Iterable[Evaluation]) -> Evaluation | None:
    """The best evaluation of a run, the earliest of ties; None without a finite one.

    A later evaluation replaces an earlier one only when it is lower, so that the best one, once it was passed, whose
    weights may be gone, never comes back.
    """
    finite = (e for e in evaluations if e.is_finite)
    first = next(finite, None)
    if first is None:
        return None
    return reduce(lambda best, e: e if is_lower(e.mel_ce, best.mel_ce) else best, finite, first)
