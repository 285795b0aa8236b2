"""A run that keeps its state goes on bit for bit, wherever it ended."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search.errors import UserError
from search.training import state as state_module
from search.training import tensor_file
from search.training.run import NoCaller, run_trial
from search.training.tensor_file import read_tensors
from search.trial import Evaluation, StopReason, TrialSpec
from tests.conftest import make_spec_in
from tests.full_runs import losses

Make = Callable[..., TrialSpec]
HORIZON, EVALUATIONS = 8, 2  # at steps 4 and 8; the rate falls after 2 and 7, which no counter from 0 would give
KNOBS: dict[str, Any] = {"milestones": (0.25, 0.875), "gamma": 0.5, "clip_norm": 2.0, "weight_decay": 0.5}
NEVER = 1e9  # seconds
ALWAYS = 1e-9


class Died(Exception):
    """The process of a run, for a test within one process: nothing of the run gets to say anything more."""


class Watched(NoCaller):
    """A run, and what it said when it went on last."""

    def __init__(self, spec: TrialSpec) -> None:
        self.spec = spec
        self.steps: list[int] = []  # as said, from where the run went on
        self.evaluations: list[Evaluation] = []

    def go(self, stop_at: int | None = None, die_at: int | None = None, judge: Any = lambda _: None) -> StopReason:
        self._stop_at, self._die_at = stop_at, die_at
        self.steps, self.evaluations = [], []
        ended = run_trial(self.spec, self, judge)
        self.record = ended.record
        return ended.reason

    def say(self, kind: str, **values: Any) -> None:
        if kind == "evaluation":
            self.evaluations.append(Evaluation(**values))
        elif kind == "step":
            self.steps.append(values["step"])
            if values["step"] == self._die_at:
                raise Died

    def should_stop(self) -> bool:
        return self._stop_at is not None and self.steps[-1] >= self._stop_at

    @property
    def state(self) -> Path:
        return Path(self.spec.directory) / "state"

    @property
    def steps_csv(self) -> str:
        return (Path(self.spec.directory) / "steps.csv").read_text()

    def weights(self, name: str = "last.pth") -> dict[str, torch.Tensor]:
        model: dict[str, torch.Tensor] = read_tensors(self.state / name)["model"]
        return model


@pytest.fixture(scope="module")
def reference(prepared: Any, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """The run in one piece, which keeps no state until its horizon."""
    make = make_spec_in(prepared, tmp_path_factory.mktemp("reference"))
    run = Watched(make(HORIZON, EVALUATIONS, save_seconds=NEVER, **KNOBS))
    run.go()
    return run


def assert_equal(run: Watched, reference: Watched) -> None:
    """The same losses, rates, gradient norms, evaluations and weights, bit for bit."""
    assert run.steps_csv == reference.steps_csv
    assert losses(run.evaluations) == losses(reference.evaluations)
    assert replace(run.record, setup_seconds=0, train_seconds=0, evaluation_seconds=0) == replace(
        reference.record, setup_seconds=0, train_seconds=0, evaluation_seconds=0
    )
    for name in ("last.pth", "best.pth"):
        ours, theirs = run.weights(name), reference.weights(name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
        assert read_tensors(run.state / name)["step"] == read_tensors(reference.state / name)["step"]


def test_a_run_with_a_state_is_the_run_without_one(make_spec: Make, reference: Watched) -> None:
    plain = Watched(make_spec(HORIZON, EVALUATIONS, **KNOBS))
    assert plain.go() == StopReason.FINISHED
    assert losses(plain.evaluations) == losses(reference.evaluations)
    assert plain.steps_csv == reference.steps_csv
    assert not plain.state.exists()


def test_a_stopped_run_goes_on_bit_for_bit(make_spec: Make, reference: Watched) -> None:
    """Stopped right after a milestone, and at an evaluation."""
    run = Watched(make_spec(HORIZON, EVALUATIONS, save_seconds=NEVER, **KNOBS))
    for stop_at, first in ((3, 0), (4, 3)):
        assert run.go(stop_at=stop_at) == StopReason.STOPPED_BY_USER
        assert run.steps == list(range(first, stop_at + 1))
    assert run.go() == StopReason.FINISHED
    assert run.steps == [4, 5, 6, 7, 8]
    assert_equal(run, reference)


@pytest.mark.parametrize(("save_seconds", "first"), [(NEVER, 4), (ALWAYS, 6)])
def test_a_run_that_died_goes_on_from_its_last_save(
    make_spec: Make, reference: Watched, save_seconds: float, first: int
) -> None:
    """Evaluations save, and the clock; what came after that save is done again."""
    run = Watched(make_spec(HORIZON, EVALUATIONS, save_seconds=save_seconds, **KNOBS))
    with pytest.raises(Died):
        run.go(die_at=7)
    assert run.go() == StopReason.FINISHED
    assert run.steps[0] == first
    assert_equal(run, reference)


def test_the_time_of_a_run_is_that_of_all_its_processes(make_spec: Make) -> None:
    run = Watched(make_spec(2, 2, save_seconds=NEVER))
    run.go(stop_at=1)
    tensor_file.write_tensors({**read_tensors(run.state / "last.pth"), "seconds": 1000.0}, run.state / "last.pth")
    run.go()
    assert run.evaluations[0].seconds < 1000 < run.evaluations[1].seconds < 2000


def test_a_rule_ends_the_run_at_its_evaluation_and_again_after_it_was_killed(make_spec: Make) -> None:
    run = Watched(make_spec(3, 3, save_seconds=NEVER))
    for expected in ([0, 1, 2], [2]):
        reason = run.go(judge=lambda evaluations: StopReason.GAP if len(evaluations) == 2 else None)
        assert (reason, run.record.steps, run.steps) == (StopReason.GAP, 2, expected)


def test_the_best_state_is_made_again_after_a_kill_before_it(
    make_spec: Make, reference: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`last.pth` was written, `best.pth` not: it is of an evaluation before, or there is none."""
    run = Watched(make_spec(HORIZON, EVALUATIONS, save_seconds=NEVER, **KNOBS))
    for count in (1, 2):  # the first best state, and the one that replaces it
        written: list[Path] = []

        def write(content: dict[str, Any], path: Path, written: list[Path] = written, count: int = count) -> None:
            written.append(path)
            if [p.name for p in written].count("best.pth") == count:
                raise Died
            tensor_file.write_tensors(content, path)

        monkeypatch.setattr(state_module, "write_tensors", write)
        with pytest.raises(Died):
            run.go()
        best = run.state / "best.pth"
        assert (read_tensors(best)["step"] if best.exists() else None) != read_tensors(run.state / "last.pth")["step"]
    monkeypatch.undo()
    run.go()
    assert_equal(run, reference)


