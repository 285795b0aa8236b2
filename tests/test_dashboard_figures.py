"""The dashboard's figures: of a trial, and of all trials of a study."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.pages import trial_figures as figures
from search.pages.dashboard_content import FIGURE
from search.pages.dimensions import dimensions
from search.pages.importance import importance
from search.study import storage
from search.study.findings import Row, read
from search.trial import StopReason
from tests import dashboards, shown
from tests.dashboards import Served
from tests.studies import BASE, FLAT, STEPPED, evaluations, run


@pytest.fixture
def small(tmp_path: Path) -> tuple[optuna.Study, Served]:
    return dashboards.small(tmp_path)


def texts(svg: bytes) -> list[str]:
    """The words of a picture, which is well-formed."""
    return ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_trials_figure_names_its_lines_and_follows_the_study(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0, 4.2])
    path = f"/artifacts/1/1/{FIGURE}"
    found = served.content.resource(path)
    assert found is not None
    assert found[0] == "image/svg+xml"
    words = texts(found[1])
    assert {"optimizer steps", "mel cross-entropy, nats per audio token", "untouched base", "train probe"} <= set(words)
    assert {"trial 0", "median of completed trials", "lowest: 4.0000 at step 40"} <= set(words)
    assert served.content.resource(path) == found
    run(study, STEPPED, [3.5, 3.0, 2.9])
    newer = served.content.resource(path)
    assert newer is not None
    assert newer[1] != found[1]  # the median has moved
    waiting = study.ask(shown.DISTRIBUTIONS)
    empty = served.content.resource(f"/artifacts/1/{waiting._trial_id}/{FIGURE}")
    assert empty is not None
    assert "untouched base" in texts(empty[1])


def rows_of(losses: dict[int, list[float]], reason: StopReason = StopReason.FINISHED) -> list[Row]:
    rows = []
    for number, values in losses.items():
        made = create_trial(state=TrialState.COMPLETE, value=min(values), user_attrs={"stop_reason": str(reason)})
        made.number = number
        rows.append(Row(made, evaluations(values), None))
    return rows


def test_of_many_trials_some_are_drawn_and_the_best_always() -> None:
    rows = rows_of({i: [5.0, 4.0 + (i != 698) * i / 1000] for i in range(701)})
    best = rows[698]
    figure = figures.evaluations(rows, figures.median_of(rows), BASE, best)
    assert figure["layout"]["title"]["text"] == "Evaluations of 235 of 701 trials, evenly over the study"
    lines = figure["data"][0]
    assert len(set(lines["customdata"]) - {None}) == 235
    assert 698 in lines["customdata"]
    assert figure["data"][1]["name"] == "best, trial 698"
    assert figure["data"][2]["y"] == [5.0, 4.349]  # the median of all, not of those that are drawn
    assert len(json.dumps(figure)) < 60_000
    assert figures.evaluations([], [], BASE, None)["data"] == []


def test_the_median_is_of_the_completed_trials() -> None:
    rows = rows_of({0: [4.0, 3.0], 1: [5.0, 3.5], 2: [4.5]})
    pruned = create_trial(state=TrialState.PRUNED, user_attrs={"stop_reason": "median"})
    rows += [Row(pruned, evaluations([9.0, 9.0]), None)] * 3
    assert figures.median_of(rows) == [(20, 4.5), (40, 3.25)]


def test_one_trial_that_diverges_does_not_flatten_the_others() -> None:
    rows = rows_of({i: [4.0, 3.0 + i / 100] for i in range(60)}) + rows_of({60: [1e6]}, StopReason.DIVERGED)
    low, high = figures.evaluations(rows, [], BASE, None)["layout"]["yaxis"]["range"]
    assert 2.8 < low < 3.0
    assert 5.0 < high < 5.2  # the base is in it


def test_the_importances_are_the_reports(tmp_path: Path) -> None:
    """Optuna's are of the survivors: here the better half by learning rate, so that it finds others important."""
    settings = shown.study(tmp_path, 60, speaks=0)
    served = Served(settings)
    asked = served.content.importances(1)
    assert asked is not None
    judged = [row for row in read(storage.load_study(settings)).judged if row.best]
    found = importance(judged, [dimension.name for dimension in dimensions(judged)])
    assert found is not None and found.told == ["lr"]
    names = [name if name == "lr" else f"{name} (chance?)" for name in found.shares]
    assert [each["name"] for each in asked] == names
    assert [each["importance"] for each in asked] == list(found.shares.values())
    kinds = {each["name"]: each["distribution"] for each in asked}
    assert kinds["lr"] == "FloatDistribution" and kinds["clip (chance?)"] == "CategoricalDistribution"
    assert served.content.importances(1) is asked, "nothing has changed"
    study = storage.load_study(settings)
    run(study, FLAT, [4.5, 4.0, 3.9])
    assert served.content.importances(1) not in (None, asked)


def test_few_trials_and_a_confirmation_have_no_importances(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    for value in range(4):
        run(study, FLAT, [4.5, 4.0 + value / 10])
    shown.confirmed(served.settings, {"V0": [3.9, 3.95], "trial 1": [3.4, 3.46]})
    assert served.content.importances(2) == []
    assert served.content.importances(3) is None


def test_of_one_dimension_there_is_nothing_to_weigh(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    scale = {"lr": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)}
    for i in range(12):
        found = evaluations([4.0 - i / 10])
        attributes = {"stop_reason": "finished", "run": {"evaluations": [vars(e) for e in found], "record": None}}
        only = {"lr": 1e-3 * (1 + i / 20)}
        value = found[0].mel_ce
        study.add_trial(create_trial(value=value, params=only, distributions=scale, user_attrs=attributes))
    assert served.content.importances(1) == []
