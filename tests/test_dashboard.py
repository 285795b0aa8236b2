"""What Optuna's own dashboard shows of a study: its notes, columns, sound and figures, as its API answers."""

import json
import math
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.pages.dashboard_notes import Notes
from search.study import storage
from search.study.recorded import by_kind
from tests import dashboards, shown
from tests.dashboards import Dashboard, attributes_of, figures_of
from tests.markdown import LINKED, read, tokens
from tests.reported import racing
from tests.studies import FLAT, STEPPED, evaluations, record, run

UNREAD = "Not shown, since this release cannot read it: "


@pytest.fixture
def small(tmp_path: Path) -> tuple[optuna.Study, Dashboard]:
    return dashboards.small(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a study of 40 trials, of which three spoke, with hostile texts, and one trial more that runs."""
    return Dashboard(shown.study(tmp_path_factory.mktemp("study"))).refreshed()


def test_every_trial_that_ended_has_a_note_and_columns(whole: dict[str, Any]) -> None:
    *ended, running = whole["trials"]
    assert len(ended) == 40 and running["note"]["body"] == ""
    for trial in ended:
        assert "What the knobs did" in trial["note"]["body"] or "Stopped by" in trial["note"]["body"]
        assert {"at_step", "text_ce", "gap", "host", "stop_reason"} <= attributes_of(trial).keys()
    sortable = {each["key"] for each in whole["union_user_attrs"] if each["sortable"]}
    assert sortable >= {"at_step", "text_ce", "gap", "clipped_share", "similarity", "cer"}
    assert whole["objective_names"] == ["lowest evaluation, nats per audio token"]


def test_no_text_of_the_data_breaks_out_of_a_note(whole: dict[str, Any]) -> None:
    notes = [whole["note"]["body"], *(trial["note"]["body"] for trial in whole["trials"])]
    assert sum(shown.HOSTILE[:100] in read(note) for note in notes) == 4  # of the check, and of three that spoke
    for note in notes:
        found = tokens(note)
        assert not {t.type for t in found} & {"html_inline", "html_block", "link_open", "image", "fence"}
        assert not any(LINKED.search(t.content) for t in found if t.type.startswith("text"))


def test_the_study_says_its_answer_and_what_comes_next(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small
    empty = dashboard.refreshed()
    assert "There is no answer yet" in empty["note"]["body"]
    assert figures_of(empty) == {}, "there is nothing to draw"
    crashed = {"stop_reason": "crashed", "owner": {"host": "gpu-1"}, "run": {"error": "no <b>room</b>"}}
    study.add_trial(create_trial(state=TrialState.FAIL, **by_kind(crashed)))
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    study.ask()
    note = read(dashboard.refreshed()["note"]["body"])
    for words in (
        "The best config so far is trial 1 (V0): 4.0000 nats per audio token.", "1.0000 below", "100 training clips",
        "Next (1 running now):", "python study.py confirm finds the rate", "1 crashed. The last was trial 0",
    ):  # fmt: skip
        assert words in note, words


def test_a_confirmation_is_told_in_both_studies(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    run(study, STEPPED, [3.5, 3.25])
    shown.confirmed(dashboard.settings, {"V0": [3.9, 3.95, 3.92], "trial <b>1</b>": [3.0, 3.06, 3.01]}, over=False)
    running = dashboard.document(2)["trials"][-1]["trial_id"]
    dashboard.opened.set_trial_system_attr(running, "candidate", asdict(racing("V0")))
    for key, value in {"seed": 1, "length": "full"}.items():
        dashboard.opened.set_trial_user_attr(running, key, value)
    proof = dashboard.refreshed(2)
    assert "8 runs finished, 1 running, 0 queued" in proof["note"]["body"]
    assert "`python study.py confirm` continues the confirmation" in dashboard.document()["note"]["body"]
    dashboard.opened.set_trial_state_values(running, TrialState.FAIL)
    proof, search = dashboard.refreshed(2), dashboard.document()
    assert "Use trial <b>1</b>: it is better than the stock recipe." in read(search["note"]["body"])
    assert "is better than the stock recipe (V0), by 0.9000 nats" in read(proof["note"]["body"])
    assert all("confirmation" in figures_of(document) for document in (search, proof))
    assert r"trial \<b\>1\</b\> | 3.0233 |" in proof["note"]["body"]
    assert "python study.py export" in read(search["note"]["body"])
    run_of = proof["trials"][5]
    assert attributes_of(run_of)["config"] == "trial <b>1</b>"
    assert "| stock recipe, trial 2 |" in run_of["note"]["body"], "of the same seed"
    assert "40 of 1000" in run_of["note"]["body"] and "`confirm/5/log.txt`" in run_of["note"]["body"]


# When notes are written


def test_a_refresh_without_news_writes_nothing(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    dashboard.notes.refresh()
    before = dashboard.opened.get_study_system_attrs(1)
    dashboard.notes.refresh()
    assert dashboard.opened.get_study_system_attrs(1) == before


def test_a_note_that_somebody_saved_in_the_page_stays(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    dashboard.notes.refresh()
    from optuna_dashboard import save_note

    save_note(study, "mine")
    save_note(optuna.Trial(study, study.ask()._trial_id), "mine, too")
    run(study, STEPPED, [3.5, 3.25])
    study.tell(1, 3.0)
    document = dashboard.refreshed()
    assert document["note"]["body"] == "mine" and document["trials"][1]["note"]["body"] == "mine, too"
    assert "3.2500" in document["trials"][2]["note"]["body"] and "3.2500" in json.dumps(figures_of(document))


def test_a_trial_whose_machine_died_gets_its_note_from_the_next(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    study.add_trial(
        create_trial(
            state=TrialState.FAIL, user_attrs={"stop_reason": "preempted"}, intermediate_values={20: 4.4, 40: 4.6}
        )
    )
    document = dashboard.refreshed()
    assert "4.0000" in document["trials"][0]["note"]["body"]
    assert "its machine or its search disappeared" in document["trials"][1]["note"]["body"]
    assert "4.4000" in document["trials"][1]["note"]["body"]


def test_notes_of_several_machines_are_whole_and_of_all_trials(either: str, tmp_path: Path) -> None:
    """Each adds trials and refreshes; the last one to write has read them all, and no figure is a mixture."""
    study, dashboard = dashboards.small(tmp_path, {"study.storage": either})
    run(study, FLAT, [4.5, 4.0], baseline="V0")

    def machine(number: int) -> None:
        own = Notes(dashboard.settings, storage.open_storage(either))
        for i in range(3):
            value = 3 - number / 10 - i / 100
            study_of_its_own = optuna.load_study(study_name="miniature", storage=storage.open_storage(either))
            study_of_its_own.add_trial(
                create_trial(value=value, **by_kind(with_run()), params={"lr": 1e-3}, distributions=LR)
            )
            own.refresh()

    machines = [threading.Thread(target=machine, args=(number,)) for number in range(2)]
    for each in machines:
        each.start()
    for each in machines:
        each.join()
    document = dashboard.document()
    assert all(trial["note"]["body"] for trial in document["trials"])
    assert f": {3 - 0.12:.4f} nats per audio token" in document["note"]["body"]
    history = figures_of(document)["history"]["data"]
    assert sum(len(trace["x"]) for trace in history if trace["mode"] == "markers") == 7
    before = document["note"]
    assert dashboard.refreshed()["note"] == before


def test_notes_are_not_repaired_with_other_settings(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    training = dashboard.settings.training.model_copy(update={"batch_size": 7})
    other = dashboard.settings.model_copy(update={"training": training})
    Notes(other, dashboard.opened).repair()
    assert dashboard.document()["note"]["body"] == ""
    dashboard.notes.repair()
    assert dashboard.document()["note"]["body"]


# Studies of other releases, and odd ones


EVALUATIONS = [asdict(e) for e in evaluations([3.5, 3.25])]
RECORD = record(40, [])
LR = {"lr": optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)}
SENTENCE = {
    "text": "a", "speaker": "s", "spoken": "a", "recorded": "b", "reference": "c", "seconds": 1.0, "cut": False,
    "similarity": None, "recorded_similarity": None,
}  # fmt: skip
SPEECH = {"step": 20, "sentences": [SENTENCE], "artifacts": {}}


def with_run(**changed: Any) -> dict[str, Any]:
    return {"run": {"evaluations": EVALUATIONS, "record": RECORD, "error": None, **changed}, "stop_reason": "finished"}


ODD: list[tuple[dict[str, Any], str | None]] = [
    (with_run(evaluations=[{**e, "added": {"a": 1}} for e in EVALUATIONS], added=1), None),
    ({**with_run(record={**RECORD, "added": [1]}), "speech": {**SPEECH, "added": 1}}, None),
    (with_run(evaluations={"a": 1}), "evaluations"),
    (with_run(evaluations=[{**EVALUATIONS[0], "mel_ce": "3.5"}]), "evaluations"),
    (with_run(evaluations=[{**EVALUATIONS[0], "probe_mel_ce": 0.0}]), "evaluations"),
    (with_run(record="none", evaluations="none"), "evaluations, record"),
    (with_run(record={**RECORD, "lr_changes": [[math.nan, 1e-4]]}), "record"),
    (with_run(record={**RECORD, "lr_last": math.nan}), None),
    ({**with_run(), "speech": {**SPEECH, "sentences": [{**SENTENCE, "seconds": "long"}]}}, "speech"),
    ({**with_run(), "owner": "me", "baseline": {"a": 1}, "attempt": "y", "candidate": 3}, None),
    ({**with_run(error={"a": "b"}), "owner": {"host": ["x"]}, "stop_reason": {"why": 1}, "seed": []}, None),
]


def test_an_odd_trial_costs_its_own_detail_at_most(small: tuple[optuna.Study, Dashboard]) -> None:
    study, dashboard = small
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    for number, (odd, _) in enumerate(ODD, 1):
        study.add_trial(create_trial(value=3 - number / 100, **by_kind(odd), intermediate_values={20: 3}))
    study.add_trial(create_trial(value=1.0, **by_kind({**with_run(), "repeat": {"of": "V0"}})))
    document = dashboard.refreshed()
    for trial, (odd, said) in zip(document["trials"][1:], ODD, strict=False):
        note = trial["note"]["body"]
        assert (f"{UNREAD}{said}." in note) if said else (UNREAD not in note), odd
    assert f"so far is trial {len(ODD)}: {3 - len(ODD) / 100:.4f} nats" in document["note"]["body"], "no repeat wins"
    assert "history" in figures_of(document)