def test_a_full_disk_leaves_the_states_before(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Watched(make_spec(3, 3, save_seconds=NEVER))
    run.go(stop_at=1)
    before = {file.name: file.read_bytes() for file in run.state.iterdir()}

    def full(_content: Any, file: Any) -> None:
        file.write(b"half of it")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 704 vs 598")  # what torch makes of it

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"last\.pth cannot be written: No space left on device; .* make room") as info:
        run.go()
    assert "\n" not in str(info.value)
    assert {file.name: file.read_bytes() for file in run.state.iterdir()} == before
    monkeypatch.undo()
    assert run.go() == StopReason.FINISHED
    assert run.steps == [1, 2, 3]


def test_what_a_killed_process_left_is_removed_and_what_is_no_state_is_refused(make_spec: Make) -> None:
    run = Watched(make_spec(2, 1, save_seconds=NEVER))
    run.state.mkdir()
    (run.state / ".last.pth.x1y2").write_bytes(b"half of it")
    run.go()
    assert {file.name for file in run.state.iterdir()} == {".lock", "last.pth", "best.pth"}
    evaluations = list(run.evaluations)
    assert run.go() == StopReason.FINISHED
    assert (run.steps, run.evaluations) == ([2], evaluations), "a finished run takes no step"
    (run.state / "last.pth").write_bytes(b"not of a run")
    with pytest.raises(UserError, match=r"last\.pth cannot be read as the state of a run"):
        run.go()


def test_a_restored_run_does_not_hold_the_file_that_it_replaces(make_spec: Make) -> None:
    """A mapped file keeps its room on the disk after it was replaced: 5 GB for the rest of a run."""
    run = Watched(make_spec(3, save_seconds=NEVER))
    run.go(stop_at=1)
    maps: list[str] = []
    run.go(judge=lambda _: maps.append(Path("/proc/self/maps").read_text()))
    assert len(maps) == 3
    assert not any("last.pth" in text for text in maps)
