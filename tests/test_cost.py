"""What a study costs at most, and when that is told."""

from pathlib import Path
from typing import Any

import pytest

from search.study import findings
from search.workers.cost import Cost, confirmation_costs, pipeline_costs, search_costs
from search.workers.outlook import at_most, forecast
from search.workers.session import _once
from tests.studies import PREPARED, miniature, new_study, three_trials

PARTS = [Cost("search", 4, 400, 40, 4), Cost("rate line", 3, 900, 30, 1), Cost("race", 2, 600, 20, 2)]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, {"rate line": (4, 4000, 1), "race": (8, 8000, 2)}),
        ({"confirm.top": 3, "confirm.seeds": 5}, {"rate line": (8, 8000, 1), "race": (10, 10000, 2)}),
        ({"confirm.rates": [0.5]}, {"rate line": (3, 3000, 3), "race": (8, 8000, 2)}),
        ({"confirm.audit": 2}, {"rate line": (4, 4000, 1), "race": (8, 8000, 2), "audit": (4, 2400, 4)}),
    ],
)
def test_each_part_of_a_confirmation_has_its_price(given: dict[str, Any], told: Any, tmp_path: Path) -> None:
    settings = miniature(tmp_path, {"confirm.top": 1, "confirm.rates": "turn", **given})
    costs = confirmation_costs(settings, PREPARED)
    assert {cost.name: (cost.runs, cost.steps, cost.at_once) for cost in costs} == told
    assert [cost.evaluations for cost in costs if cost.name != "audit"] == [20 * n for n, *_ in list(told.values())[:2]]


def test_what_is_left_of_a_search_and_what_follows_it_are_told_before_they_start(tmp_path: Path) -> None:
    settings = miniature(tmp_path, {"study.trials": 7})
    assert [(cost.runs, cost.steps) for cost in search_costs(settings, PREPARED, 3)] == [(4, 800)]
    assert search_costs(settings, PREPARED, 9) == []
    assert [c.name for c in pipeline_costs(settings, PREPARED, 3)] == ["search", "rate line", "race"]


def test_the_time_of_each_part_is_told_once_a_trial_has_shown_it(tmp_path: Path) -> None:
    text = "at most: search 4 runs, 400 steps; rate line 3 runs, 900 steps; race 2 runs, 600 steps"
    settings = miniature(tmp_path)
    assert at_most(forecast(settings, PARTS, findings.read(new_study(settings)), 2, 0.0)) == text
    (tmp_path / "ran").mkdir()
    study, _ = three_trials(tmp_path / "ran")  # 1 s of set-up, 0.3 s a step, 1.2 s an evaluation
    assert at_most(forecast(settings, PARTS, findings.read(study), 2, 0.0)) == (
        "at most: search 4 runs, 400 steps, 1 m 26 s; rate line 3 runs, 900 steps, 5 m 09 s;"
        " race 2 runs, 600 steps, 1 m 43 s; 8 m 18 s in all, at the pace of the trials so far"
    )


@pytest.mark.parametrize(("before", "total", "told"), [(0, 9, [1]), (0, 1, []), (2, 9, [])])
def test_the_time_is_told_once_a_trial_has_ended(before: int, total: int, told: list[int]) -> None:
    said: list[int] = []
    counted = _once(said.append, before, total)
    for finished in range(before, total + 1):
        counted(finished)
        counted(finished)
    assert said == told
