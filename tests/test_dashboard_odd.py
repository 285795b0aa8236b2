"""Trials and studies that a newer release has written, or somebody by hand: they cost no page."""

import io
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from search.errors import UserError
from search.pages.dashboard_content import FIGURE
from search.study import findings as report
from search.study.findings import Row, row_of
from search.trial import StopReason
from space.reader import load_preset
from tests import dashboards
from tests.dashboards import Served, figures_of, pairs
from tests.markdown import read
from tests.studies import FLAT, PREPARED, STEPPED, evaluations, record, run

EVALUATIONS = [asdict(e) for e in evaluations([3.5, 3.25])]
RECORD = record(40, [])
SENTENCE = {
    "text": "a", "speaker": "s", "spoken": "1", "recorded": "2", "reference": "3", "seconds": 1.0, "cut": False,
    "similarity": None, "recorded_similarity": None,
}  # fmt: skip
SPEECH = {"step": 20, "sentences": [SENTENCE], "artifacts": {}}
UNREAD = "Not shown, since this release cannot read it: "


@pytest.fixture
def small(tmp_path: Path) -> tuple[optuna.Study, Served]:
    return dashboards.small(tmp_path)


def with_run(**changed: Any) -> dict[str, Any]:
    return {"run": {"evaluations": EVALUATIONS, "record": RECORD, "error": None, **changed}}


