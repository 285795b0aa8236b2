"""A trial that was cut short goes on where it was, on any machine, and comes to what it would have come to."""

import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

from search.settings.settings import Settings, load
from search.study import artifacts
from search.study.database import StudyStorage
from search.study.ledger import Ledger
from search.study.recorded import STATE, Kept
from search.study.states import States
from search.training import tensor_file
from search.training.run import NoCaller, run_trial
from search.trial import Evaluation, StopReason, TrialSpec
from tests.conftest import ROOT, wait_until
from tests.full_runs import losses
from tests.ledgers import OWNER, founded, trials
from tests.machines import PATIENCE, Machine, Study
from tests.test_search import SHORT

ALWAYS = 1e-9  # minutes or seconds between two states: one at each step


# The whole: real runs of 20 optimizer steps, evaluated at 4, 8, 12, 16 and 20


def test_a_trial_goes_on_after_sigterm_and_on_another_machine_after_a_kill(database: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    preset = (ROOT / "space" / "presets" / "miniature.toml").read_text().split("[[baselines]]\n")
    (tmp_path / "space.toml").write_text(f"{preset[0]}[[baselines]]\n{preset[2]}")  # V1 alone: a rate with milestones
    command = ["--storage", database, *SHORT, "--trials", "1", "--workers", "1"]
    command += ["--set", f"space.file={tmp_path / 'space.toml'}"]
    saving = [*command, "--set", f"study.save_minutes={ALWAYS}", "--set", f"study.artifacts={kept}"]
    leases = ["--set", "service.heartbeat_seconds=0.5", "--set", "service.grace_seconds=2"]
    saving += leases
    with Study(database, tmp_path, trials=1) as study:

        def start(name: str, words: list[str], folder: str, **environment: str) -> Machine:
            return study.add(Machine(["-m", "tests.on_machine", name, *words], tmp_path / folder, **environment))

        first = start("a", saving, "own", HOLD_AT="6")
        wait_until((first.folder / "held").exists, PATIENCE, "step 6")
        first.send(signal.SIGTERM)
        first.wait(code=130)
        assert len(list(kept.iterdir())) == 1
        second = start("a", saving, "shared", HOLD_AT="13")
        second.wait_for("trial 1: goes on from step 6 of 20")
        stored = "SELECT value_json::json ->> 'step' FROM trial_system_attributes WHERE key = 'state'"
        wait_until((second.folder / "held").exists, PATIENCE, "step 13")
        wait_until(lambda: study.sql(stored) == [("12",)], PATIENCE, "the state of step 12")
        second.kill()
        third = start("b", [*command, "--set", f"study.artifacts={kept}", *leases], "shared")  # which saves none itself
        third.wait()
        assert "trial 2: goes on from step 12 of 20" in third.output
        parts = study.trials()
    assert [t.state for t in parts] == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert [t.user_attrs.get("attempt", 0) for t in parts] == [0, 0, 1], "a stop by hand is no attempt"
    assert_same(parts[-1], third.folder / "runs/miniature/trials/2")
    assert parts[0].intermediate_values.items() < parts[1].intermediate_values.items()
    assert list(kept.iterdir()) == [] and not any(STATE in t.system_attrs for t in parts)
    assert list(tmp_path.rglob("*.pth")) == [], "of the machine that was killed, too"


def assert_same(trial: FrozenTrial, folder: Path) -> None:
    """All that tables, rules and reports know of it, but times, is that of the run in one piece, bit for bit."""
    spec = TrialSpec.from_json((folder / "spec.json").read_text())
    (folder / "again").mkdir()
    whole = run_trial(replace(spec, directory=str(folder / "again"), save_seconds=None))
    run = trial.system_attrs["run"]
    assert losses([Evaluation(**e) for e in run["evaluations"]]) == losses(whole.evaluations)
    assert trial.intermediate_values == {e.step: e.mel_ce for e in whole.evaluations}
    assert trial.value == min(e.mel_ce for e in whole.evaluations)
    record = vars(whole.record)
    assert record["lr_changes"] and record["clipped_share"], "it has something to forget"
    assert {k: v for k, v in run["record"].items() if not k.endswith("_seconds")} == {
        k: v for k, v in record.items() if not k.endswith("_seconds")
    }
    assert (folder / "steps.csv").read_bytes() == (folder / "again" / "steps.csv").read_bytes()


# The child


class Watched(NoCaller):
    """What a run said; it is stopped after a step."""

    def __init__(self, stop_at: int | None = None, may_go_on: bool = True) -> None:
        self.said: list[tuple[str, Any]] = []
        self.step = 0
        self._stop_at, self._may_go_on = stop_at, may_go_on

    def say(self, kind: str, **values: Any) -> None:
        self.said.append((kind, values))
        self.step = values.get("step", self.step)

    def should_stop(self) -> bool:
        return self._stop_at is not None and self.step >= self._stop_at

    def may_go_on(self) -> bool:
        return self._may_go_on

    def notes(self) -> list[str]:
        return [values["text"] for kind, values in self.said if kind == "note"]

    def saved(self) -> list[int]:
        return [values["step"] for kind, values in self.said if kind == "saved"]


Make = Callable[..., TrialSpec]
SPEAKS: dict[str, Any] = {"keeps_best": False, "save_seconds": 1e9, "sentences": 1}


def go(spec: TrialSpec, **stop: Any) -> tuple[Watched, Any]:
    watched = Watched(**stop)
    return watched, run_trial(spec, watched)


def state_of(spec: TrialSpec) -> Path:
    return Path(spec.directory) / "state" / "last.pth"


def move(file: Path, spec: TrialSpec) -> None:
    state_of(spec).parent.mkdir()
    state_of(spec).write_bytes(file.read_bytes())


def test_a_run_goes_on_in_another_folder_and_speaks_with_its_best_weights(make_spec: Make) -> None:
    """The best evaluation, of step 2, lies before the stop: the rate is too high for the second half."""
    knobs = {"lr": 3e-3, "milestones": (0.5,), "gamma": 0.5}
    undisturbed = make_spec(4, 2, sentences=1, **knobs)
    whole = go(undisturbed)[1]
    first = make_spec(4, 2, **SPEAKS, **knobs)
    watched, ended = go(first, stop_at=3)
    assert (ended.reason, watched.saved()) == (StopReason.STOPPED_BY_USER, [3])
    second = make_spec(4, 2, **SPEAKS, **knobs)
    move(state_of(first), second)
    watched, ended = go(second)
    assert watched.notes() == ["goes on from step 3 of 4"]
    assert watched.saved() == [], "neither at an evaluation nor at the end"
    assert losses(ended.evaluations) == losses(whole.evaluations)
    assert ended.speech and whole.speech and ended.speech.step == whole.speech.step == 2
    for name in ("steps.csv", "speech/1-spoken.wav"):
        assert (Path(second.directory) / name).read_bytes() == (Path(undisturbed.directory) / name).read_bytes(), name
    # One whose state lacks them, as it was not to speak then, is silent: its last weights are not its best.
    silent = make_spec(4, 2, **SPEAKS, **knobs)
    content = tensor_file.read_tensors(state_of(first))
    state_of(silent).parent.mkdir()
    tensor_file.write_tensors({**content, "speaker": None}, state_of(silent))
    assert go(silent)[1].speech is None


def test_what_is_not_wanted_is_neither_finished_nor_saved(make_spec: Make) -> None:
    spec = make_spec(4, 2, keeps_best=False, save_seconds=1e9)
    watched, ended = go(spec, stop_at=3, may_go_on=False)
    assert (ended.reason, ended.record.steps, watched.saved()) == (StopReason.STOPPED_BY_USER, 3, [])
    assert not state_of(spec).exists()


class Code:
    """What a pickle would call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def test_a_state_that_is_of_no_use_costs_a_line(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = make_spec(2, 2, keeps_best=False, save_seconds=1e9)
    go(first, stop_at=1)
    good = state_of(first).read_bytes()
    content = tensor_file.read_tensors(state_of(first))
    longer = {**content["recorder"], "history": content["recorder"]["history"] * 3}
    spoiled: dict[str, Any] = {
        "half of it": good[: len(good) // 2],
        "a pickle that runs code": pickle.dumps(Code()),
        "another run's": {**content, "run": "1 another"},
        "another model's": {**content, "model": dict(list(content["model"].items())[1:])},
        "more steps than the run has": {**content, "recorder": longer, "step": 3},
        "evaluations that are none": {**content, "evaluations": [{"step": "x"}]},
    }
    for what, given in spoiled.items():
        spec = make_spec(2, 2, keeps_best=False, save_seconds=1e9)
        state_of(spec).parent.mkdir()
        if isinstance(given, bytes):
            state_of(spec).write_bytes(given)
        else:
            tensor_file.write_tensors(given, state_of(spec))
        watched, ended = go(spec)
        (note,) = watched.notes()
        assert note.endswith("; it starts anew") and "\n" not in note, what
        assert (ended.reason, ended.record.steps) == (StopReason.FINISHED, 2), what
        assert [values["step"] for kind, values in watched.said if kind == "step"] == [0, 1, 2], what
    assert not (tmp_path / "executed").exists()


def test_a_run_that_cannot_save_goes_on(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    watched, ended = go(make_spec(2, 2, keeps_best=False, save_seconds=ALWAYS))
    assert ended.reason == StopReason.FINISHED
    assert len(watched.notes()) == 1 and watched.notes()[0].endswith("No space left on device")


# The store


@pytest.fixture
def ledger(storage: StudyStorage) -> Ledger:
    return founded(storage, [({"lr": 0.1}, {}), ({"lr": 0.2}, {})])


def settings_of(folder: Path, **study: Any) -> Settings:
    given = {"save_minutes": 1, "artifacts": str(folder / "store"), **study}
    return load(None, {f"study.{name}": value for name, value in given.items()})


class Place:
    """A store, what is there, and what was said."""

    def __init__(self, ledger: Ledger, folder: Path, **study: Any) -> None:
        self.notes: list[str] = []
        self.states = States(ledger, settings_of(folder, **study), self.notes.append)
        self._folder, self._ledger = folder, ledger

    def save(self, trial_id: int, content: bytes, step: int = 1) -> None:
        file = self._folder / "last.pth"
        file.unlink(missing_ok=True)  # as a child replaces it
        file.write_bytes(content)
        self.states.save(trial_id, file, step)

    def fetched(self, trial_id: int) -> bytes | None:
        file = self._folder / "fetched"
        file.unlink(missing_ok=True)
        return file.read_bytes() if self.states.fetch(trial_id, file, lambda: True) else None

    def there(self) -> list[bytes]:
        return sorted(file.read_bytes() for file in (self._folder / "store").glob("*"))

    def claim(self) -> int:
        found = self._ledger.claim(100, OWNER).trial_id
        assert found is not None
        return found

    def fail(self, trial_id: int, retries: int = 2) -> None:
        attributes = {"stop_reason": str(StopReason.CRASHED)}
        self._ledger.end(trial_id, TrialState.FAIL, None, attributes, retries)


def test_a_state_moves_to_the_successor_and_is_removed_at_the_end(ledger: Ledger, tmp_path: Path) -> None:
    place = Place(ledger, tmp_path)
    first, other = place.claim(), place.claim()
    for step in (1, 2):
        place.save(first, b"%d" % step, step)
    place.save(other, b"other")
    assert place.there() == [b"2", b"other"]
    place.fail(first)
    assert place.states.of(first) == Kept({})
    again = place.claim()
    assert (place.states.of(again).step, place.fetched(again)) == (2, b"2")
    place.save(first, b"late")  # by an owner that does not know yet
    assert place.there() == [b"2", b"other"]
    place.fail(again, retries=0)
    assert place.fetched(again) == b"2", "not run again: the next search removes it"
    place.states.sweep(tmp_path)
    assert place.there() == [b"other"]
    place.states.remove(other)
    assert place.there() == []
    assert not any(STATE in trial.system_attrs for trial in trials(ledger))
    assert place.notes == []


def test_a_trial_that_is_taken_while_its_state_is_stored_leaves_the_successor_s_alone(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, put = Place(ledger, tmp_path), artifacts.put
    first, _ = place.claim(), place.claim()
    place.save(first, b"old")

    def taken(*given: Any) -> None:
        monkeypatch.undo()
        place.fail(first)
        place.save(place.claim(), b"successor's")
        (tmp_path / "last.pth").unlink()
        (tmp_path / "last.pth").write_bytes(b"late")
        put(*given)

    monkeypatch.setattr(artifacts, "put", taken)
    place.save(first, b"late")
    assert place.there() == [b"successor's"]


def test_whatever_dies_between_two_writes_the_store_is_clean_in_the_end(
    storage: StudyStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner dies before or after a call of store or ledger, in its first save or in the one that replaces it."""

    class Died(BaseException):
        pass

    ledger = founded(storage, [])
    place = Place(ledger, tmp_path)
    for saves, at in product((0, 1), range(20)):
        ledger.enqueue([{"lr": 0.5}])
        trial_id = place.claim()
        if saves:
            place.save(trial_id, b"whole", 1)
        moments = count()

        def dying(call: Any, at: int = at, moments: Iterator[int] = moments) -> Any:
            def made(*given: Any) -> Any:
                if next(moments) == at:
                    raise Died
                found = call(*given)
                if next(moments) == at:
                    raise Died
                return found

            return made

        with monkeypatch.context() as patch, suppress(Died):
            for owner, name in ((artifacts, "put"), (artifacts, "remove"), (ledger, "keep")):
                patch.setattr(owner, name, dying(getattr(owner, name)))
            place.save(trial_id, b"new", 2)
        place.fail(trial_id)
        again = place.claim()
        if saves:
            assert place.fetched(again) in (b"whole", b"new"), at
        place.save(again, b"later", 3)
        assert place.there() == [b"later"], (saves, at)
        ledger.end(again, TrialState.COMPLETE, 1.0, {"stop_reason": "finished"}, 2)
        place.states.sweep(tmp_path)
        assert place.there() == [], (saves, at)
    assert place.notes == []


def test_a_limit_in_gb_is_kept_and_told_once(ledger: Ledger, tmp_path: Path) -> None:
    place = Place(ledger, tmp_path, save_gb=100e-9)
    first, other = place.claim(), place.claim()
    place.save(first, b"x" * 40)
    place.save(first, b"y" * 40)
    place.save(other, b"z" * 50)
    place.save(other, b"z" * 70)
    place.save(first, b"w" * 61)  # beside the one that it would replace
    assert place.there() == [b"y" * 40, b"z" * 50]
    assert len(place.notes) == 1 and "study.save_gb" in place.notes[0]


def test_an_attribute_by_hand_and_a_store_that_fails_cost_a_line(ledger: Ledger, tmp_path: Path) -> None:
    place = Place(ledger, tmp_path)
    trial_id = place.claim()
    (tmp_path / "mine").write_text("a file of somebody")
    for value in ({"files": {"../mine": 1}, "current": "../mine", "step": 1}, {"files": 3}, "x", None):
        ledger._storage.set_trial_system_attr(trial_id, STATE, value)
        assert place.fetched(trial_id) is None
        place.states.remove(trial_id)
    assert (tmp_path / "mine").exists()
    ledger._storage.set_trial_system_attr(trial_id, STATE, {"files": {"state-x": 1}, "current": "state-x", "step": 1})
    assert place.fetched(trial_id) is None
    assert len(place.notes) == 1 and "its run starts anew" in place.notes[0]
    (tmp_path / "store").rmdir()
    (tmp_path / "store").write_text("no folder")
    place.save(trial_id, b"x")
    assert any("was not" in note for note in place.notes[1:])
