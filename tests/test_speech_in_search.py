"""Speech in a search: who is asked to speak, what is kept of it, and that no end of it costs a trial."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState

from search.settings.settings import Settings
from search.study import artifacts, findings, leases, storage
from search.study.spoken import LEFT_OUT
from search.trial import StopReason, TrialSpec
from search.workers import supervisor, work
from search.workers.launcher import Child, Launcher
from search.workers.speech_budget import Spent, affordable
from tests import studies
from tests.stub_speech import PRELOAD


class Notes:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


def searched(
    folder: Path,
    scripts: list[dict[str, Any]],
    during: Callable[[supervisor.Supervisor], None] | None = None,
    **more: Any,
) -> tuple[Settings, list[optuna.trial.FrozenTrial], Notes, supervisor.Supervisor]:
    """A search of one slot whose runs follow `scripts`; `during` is called beside it."""
    overrides = {"study.trials": len(scripts), "study.max_retries": 0, "speech.share": 1, **more}
    settings = studies.miniature(folder, overrides)
    (settings.directory / "script.json").write_text(json.dumps(dict(enumerate(scripts))))
    database = storage.open_storage(settings.storage_url)
    study, ledger = storage.open_study(settings, studies.PREPARED, database)
    view: Any = Notes()
    held = leases.Leases(ledger, settings.service, 0, view.note)
    todo = work.SearchWork(study, settings, studies.PREPARED)
    prepared = studies.PREPARED
    target = "tests.stub_speech:run_script"
    made = supervisor.Supervisor(todo, held, settings, prepared, Launcher(PRELOAD), view, [None], target)
    threading.Thread(target=during, args=(made,), daemon=True).start()
    made.run(lambda: None)
    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    return settings, ended, view, made


GOOD = [4.0, 3.0, 2.0]


def test_what_a_trial_spoke_is_kept_as_optunas_artifacts(tmp_path: Path) -> None:
    settings, (trial,), _, made = searched(tmp_path, [{"losses": GOOD, "sentences": 2}])
    found = findings.read(storage.load_study(settings)).rows[0].speech
    assert found and [s.text for s in found.sentences] == ["sentence 1", "sentence 2"]
    store = artifacts.open_store(settings)
    folder = settings.directory / "trials" / "0" / "speech"
    for sentence in found.sentences:
        for name in sentence.files:
            assert artifacts.read(store, found.artifacts[name]) == (folder / name).read_bytes()
    study = storage.load_study(settings)
    meta = get_all_artifact_meta(study.trials[0], storage=study._storage)
    # Files of the same content are one artifact, with all their names.
    named = {m.filename: m.artifact_id for m in meta}
    assert named == found.labelled()
    assert named.keys() == {
        "sentence 1, model.wav", "sentence 2, model.wav", "sentence 1, recording; sentence 2, recording.wav",
        "voice reference 1; voice reference 2.wav",
    }  # fmt: skip
    assert all(len(json.dumps(value)) < 100 for value in trial.user_attrs.values()), "a page shows all of them"
    shown = {"at_step", "text_ce", "gap", "similarity", "host"}
    assert shown <= study.trials[0].user_attrs.keys() and study.trials[0].user_attrs["similarity"] == 0.5
    assert {m.mimetype for m in meta} == {"audio/wav"}
    assert len(list((settings.directory / "artifacts").iterdir())) == 4, "the same sound is stored once"
    assert trial.state == TrialState.COMPLETE and trial.value == 2.0
    assert 0 < made.seconds["training"] == made.seconds["evaluation"] <= 1.0 and made.seconds["speech"] == 0.5


def specs(settings: Settings, trials: list[optuna.trial.FrozenTrial]) -> list[TrialSpec]:
    folder = settings.directory / "trials"
    return [TrialSpec.from_json((folder / str(t.number) / "spec.json").read_text()) for t in trials]


def test_only_what_may_be_among_the_best_is_asked_to_speak(tmp_path: Path) -> None:
    losses = [[5.0, 4.0], [5.0, 3.0], [5.0, 2.0], [5.0, 3.5]]
    settings, trials, _, _ = searched(
        tmp_path, [{"losses": values} for values in losses], **{"speech.trials": 2, "speech.sentences": 3}
    )
    asked = [(spec.speak_below, spec.sentences) for spec in specs(settings, trials)]
    assert asked == [(None, 3), (None, 3), (4.0, 3), (3.0, 3)]


def test_a_repeat_does_not_speak_and_no_trial_does_without_a_share(tmp_path: Path) -> None:
    for share, expected in ((1, {0: 1, 1: 0}), (0, {0: 0, 1: 0})):
        folder = tmp_path / str(share)
        folder.mkdir()
        more = {"study.repeats": 1, "speech.share": share}
        settings, trials, _, _ = searched(folder, [{"losses": GOOD}] * 2, **more)
        found = {t.user_attrs["repeat"]: s.sentences for t, s in zip(trials, specs(settings, trials), strict=True)}
        assert found == expected
        assert not any(LEFT_OUT in t.user_attrs for t in trials), "it was never to speak"


# The budget


@pytest.mark.parametrize(
    ("so_far", "under_way", "granted"),
    [
        (Spent(), 0, 1),  # the first sentence measures what one costs
        (Spent(), 1, 0),  # and only one trial does it
        (Spent(work=100, speech=2, sentences=1), 0, 0),  # 2 % of 102 s is one sentence, which was spoken
        (Spent(work=198, speech=2, sentences=1), 1, 0),
        (Spent(work=198, speech=2, sentences=2), 0, 2),
        (Spent(work=1e6, speech=2, sentences=1), 0, 3),  # no more than it asks for
    ],
)
def test_how_many_of_three_sentences_two_percent_allow(so_far: Spent, under_way: int, granted: int) -> None:
    assert affordable(3, 0.02, so_far, under_way) == granted
    assert affordable(3, 0.0, so_far, under_way) == 0
    assert affordable(3, 1.0, so_far, under_way) == 3


def test_a_search_speaks_within_its_share_and_goes_on_with_it(tmp_path: Path) -> None:
    """A trial works for 2 s and a sentence takes half a second: at 10 %, 4.5 s of work pay for one."""
    scripts = [{"losses": GOOD}] * 8
    for count in (4, 8):
        settings, trials, _, made = searched(
            tmp_path, scripts, **{"speech.share": 0.1, "speech.trials": 50, "study.trials": count}
        )
    asked = [spec.sentences for spec in specs(settings, trials)]
    assert asked == [1, 0, 0, 0, 0, 1, 0, 1]
    assert made.seconds["speech"] == 1.0, "of the second search alone"
    assert [LEFT_OUT in t.user_attrs for t in trials] == [not sentences for sentences in asked]


# How a run ends


def test_two_increases_speak_and_the_median_does_not(tmp_path: Path) -> None:
    """The first ends a full result; the second abandons a trial."""
    full = [3.0, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4, 2.3, 2.2, 2.1]
    scripts = [
        {"losses": full, "sentences": 1},
        {"losses": [3.0, 2.0, 2.1, 2.2, 2.3, 2.4], "waits": True, "sentences": 1},
        {"losses": [9.0, 8.9, 8.8, 8.7, 8.6, 8.5, 8.4], "waits": True, "sentences": 1},
    ]
    settings, trials, _, _ = searched(tmp_path, scripts, **{"pruning.startup_trials": 1})
    reasons = [t.user_attrs["stop_reason"] for t in trials]
    assert reasons == [StopReason.FINISHED, StopReason.TWO_INCREASES, StopReason.MEDIAN]
    assert [bool(row.speech) for row in findings.read(storage.load_study(settings)).rows] == [True, True, False]
    wanted = [(settings.directory / "trials" / str(i) / "wanted").read_text() for i in range(3)]
    assert wanted == ["True", "True", "False"]


@pytest.mark.parametrize(("late", "speaks"), [(2.5, True), (1.0, False)])
def test_only_the_best_that_the_trial_recorded_speaks(tmp_path: Path, late: float, speaks: bool) -> None:
    """A run may evaluate once more before it obeys. Were that its lowest, its weights are none of the trial's."""
    script = {"losses": [3.0, 2.0, 2.4, 2.8], "waits": True, "late": [late], "sentences": 1}
    settings, (trial,), _, _ = searched(tmp_path, [script])
    assert (trial.value, trial.user_attrs["stop_reason"]) == (2.0, StopReason.TWO_INCREASES)
    found = findings.read(storage.load_study(settings)).rows[0].speech
    assert (found.step if found else None) == (40 if speaks else None)


