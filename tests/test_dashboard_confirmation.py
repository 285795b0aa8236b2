"""What the dashboard shows of a confirmation."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import get_storage
from optuna.trial import create_trial

from search.confirmation import confirm as session
from search.confirmation.candidates import Candidate
from search.errors import UserError
from search.pages import trial_figures as figures
from search.settings import best_config as written
from search.study import storage
from tests import dashboards
from tests.dashboards import Served, figures_of, pairs
from tests.markdown import read
from tests.shown import V0, confirmed
from tests.studies import FLAT, STEPPED, evaluations, run


@pytest.fixture
def small(tmp_path: Path) -> tuple[optuna.Study, Served]:
    return dashboards.small(tmp_path)


def candidate(**changed: Any) -> dict[str, Any]:
    return {**Candidate("V0", V0).to_dict(), **changed}


def test_a_confirmation_is_shown_with_the_search_and_by_itself(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    run(study, STEPPED, [3.5, 3.25])
    assert "`study.py confirm` proves the winner" in served.study()["note"]["body"]
    confirmed(served.settings, {"V0": [3.9, 3.95, 3.92], "trial <b>1</b>": [3.0, 3.06, 3.01]})
    search, proof = served.study(), served.study("miniature.confirm")
    assert "is better than the stock recipe (V0), by 0.8950 nats" in read(search["note"]["body"])
    assert "Next: study.py export" in read(search["note"]["body"])
    assert "is better than the stock recipe (V0), by 0.8950 nats" in read(proof["note"]["body"])
    assert pairs(proof["trials"][4]["user_attrs"]).items() >= {"config": "trial <b>1</b>", "seed": "2"}.items()
    assert "| stock recipe, trial 1 |" in proof["trials"][4]["note"]["body"]  # of the same seed
    assert "40 of 1000" in proof["trials"][4]["note"]["body"]
    assert "confirm%2F4%2F&smoothing=0#timeseries" in proof["trials"][4]["note"]["body"]
    for document in (search, proof):
        found = figures_of(document)
        assert found.keys() == {"confirmation", "evaluations"}, "two configs are too few to rank"
    mean = found["confirmation"]["data"][1]
    assert mean["y"] == ["trial &lt;b&gt;1&lt;/b&gt; (exported)", "V0"]  # Plotly renders some tags
    assert mean["x"][0] == pytest.approx(3.03)  # the race was over after two seeds
    assert 0 < mean["error_x"]["array"][0] == pytest.approx(mean["error_x"]["arrayminus"][0])


def test_a_confirmation_that_is_not_over_says_so(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    confirmed(served.settings, {"V0": [3.9, 3.95], "trial 1": [3.0, 3.06]}, over=False)
    trial = get_storage(storage.open_storage(served.settings.storage_url)).get_all_trials(2)[-1]
    for key, value in {"candidate": candidate(), "seed": 1, "length": "full"}.items():
        served.storage.set_trial_user_attr(trial._trial_id, key, value)
    proof = served.study("miniature.confirm")
    assert "It is not over: 4 of 5 runs have ended." in proof["note"]["body"]
    assert "`study.py confirm` goes on" in served.study()["note"]["body"]
    assert proof["best_trials"] == []
    assert pairs(proof["user_attrs"])["finished runs"] == "4"


def test_what_a_confirmation_exports_is_called_its_best(small: tuple[optuna.Study, Served]) -> None:
    """Its lowest run may be one of luck, as the lowest of a search may be a repeat of the stock recipe."""
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    run(study, STEPPED, [3.5, 3.25])
    run(study, FLAT, [3.5, 3.0], attributes={"repeat": 1})
    confirmed(
        served.settings,
        {"V0": [3.9, 3.95, 3.92], "trial 1": [3.3, 3.06, 3.2], "trial 1 at 0.5 x lr": [3.0, 3.01, 3.02]},
    )
    assert [trial["number"] for trial in served.study()["best_trials"]] == [1]
    proof = served.study("miniature.confirm")
    assert [trial["number"] for trial in proof["best_trials"]] == [6, 7, 8]
    assert "trial 1 at 0.5 x lr, seed 1, full run" in proof["best_trials"][0]["note"]["body"]
    facts = pairs(proof["user_attrs"])
    assert facts["exported"] == "trial 1 at 0.5 x lr, mean 3.0100 nats per audio token, 3 seeds"
    assert "best" not in facts
    assert "trial 1 at 0.5 x lr (exported)" in figures_of(proof)["confirmation"]["data"][1]["y"]
    assert "trial 1 at 0.5 x lr" in read(proof["note"]["body"])
    assert "not proven" not in served.study()["note"]["body"]


def test_a_confirmation_of_another_search_is_not_taken_for_a_search(small: tuple[optuna.Study, Served]) -> None:
    """One of other settings, or whose search was deleted."""
    study, served = small
    confirmed(served.settings, {"V0": [3.9, 3.95], "trial 1": [3.0, 3.06]})
    settings = served.settings
    another = settings.study.model_copy(update={"name": "another", "storage": settings.storage_url})
    beside = Served(settings.model_copy(update={"study": another}))
    notes = [beside.study("miniature.confirm")["note"]["body"]]
    optuna.delete_study(study_name="miniature", storage=study._storage)
    notes.append(served.study("miniature.confirm")["note"]["body"])
    for note in notes:
        assert (
            "Full runs that prove the search miniature.\n\n4 have finished. What they have come to is shown by" in note
        )
        assert "one seed" not in note and "Next" not in note
    assert pairs(served.study("miniature.confirm")["user_attrs"])["finished runs"] == "4"


ODD: list[dict[str, Any]] = [
    {"candidate": "V0"}, {"candidate": candidate(added=1)}, {"candidate": candidate(point={"lr": "x"})},
    {"candidate": candidate(name=["V0"])}, {"candidate": candidate(trial="3")}, {"candidate": candidate(truncated="3")},
    {"candidate": candidate(pruned_at=-1)}, {"seed": -1}, {"seed": "one"}, {"seed": [1]},
    {"length": {"a": 1}}, {"run": 3}, {"run": {}}, {"run": {"evaluations": [{"step": 1}]}}, {"stop_reason": {"a": 1}},
]  # fmt: skip


def test_a_run_that_this_release_cannot_read_is_not_counted(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    run(study, STEPPED, [3.5, 3.25])
    confirmed(served.settings, {"V0": [3.9, 3.95, 3.92], "trial 1": [3.0, 3.06, 3.01]})
    there = optuna.load_study(study_name="miniature.confirm", storage=storage.open_storage(served.settings.storage_url))
    known = {"candidate": candidate(), "seed": 1, "length": "full", "stop_reason": "finished"}
    known |= {"run": {"evaluations": [vars(e) for e in evaluations([4.0])]}}
    made = [create_trial(value=2.0, user_attrs=attributes) for attributes in ({}, *({**known, **odd} for odd in ODD))]
    there.add_trials(made)
    proof = served.study("miniature.confirm")
    told = f"{len(made)} of {len(made) + 6} runs are not counted: this release cannot read them."
    assert told in proof["note"]["body"] and told in served.study()["note"]["body"]
    with pytest.raises(UserError, match=r"run 6, 7, .* of miniature.confirm cannot be read by this release"):
        session.read(served.settings)
    assert len(proof["trials"]) == len(made) + 6
    for document in (proof, served.study()):
        assert "is better than the stock recipe (V0), by 0.8950 nats" in read(document["note"]["body"])
        assert "confirmation" in figures_of(document)
    for odd in ("three", 1, 10**12):
        there.set_user_attr("seeds", odd)
        there.enqueue_trial({})
        assert served.study("miniature.confirm")["trials"]
        with pytest.raises(UserError, match=r"cannot be read by this release"):
            session.read(served.settings)


def config(name: str, short: float | None, full: float | None) -> written.Candidate:
    knobs = written.Knobs(**V0.to_dict())
    return written.Candidate.model_construct(name=name, hyperparameters=knobs, truncated=short, mean=full, runs=[])


def test_names_of_close_configs_cover_neither_each_other_nor_a_point() -> None:
    close = [("trial 34", 2.491, 2.495), ("trial 37", 2.4946, 2.501), ("trial 39", 2.4946, 2.509)]
    beside = [("trial 23", 3.25, 3.43), ("trial 6", 3.3, 3.45), ("trial 8", 3.28, 3.4)]
    for known in ([*close, ("V0", 2.606, 2.624), ("trial 15", 2.79, 2.9)], [*beside, ("V0", 4.0, 3.925)]):
        given = [config(*each) for each in (*known, ("no short run", None, 2.5))]
        figure = figures.fidelity(written.Confirmation.model_construct(candidates=given, audit=None, fidelity=None))
        assert figure
        (left, right), (low, high) = (figure["layout"][axis]["range"] for axis in ("xaxis", "yaxis"))
        line = 0.03 * (high - low)  # half the height of a name
        names = {a["text"]: a for a in figure["layout"]["annotations"]}
        assert {n: (a["x"], a["y"]) for n, a in names.items()} == {n: (x, y) for n, x, y in known}
        assert all(low < a["ay"] < high and low < a["y"] < high for a in names.values())
        for side in ("left", "right"):
            heights = sorted(a["ay"] for a in names.values() if a["xanchor"] == side)
            assert all(b - a >= 2 * line for a, b in pairwise(heights))
        begun = [a for a in names.values() if a["xanchor"] == "left"]
        for _, x, y in known:
            assert not [a for a in begun if abs(a["ay"] - y) < line and 0 <= x - a["ax"] < 0.15 * (right - left)]
        assert names[known[-1][0]]["xanchor"] == "right"
