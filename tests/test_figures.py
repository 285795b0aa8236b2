"""Figures in pages and in Optuna's dashboard: what they show, and what they leave off their axes."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.confirmation.candidates import Candidate, scaled
from search.confirmation.plan import Plan
from search.confirmation.runs import Runs
from search.pages import confirmation_figures
from search.pages.dashboard_figures import to_plotly
from search.pages.drawing import picture
from search.study.recorded import by_kind
from search.trial import StopReason
from space.hyperparameters import Hyperparameters
from tests import dashboards
from tests.dashboards import Dashboard, figures_of
from tests.shown import confirmed
from tests.studies import BASE, FLAT, evaluations, run

# The rate line, which both draw from the same chart


HOSTILE = "_<b>$x$</b> & name"
STOCK = Candidate("V0", Hyperparameters(1e-3, 0.01), 0, 4.0)
TRIAL = Candidate("trial 7", Hyperparameters(2e-3, 0.02), 7, 3.5)
HALF = scaled(STOCK, 0.4)
TURNS = [2.7, 2.6, 2.8, 2.9]  # at step 40 of 100
FALLS = [2.8, 2.7, 2.6, 2.5, 2.4]


def full_run(config: Candidate, losses: Sequence[float], reason: StopReason = StopReason.FINISHED) -> FrozenTrial:
    """A full run of 100 steps with the seed of the search, evaluated every 20."""
    found = [vars(e) for e in evaluations(list(losses))]
    attributes = {"candidate": asdict(config), "seed": 1, "length": "full", "stop_reason": str(reason)}
    given = by_kind({**attributes, "run": {"evaluations": found, "record": None, "error": None}})
    if reason == StopReason.DIVERGED:
        return create_trial(state=TrialState.PRUNED, **given)
    return create_trial(state=TrialState.COMPLETE, value=min(losses), **given)


def line_of(*trials: FrozenTrial, rates: Any = "turn", best: Candidate = TRIAL) -> Runs:
    for number, trial in enumerate(trials):
        trial.number = number
    return Runs(trials, Plan(1, 4, 100, BASE.mel_ce, rates, (STOCK,), (best,)))


def over(best: Candidate = TRIAL) -> Runs:
    """With the best trial at the rate that the stock recipe's turn tells."""
    capped = line_of(full_run(STOCK, TURNS), best=best).line.missing[-1]
    return line_of(full_run(STOCK, TURNS), full_run(HALF, FALLS), full_run(capped, FALLS[1:]), best=best)


LINES = {
    "over": (over(), ["V0", "V0 at 0.4 x lr, races", "trial 7 at 0.2 x lr"]),
    "one run": (line_of(full_run(STOCK, TURNS)), ["V0"]),
    "one evaluation": (line_of(full_run(STOCK, [2.5])), ["V0"]),
    "nothing turned": (line_of(full_run(STOCK, FALLS), full_run(TRIAL, FALLS)), ["V0", "trial 7"]),
    "diverged": (line_of(full_run(STOCK, [3.5, 3.1], StopReason.DIVERGED)), ["V0, diverged"]),
    "fixed": (line_of(full_run(STOCK, TURNS), full_run(TRIAL, TURNS), rates=(0.5, 0.25)), ["V0", "trial 7"]),
    "hostile": (over(Candidate(HOSTILE, TRIAL.point, 7, 3.5)), ["V0 at 0.4 x lr, races", f"{HOSTILE} at 0.2 x lr"]),
}


TURNED = ("over", "one run", "fixed", "hostile")  # the sum of a run that diverged says nothing


@pytest.mark.parametrize("name", LINES)
def test_a_page_and_the_dashboard_draw_each_run_that_has_ended(name: str) -> None:
    runs, names = LINES[name]
    chart = confirmation_figures.rate_line(runs)
    drawn = picture(chart)
    assert chart and drawn
    figure = json.loads(to_plotly(chart).to_json())
    for texts in (re.sub(r"<[^>]+>", "\n", str(drawn.svg)), " ".join(trace["name"] for trace in figure["data"])):
        assert all(each.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in texts for each in names)
        assert ("where runs turn" in texts) is ("vertical band" in chart.caption) is (name in TURNED)
    assert len(figure["data"]) == len(runs.line.ended) + ("vertical band" in chart.caption)
    if name != "one evaluation":  # which alone has no height
        assert figure["layout"]["yaxis"]["range"][1] < BASE.mel_ce
        assert "untouched base, 5.0000 (above)" in figure["layout"]["title"]["text"]


