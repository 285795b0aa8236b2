"""The figures and the table of a rate line, also while it goes on, and of runs that diverge or have odd names."""

import json
import math
import re
from collections.abc import Sequence
from typing import Any, cast

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.confirmation.candidates import Candidate, scaled
from search.confirmation.plan import Plan
from search.confirmation.proof import rate_line
from search.confirmation.runs import Runs
from search.pages import confirmation_figures, dashboard_figures, rate_curves
from search.pages.material import Material
from search.pages.rate_curves import curves
from search.show.confirmation_tables import LINE_COLUMNS, line_rows, line_sentence
from search.study.recorded import by_kind
from search.trial import StopReason
from space.hyperparameters import Hyperparameters
from tests.studies import BASE, evaluations

HOSTILE = "_<b>$x$</b> & a name that is so long that no legend has room for it"
STOCK = Candidate("V0", Hyperparameters(1e-3, 0.01), 0, 4.0)
TRIAL = Candidate("trial 7", Hyperparameters(2e-3, 0.02), 7, 3.5)
HALF = scaled(STOCK, 0.4)
TURNS = [2.7, 2.6, 2.8, 2.9]  # at step 40 of 100
FALLS = [2.8, 2.7, 2.6, 2.5, 2.4]
DIVERGES = [3.5, 3.1]


def full_run(config: Candidate, losses: Sequence[float], reason: StopReason = StopReason.FINISHED) -> FrozenTrial:
    """A full run of 100 steps with the seed of the search, evaluated every 20."""
    found = [vars(e) for e in evaluations(list(losses))]
    attributes = {"candidate": config.to_dict(), "seed": 1, "length": "full", "stop_reason": str(reason)}
    given = by_kind({**attributes, "run": {"evaluations": found, "record": None, "error": None}})
    if reason == StopReason.DIVERGED:
        return create_trial(state=TrialState.PRUNED, **given)
    return create_trial(state=TrialState.COMPLETE, value=min(losses), **given)


def line_of(*trials: FrozenTrial, rates: Any = "turn", best: Candidate = TRIAL) -> Runs:
    for number, trial in enumerate(trials):
        trial.number = number
    return Runs(trials, Plan(1, 4, 100, BASE.mel_ce, rates, (STOCK,), (best,)))


def capped(best: Candidate = TRIAL) -> Candidate:
    """The best trial at the rate that the stock recipe's turn tells."""
    return line_of(full_run(STOCK, TURNS), best=best).line.missing[-1]


def over(best: Candidate = TRIAL) -> Runs:
    return line_of(full_run(STOCK, TURNS), full_run(HALF, FALLS), full_run(capped(best), FALLS[1:]), best=best)


LINES = {
    "over": over(),
    "one run": line_of(full_run(STOCK, TURNS)),
    "one evaluation": line_of(full_run(STOCK, [2.5])),
    "nothing turned": line_of(full_run(STOCK, FALLS), full_run(TRIAL, FALLS)),
    "diverged": line_of(full_run(STOCK, DIVERGES, StopReason.DIVERGED)),
    "fixed": line_of(full_run(STOCK, TURNS), full_run(TRIAL, TURNS), rates=(0.5, 0.25)),
    "hostile": over(Candidate(HOSTILE, TRIAL.point, 7, 3.5)),
}


def plotly(runs: Runs) -> dict[str, Any] | None:
    class Part:
        """Of a `Material`, what the figure reads."""

        def __init__(self) -> None:
            self.runs, self.findings = runs, type("Found", (), {"base": BASE})

    made = dashboard_figures.rate_line(cast(Material, Part()))
    return None if made is None else json.loads(made.to_json())


@pytest.mark.parametrize("name", LINES)
def test_both_figures_draw_each_run_that_has_ended(name: str) -> None:
    runs = LINES[name]
    picture, figure = confirmation_figures.rate_line(runs), plotly(runs)
    assert picture and figure
    labels = [curve.label for curve in curves(runs)]
    texts = re.sub(r"<[^>]+>", "\n", str(picture.svg))
    assert all(label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in texts for label in labels)
    assert len(figure["data"]) == len(labels) + ("where runs turn" in json.dumps(figure["data"]))
    turned = any(curve.turned for curve in curves(runs))
    assert ("where runs turn" in texts) is ("vertical band" in picture.caption) is turned
    if name != "one evaluation":  # which alone has no height
        assert figure["layout"]["yaxis"]["range"][1] < BASE.mel_ce
        assert "untouched base: 5.0000, above" in figure["layout"]["title"]["text"]


def test_runs_that_turned_lie_at_the_sum_of_rates_and_the_finalist_is_named() -> None:
    stock, half, best = curves(LINES["over"])
    assert stock.turned and not half.turned and not best.turned
    assert stock.sums[stock.lowest] == pytest.approx(0.04) == pytest.approx(LINES["over"].line.sum_of_rates)
    assert half.label == "lr 4.00e-04: V0 at 0.4 x lr, races" and stock.is_stock
    assert half.sums[half.lowest] == pytest.approx(0.04)  # its last step


def test_a_line_that_goes_on_names_what_is_to_come() -> None:
    picture = confirmation_figures.rate_line(LINES["one run"])
    assert picture and "The line is not over; next: V0 at 0.4 x lr, trial 7 at 0.2 x lr." in picture.caption
    assert confirmation_figures.rate_line(line_of()) is None and plotly(line_of()) is None
    assert rate_line(line_of()).steps == []


def test_a_diverged_run_is_crossed_out_and_tells_no_sum() -> None:
    [curve] = curves(LINES["diverged"])
    assert curve.diverged and not curve.turned and curve.label.endswith(", diverged")
    found = rate_line(LINES["diverged"])
    assert dict(zip(LINE_COLUMNS, line_rows(found)[0], strict=True))["lowest"] == "diverged"
    assert line_sentence(found).startswith("Runs diverged and none turned")
    assert curves(line_of(full_run(STOCK, [], StopReason.DIVERGED))) == []  # before its first evaluation


def test_of_many_runs_the_lowest_are_drawn() -> None:
    rates = tuple(i / 20 for i in range(1, 20))
    ended = [full_run(scaled(TRIAL, rate), [3 + rate, 2 + rate]) for rate in rates]
    runs = line_of(full_run(STOCK, [9.0, 8.0]), full_run(TRIAL, FALLS), *ended, rates=rates)
    shown = rate_curves.drawn(curves(runs))
    assert len(shown) == rate_curves.MOST and shown[0].is_stock and math.isclose(min(shown[1].values), 2.05)
    picture = confirmation_figures.rate_line(runs)
    assert picture and "8 of 21 runs are drawn" in picture.caption
