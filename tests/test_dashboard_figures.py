"""The figures that Optuna's dashboard gets: what they show, and what they leave off their axes."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.trial import StopReason
from tests import dashboards
from tests.dashboards import Dashboard, figures_of
from tests.shown import confirmed
from tests.studies import FLAT, STEPPED, run


@pytest.fixture
def small(tmp_path: Path) -> tuple[optuna.Study, Dashboard]:
    return dashboards.small(tmp_path)


def named(figure: dict[str, Any]) -> str:
    """Its title and the texts beside its lines."""
    layout = figure["layout"]
    return " ".join([layout["title"]["text"], *(each["text"] for each in layout.get("annotations", []))])


def drawn(figure: dict[str, Any], axis: str) -> list[float]:
    return [value for trace in figure["data"] for value in trace[axis]]


def test_a_base_far_above_the_trials_is_named_and_does_not_squeeze_them(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small  # with a base of 5.0
    for value in (1.59, 1.61, 1.63, 1.66):
        run(study, {**FLAT, "lr": value / 1000}, [value])
    for name, axis in (("history", "yaxis"), ("learning-rate", "yaxis")):
        figure = figures_of(dashboard.refreshed())[name]
        low, high = figure["layout"][axis]["range"]
        assert 1.5 < low < 1.59 and 1.66 < high < 1.75
        assert "untouched base: 5.0000, above" in named(figure)
        assert not figure["layout"].get("shapes")
    run(study, FLAT, [4.5])
    figure = figures_of(dashboard.refreshed())["history"]
    assert figure["layout"]["yaxis"]["range"][1] > 5 and "untouched base, 5.0000" in named(figure)


@pytest.mark.parametrize(
    ("values", "is_near"),
    [
        ({"V0": [1.62, 1.66, 1.64], "trial 0": [1.59, 1.61, 1.60]}, False),
        ({"V0": [4.8, 4.9, 4.85], "trial 0": [4.7, 4.75, 4.72]}, True),
    ],
)
def test_a_confirmations_base_is_drawn_only_if_it_is_near(
    values: dict[str, list[float]], is_near: bool, small: tuple[optuna.Study, Dashboard]
) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    confirmed(dashboard.settings, values)
    figure = figures_of(dashboard.refreshed(2))["confirmation"]
    low, high = figure["layout"]["xaxis"]["range"]
    ends = [
        value + sign * length
        for sign, key in ((1, "array"), (-1, "arrayminus"))
        for value, length in zip(figure["data"][1]["x"], figure["data"][1]["error_x"][key], strict=True)
    ]
    assert low < min(ends + drawn(figure, "x")) and max(ends + drawn(figure, "x")) < high
    assert bool(figure["layout"].get("shapes")) == is_near == (high > 5)
    assert ("untouched base, 5.0000" if is_near else "untouched base: 5.0000, above") in named(figure)


def test_trials_are_told_apart_by_why_they_stopped(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.25, 4.0, 4.1, 4.2], StopReason.TWO_INCREASES, "V0")
    run(study, {**FLAT, "lr": 5e-3}, [4.9, 4.8], StopReason.MEDIAN)
    run(study, STEPPED, [3.5, 2.75])
    run(study, FLAT, [2.0], attributes={"repeat": 1})
    figure = figures_of(dashboard.refreshed())["history"]
    traces = {trace["name"]: trace for trace in figure["data"]}
    assert traces.keys() == {"finished (2)", "two increases (1)", "pruned by the median (1)", "best so far, 2.7500"}
    assert traces["pruned by the median (1)"]["text"] == ["trial 1: 4.8000"]
    rates = figures_of(dashboard.document())["learning-rate"]
    assert rates["layout"]["xaxis"]["type"] == "log" and sorted(drawn(rates, "x")) == [4e-4, 1e-3, 1e-3, 5e-3]
    assert "stock recipe, 4.0000" in named(rates)


def test_names_in_a_figure_are_text_and_figures_are_small(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    confirmed(dashboard.settings, {"V0": [3.9, 3.95, 3.92], "trial <b>1</b>": [3.0, 3.06, 3.01]})
    document = dashboard.refreshed(2)
    assert figures_of(document)["confirmation"]["data"][1]["y"] == ["trial &lt;b&gt;1&lt;/b&gt; (exported)", "V0"]
    assert len(json.dumps(document["plotly_graph_objects"])) < 6000, "two, without Plotly's template"