def test_runs_that_turned_lie_at_the_sum_of_rates() -> None:
    chart = confirmation_figures.rate_line(LINES["over"][0])
    assert chart
    stock, half, best, band = chart.series
    assert [each.hollow for each in (stock, half, best)] == [False, True, True], "filled where it turned"
    assert [each.x[each.marked or 0] for each in (stock, half)] == pytest.approx([0.04, 0.04]) == band.x


# In the dashboard


@pytest.fixture
def small(tmp_path: Path) -> tuple[optuna.Study, Dashboard]:
    return dashboards.small(tmp_path)


def named(figure: dict[str, Any]) -> str:
    """Its title and the texts beside its lines."""
    layout = figure["layout"]
    return " ".join([layout["title"]["text"], *(each["text"] for each in layout.get("annotations", []))])


def test_a_base_far_above_the_trials_is_named_and_does_not_squeeze_them(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small  # with a base of 5.0
    for value in (1.59, 1.61, 1.63, 1.66):
        run(study, {**FLAT, "lr": value / 1000}, [value])
    for figure in figures_of(dashboard.refreshed()).values():
        low, high = figure["layout"]["yaxis"]["range"]
        assert 1.5 < low < 1.59 and 1.66 < high < 1.75
        assert "untouched base, 5.0000 (above)" in named(figure)
        assert not figure["layout"].get("shapes")
    run(study, FLAT, [4.5])
    figure = figures_of(dashboard.refreshed())["history"]
    assert figure["layout"]["yaxis"]["range"][1] > 5 and "untouched base, 5.0000" in named(figure)
    assert figure["layout"]["shapes"]


@pytest.mark.parametrize(
    ("values", "is_near"),
    [
        ({"V0": [1.62, 1.66, 1.64], "trial 0": [1.59, 1.61, 1.60]}, False),
        ({"V0": [4.8, 4.9, 4.85], "trial 0": [4.7, 4.75, 4.72]}, True),
    ],
)
def test_a_race_shows_all_runs_and_the_interval_to_the_stock_recipe(
    values: dict[str, list[float]], is_near: bool, small: tuple[optuna.Study, Dashboard]
) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    confirmed(dashboard.settings, values)
    figures = figures_of(dashboard.refreshed(2))
    race, against = figures["confirmation"], figures["against-stock"]
    low, high = race["layout"]["xaxis"]["range"]
    drawn = [value for trace in race["data"] for value in trace["x"]]
    assert low < min(drawn) and max(drawn) < high
    assert bool(race["layout"].get("shapes")) == is_near == (high > 5)
    assert ("untouched base, 5.0000" if is_near else "untouched base, 5.0000 (above)") in named(race)
    [trace] = against["data"]
    assert trace["x"] == pytest.approx([sum(values["V0"]) / 3 - sum(values["trial 0"]) / 3], rel=1e-4)
    low, high = against["layout"]["xaxis"]["range"]
    assert low < 0 < trace["x"][0] - trace["error_x"]["arrayminus"][0], "it is proven better"
    assert trace["x"][0] + trace["error_x"]["array"][0] < high


def test_names_in_a_figure_are_text_and_figures_are_small(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    confirmed(dashboard.settings, {"V0": [3.9, 3.95, 3.92], "trial <b>1</b>": [3.0, 3.06, 3.01]})
    document = dashboard.refreshed(2)
    names = figures_of(document)["confirmation"]["layout"]["yaxis"]["ticktext"]
    assert names == ["V0", "trial &lt;b&gt;1&lt;/b&gt; (exported)"]
    assert len(json.dumps(document["plotly_graph_objects"])) < 9000, "three, without Plotly's template"