def test_a_stop_while_it_speaks_keeps_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Child.receive
    told: list[str] = []
    is_speaking = threading.Event()  # as the supervisor knows: what it was told before it asks for more, it has heard

    def noted(child: Child, timeout: float) -> dict[str, Any] | None:
        if "trained" in told:
            is_speaking.set()
        message = receive(child, timeout)
        told.extend([message["kind"]] if message else [])
        return message

    def stop(made: supervisor.Supervisor) -> None:
        is_speaking.wait()
        made.stop()

    monkeypatch.setattr(Child, "receive", noted)
    settings, (trial,), _, _ = searched(tmp_path, [{"losses": GOOD, "sentences": 5, "seconds": 1000}], stop)
    assert (settings.directory / "trials" / "0" / "ended").exists(), "it obeyed, and had not to be killed"
    assert trial.state == TrialState.COMPLETE and trial.user_attrs["stop_reason"] == StopReason.FINISHED
    assert "speech" not in trial.system_attrs
    assert trial.system_attrs["run"]["record"]["steps"] == 20


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ({"sentences": 1, "dies": True}, None),
        ({"sentences": 0, "fails": "out of voice"}, "could not speak: RuntimeError: out of voice"),
    ],
)
def test_a_failure_while_it_speaks_costs_the_speech_alone(
    tmp_path: Path, script: dict[str, Any], told: str | None
) -> None:
    _, (trial,), view, _ = searched(tmp_path, [{"losses": GOOD, **script}])
    assert trial.state == TrialState.COMPLETE and trial.value == 2.0
    assert trial.system_attrs["run"]["error"] is None
    assert told is None or any(told in note for note in view.notes)


def test_a_store_that_takes_nothing_is_noted_and_the_trial_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    url = "s3://sound?endpoint_url=http://127.0.0.1:9"
    settings, (trial,), view, _ = searched(tmp_path, [{"losses": GOOD, "sentences": 1}], **{"study.artifacts": url})
    assert trial.state == TrialState.COMPLETE
    assert any("what it spoke was not stored" in note for note in view.notes)
    assert not any("the-key" in note or "the-secret" in note for note in view.notes)
    found = findings.read(storage.load_study(settings)).rows[0].speech
    assert found and found.sentences and found.artifacts.keys() == {"1-spoken.wav", "1-recorded.wav", "1-reference.wav"}
