"""What the latest trials brought, and a search that ends once more of them are not expected to matter."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.settling import FEWEST, is_settled, worth
from tests.studies import miniature
from tests.test_noise import Search

BASE = 5.0


def trials(values: list[float | None]) -> list[FrozenTrial]:
    """In the order in which they ended; None was pruned."""
    made = []
    for number, value in enumerate(values):
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        trial = create_trial(state=state, value=value)
        trial.number, trial.datetime_complete = number, datetime(2026, 1, 1) + timedelta(minutes=number)
        made.append(trial)
    return made


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([4.0] * (FEWEST - 1), None),
        ([None] * 12, None),
        ([4.0] * 10, (5, 0.0, True)),
        ([4.0] * 9 + [3.995], (5, 0.005, True)),  # 0.5 % of what was gained
        ([4.0] * 9 + [3.98], (5, 0.02, False)),
        ([4.0] * 5 + [3.0] + [None] * 5, (5, 0.0, True)),  # of eleven the last five
        ([None] * 8 + [4.0, 4.0], (5, 1.0, False)),  # against the base
        ([6.0] * 12, (6, 0.0, False)),  # nothing was gained: more trials may
    ],
)
def test_the_later_half_is_compared_with_the_earlier(
    values: list[float | None], expected: tuple[int, float, bool] | None
) -> None:
    found = worth(trials(values), BASE)
    assert (found and (found.trials, pytest.approx(found.gain), found.is_settled)) == expected
    assert is_settled(trials(values), BASE) == bool(expected and expected[2])


def test_they_count_in_the_order_in_which_they_ended() -> None:
    late = trials([3.0, *[4.0] * 9])
    assert is_settled(late, BASE)
    late[0].datetime_complete = datetime(2026, 1, 2)
    assert not is_settled(late, BASE)


@pytest.mark.parametrize("until_settled", [True, False])
def test_a_settled_search_ends_if_it_is_asked_to(tmp_path: Path, until_settled: bool) -> None:
    search = Search(miniature(tmp_path, {"study.until_settled": until_settled}))
    for _ in range(FEWEST):
        search.end(search.begin(), 4.0)
    claim = search.work.claim(search.leases)
    assert (claim.trial_id is None) == until_settled == search.work.is_done(claim)
    search.database.engine.dispose()