def told(study: optuna.Study) -> str:
    """What `status` says of it."""
    console = Console(file=io.StringIO(), width=160)
    report.show(report.read(study), load_preset("miniature"), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def add(study: optuna.Study, value: float, attributes: dict[str, Any]) -> None:
    made = create_trial(value=value, user_attrs={"stop_reason": "finished", **attributes}, intermediate_values={20: 3})
    study.add_trial(made)


ADDED: list[dict[str, Any]] = [
    with_run(evaluations=[{**e, "added": {"a": 1}} for e in EVALUATIONS]),
    with_run(record={**RECORD, "added": [1]}),
    with_run(added="x"),
    {**with_run(), "speech": {**SPEECH, "added": 1}},
    {**with_run(), "speech": {**SPEECH, "sentences": [{**SENTENCE, "added": 1}]}},
]


def test_what_a_newer_release_has_added_is_left_out(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    for added in ADDED:
        add(study, 3.25, added)
    for trial, added in zip(served.study()["trials"][1:], ADDED, strict=True):
        note = trial["note"]["body"]
        assert "| **this trial** |" in note and "3.2500" in note and "What the knobs did" in note, added
        assert ("1. a (1.0 s)" in note) == ("speech" in added)
        assert UNREAD not in note, added


ODD: list[tuple[dict[str, Any], str | None]] = [
    ({"run": 3}, "run"),
    ({"run": ["a"]}, "run"),
    (with_run(evaluations={"a": 1}), "evaluations"),
    (with_run(evaluations=[*EVALUATIONS, 3]), "evaluations"),
    (with_run(evaluations=[{**EVALUATIONS[0], "mel_ce": "low"}]), "evaluations"),
    (with_run(evaluations=[{**EVALUATIONS[0], "mel_ce": "3.5"}]), "evaluations"),
    (with_run(evaluations=[{**EVALUATIONS[0], "probe_mel_ce": 0.0}]), "evaluations"),
    (with_run(evaluations=[{"step": 20}], record=[]), "evaluations"),
    (with_run(record="none", evaluations="none"), "evaluations and record"),
    (with_run(record={**RECORD, "lr_changes": [[67]]}), "record"),
    (with_run(record={**RECORD, "lr_changes": [[math.nan, 1e-4]]}), "record"),
    (with_run(record={**RECORD, "train_seconds": math.inf}), "record"),
    (with_run(record={**RECORD, "lr_last": math.nan}), None),
    (with_run(record={**RECORD, "clipped_share": None}), "record"),
    (with_run(record={"steps": 40}), "record"),
    ({**with_run(), "speech": "said"}, "speech"),
    ({**with_run(), "speech": {**SPEECH, "sentences": [{**SENTENCE, "seconds": "long"}]}}, "speech"),
    ({**with_run(), "speech": {**SPEECH, "artifacts": ["a"]}}, "speech"),
    ({**with_run(), "speech": {**SPEECH, "took": math.nan}}, "speech"),
    ({**with_run(), "owner": "me", "baseline": {"a": 1}, "attempt": "y", "candidate": 3}, None),
    ({**with_run(error={"a": "b"}), "owner": {"host": ["x"]}, "stop_reason": {"why": 1}, "seed": []}, None),
    ({}, None),
]


def test_an_odd_trial_costs_its_own_detail_at_most(small: tuple[optuna.Study, Served]) -> None:
    """Each of them is the best of its study, too, when it has just been added."""
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    run(study, STEPPED, [3.5, 3.25])
    before = served.study()
    for number, (odd, said) in enumerate(ODD, 2):
        value = 3 - number / 100
        add(study, value, odd)
        document = served.study()
        assert document["trials"][1] == before["trials"][1]
        assert document["trials"][0]["note"] == before["trials"][0]["note"]
        note = document["trials"][number]["note"]["body"]
        assert (f"{UNREAD}{said}." in note) if said else (UNREAD not in note), odd
        assert f"Trial {number} is {5 - value:.4f} nats per audio token below" in read(document["note"]["body"])
        assert "evaluations" in figures_of(document)
    assert f"Trial {number} is {5 - value:.4f}" in told(study)
    for trial in document["trials"][2:-1:9]:
        figure = served.content.resource(f"/artifacts/1/{trial['trial_id']}/{FIGURE}")
        assert figure and figure[0] == "image/svg+xml"
    assert pairs(served.studies()[0]["user_attrs"])["length of a trial"] == "200 optimizer steps"


def test_a_repeat_of_an_unknown_form_does_not_compete(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    add(study, 1.0, {**with_run(), "repeat": {"of": "V0"}})
    assert "Trial 0 is 1.0000 nats per audio token below" in read(served.study()["note"]["body"])
    assert "Trial 0 is 1.0000" in told(study)


def test_what_is_saved_is_of_the_trials_that_tell_their_steps(small: tuple[optuna.Study, Served]) -> None:
    study, _ = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    add(study, 3.0, with_run(record={"steps": 40}))
    found = report.read(study)
    assert (found.finished, found.steps) == (2, (40, found.horizon))


def test_names_that_are_no_utf_8_are_shown_as_codes(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    study.set_user_attr("prepared", {**study.user_attrs["prepared"], "warnings": ["wavs/\udcff😀.wav is silent"]})
    assert r"wavs/\xdcff😀.wav is silent" in read(served.study()["note"]["body"])
    assert "Trial 0 is 1.0000" in told(study)


def test_a_study_of_a_newer_release_is_reported_or_refused_in_a_line(small: tuple[optuna.Study, Served]) -> None:
    study, _ = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    known = study.user_attrs["prepared"]
    study.set_user_attr("prepared", {**known, "base_evaluation": {**known["base_evaluation"], "speaker_ce": 1.0}})
    assert "Trial 0 is 1.0000" in told(study)
    study.set_user_attr("prepared", {**known, "base_evaluation": {"mel_ce": "low"}})
    with pytest.raises(UserError, match="study 'miniature' cannot be read by this release of xtts-study"):
        told(study)


def test_trials_by_hand_and_of_any_state_have_a_page(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    for state in (TrialState.FAIL, TrialState.PRUNED, TrialState.WAITING, TrialState.RUNNING):
        study.add_trial(create_trial(state=state, user_attrs={"run": 3, "stop_reason": None, "speech": []}))
    study.add_trial(create_trial(value=float("inf"), intermediate_values={0: float("nan"), 1: float("inf")}))
    document = served.study()
    assert len(document["trials"]) == 6
    assert all(trial["note"]["body"] for trial in document["trials"])


def test_a_study_in_which_nothing_completes_says_why(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    empty = served.study()
    assert "Next: let the search go on; `study.py status`" in empty["note"]["body"]
    assert "Cut short" not in empty["note"]["body"] and figures_of(empty) == {}, "there is nothing to draw"
    for error in ("out of memory", "no <b>room</b>"):
        attributes = {"stop_reason": "crashed", "owner": {"host": "gpu-1"}, "run": {"error": error}}
        study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=attributes))
    note = read(served.study()["note"]["body"])
    assert "Cut short, which says nothing about a config: 2 crashed. The last was trial 1 on gpu-1: no <b>room" in note
    run(study, FLAT, [math.nan], StopReason.DIVERGED)
    assert "Next: all finished trials diverged: look into the data" in read(served.study()["note"]["body"])


def test_a_trial_that_was_looked_at_while_it_was_drawn(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0])
    [known] = study.trials
    storage = study._storage
    trial_id = storage.create_new_trial(study._study_id)
    assert "its parameters are being drawn" in read(served.note(1))
    for name, drawn in known.distributions.items():
        storage.set_trial_param(trial_id, name, drawn.to_internal_repr(known.params[name]), drawn)
    assert served.note(1).splitlines()[0] == served.note(0).splitlines()[0]


def test_a_search_that_runs_is_not_told_to_confirm_yet(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    assert "Next: `study.py confirm` proves the winner" in served.study()["note"]["body"]
    study.ask()
    assert "Next: let the search go on; then `study.py confirm` proves its winner" in served.study()["note"]["body"]


def test_a_study_that_cannot_be_read_is_shown_as_optuna_has_it(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    known = {name: study.user_attrs[name] for name in ("prepared", "horizon", "full_horizon")}
    for odd in (
        {"prepared": "none"}, {"prepared": {**asdict(PREPARED), "train_clips": "many"}}, {"horizon": "long"},
        {"full_horizon": None}, {"prepared": {**asdict(PREPARED), "base_evaluation": {"step": 0}}},
    ):  # fmt: skip
        for key, value in {**known, **odd}.items():
            study.set_user_attr(key, value)
        assert served.study() == served.raw(), odd
        assert served.content.resource(f"/artifacts/1/1/{FIGURE}") is None
        assert "prepared" in pairs(served.studies()[0]["user_attrs"])


def test_a_study_of_a_newer_release_is_read_but_for_what_is_added(small: tuple[optuna.Study, Served]) -> None:
    study, served = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    base = {**PREPARED.base_evaluation, "added": 1}
    study.set_user_attr("prepared", {**asdict(PREPARED), "base_evaluation": base, "added": {"a": [1]}})
    study.set_user_attr("seeds", "three")
    assert "Trial 0 is 1.0000 nats per audio token below" in read(served.study()["note"]["body"])
    assert "100 training clips" in served.study()["note"]["body"]


def test_a_row_without_anything_has_nothing_unread() -> None:
    assert row_of(create_trial(value=1.0)).unread == []
    assert Row(create_trial(value=1.0, user_attrs=with_run()), [], None).unread == ["evaluations", "record"]
