"""What TensorBoard shows: read from the event files, and asked of TensorBoard itself, as its pages do."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from search.commands.tensorboard import launch
from search.errors import UserError
from search.settings.settings import load
from search.training.board import BEST, EVALUATION, STEP
from search.training.record import Step
from search.training.run import run_trial
from search.training.run_files import RunFiles
from search.trial import Evaluation, StopReason, TrialSpec
from space.hyperparameters import Hyperparameters
from tests.conftest import ROOT, wait_until

V1 = Hyperparameters(4e-4, 0.01, (1 / 3, 2 / 3), 0.5, 1.0)
FLAT = Hyperparameters(1e-3, 0.05)


def spec_of(directory: Path, point: Hyperparameters = V1, seed: int = 7) -> TrialSpec:
    directory.mkdir(parents=True)
    return TrialSpec("mine", 3, point, seed, 6, [2, 4, 6], 2, 1, 2, "fp32", "nowhere", str(directory))


def steps(count: int) -> list[Step]:
    return [Step(4e-4 / n, 3.0 / n, 6.0 / n, 2.9 / n, 5.0, 1.0, 4e-6) for n in range(1, count + 1)]


def evaluation(step: int, mel: float) -> Evaluation:
    return Evaluation(step, mel, 6.0 + mel, mel / 2, 5.0, 3.0, 4e-4, 1.0)


def written(spec: TrialSpec, losses: Sequence[float], reason: StopReason | None = StopReason.FINISHED) -> None:
    """The files of a run with an evaluation every two steps; without a reason it died."""
    history = steps(2 * len(losses))
    with RunFiles(spec, [], []) as files:
        for index, loss in enumerate(losses, 1):
            files.write_steps(history[: 2 * index])
            files.write_evaluation(evaluation(2 * index, loss))
        if reason:
            files.write_end(reason)


def events(spec: TrialSpec) -> EventAccumulator:
    return EventAccumulator(str(Path(spec.directory) / "tensorboard"), size_guidance={"scalars": 0}).Reload()


def scalars(board: EventAccumulator, tag: str) -> dict[int, float]:
    found = board.Scalars(tag)
    assert len({event.step for event in found}) == len(found), f"{tag} twice at a step"
    return {event.step: event.value for event in found}


def test_the_curves_of_a_run_are_its_tables(make_spec: Callable[..., TrialSpec]) -> None:
    """Losses undivided by the accumulation, rates as applied."""
    spec = make_spec(4, evaluations=2, accumulation=2, milestones=(0.5,), gamma=0.1, clip_norm=0.5)
    run_trial(spec)
    board = events(spec)
    for name, shown in {"steps.csv": STEP, "evaluations.csv": EVALUATION}.items():
        rows = list(csv.DictReader((Path(spec.directory) / name).open(encoding="utf-8")))
        for column, (tag, description) in shown.items():
            expected = {int(row["step"]): float(row[column]) for row in rows}
            assert expected and scalars(board, tag) == pytest.approx(expected, rel=1e-6), tag
            assert board.SummaryMetadata(tag).summary_description == description
    assert set(board.Tags()["scalars"]) == {tag for group in (STEP, EVALUATION, BEST) for tag, _ in group.values()}
    assert scalars(board, "train/learning rate")[4] == pytest.approx(5e-5)
    assert scalars(board, "gradient/norm after clip")[1] == pytest.approx(0.5, rel=1e-3)
    assert "end_info" in board.Tags()["tensors"][-1]


@pytest.mark.parametrize("evaluated", [0, 1])
def test_a_run_that_goes_on_shows_each_step_once(tmp_path: Path, evaluated: int) -> None:
    """It died one step after its last evaluation, or before any; what it does then is shown, not what was before."""
    spec = spec_of(tmp_path / "run")
    before = [evaluation(2 * i, 2.5) for i in range(1, evaluated + 1)]
    died = 2 * evaluated + 1
    with RunFiles(spec, [], []) as files:
        for known in before:
            files.write_steps(steps(known.step))
            files.write_evaluation(known)
        files.write_steps(steps(died))
    again = [*steps(2 * evaluated), *(Step(9.0, 1, 1, 1, 1, 1, 1) for _ in range(2))]
    with RunFiles(spec, again[: 2 * evaluated], before) as files:
        files.write_steps(again)
        files.write_evaluation(evaluation(2 * evaluated + 2, 2.6))
        files.write_end(StopReason.FINISHED)
    board = events(spec)
    rates = scalars(board, "train/learning rate")
    assert sorted(rates) == list(range(1, 2 * evaluated + 3))
    assert rates[died] == 9.0
    assert sorted(scalars(board, "evaluation/eval (nats)")) == [2 * i for i in range(1, evaluated + 2)]
    assert scalars(board, "evaluation, best so far/eval (nats)")[2 * evaluated + 2] == pytest.approx(
        2.5 if evaluated else 2.6
    )
    if evaluated:  # else the start is written again, and of two that are equal TensorBoard takes either
        assert {len(board.Tensors(tag)) for tag in board.Tags()["tensors"]} == {1}


# TensorBoard itself


class Served:
    """`study.py tensorboard` in `folder`."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, str(ROOT / "study.py"), "tensorboard", "--port", "0"]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's & ignores it
        )  # fmt: skip
        assert self.process.stdout
        self.line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", self.line)
        assert found, self.ended()
        self.url, self.port = found[0], int(found[1])

    def ended(self) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=120)
        return self.process.returncode, output, errors

    def get(self, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self.url + "data/" + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A study with three trials, one of them under way, and a run of its confirmation."""
    folder = tmp_path_factory.mktemp("study")
    study = folder / "runs" / "miniature"
    written(spec_of(study / "trials" / "0", FLAT, seed=1), [2.5, 2.4, 2.45])
    written(spec_of(study / "trials" / "1"), [2.7, math.nan], StopReason.DIVERGED)
    written(spec_of(study / "trials" / "2"), [2.6], StopReason.STOPPED_BY_USER)
    written(spec_of(study / "confirm" / "0"), [2.3], StopReason.TWO_INCREASES)
    command = Served(folder)
    wait_until(lambda: len(command.get("runs")) == 4, what="the runs are read")
    yield command
    command.process.kill()
    command.ended()


def test_trials_and_confirmation_are_shown(served: Served) -> None:
    runs = {f"{run}/tensorboard" for run in ("trials/0", "trials/1", "trials/2", "confirm/0")}
    assert set(served.get("runs")) == runs
    tags = served.get("plugin/scalars/tags")
    assert set(tags) == runs
    about = tags["trials/0/tensorboard"]["evaluation/eval (nats)"]["description"]
    assert "nats per audio token" in about
    assert served.line == f"TensorBoard on runs/miniature: {served.url}?smoothing=0  (Ctrl-C ends it)\n"


def test_the_table_of_hyperparameters(served: Served) -> None:
    experiment = served.get("plugin/hparams/experiment", experimentName="", includeMetrics=True)
    assert [m["displayName"] for m in experiment["metricInfos"]] == ["best eval", "gap", "text", "at step"]
    every = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    columns = [{"metric": m["name"]} for m in experiment["metricInfos"]]
    columns += [{"hparam": c["name"], "includeInResult": True} for c in experiment["hparamInfos"]]
    asked = {"experimentName": "", "allowedStatuses": every, "colParams": columns, "startIndex": 0, "sliceSize": 100}
    groups = served.get("plugin/hparams/session_groups", **asked, includeMetrics=True)["sessionGroups"]
    found = {g["name"].removesuffix("/tensorboard"): g for g in groups}
    assert found["trials/0"]["hparams"] == {
        "lr": 1e-3, "weight_decay": 0.05, "milestones": "none", "seed": 1, "horizon": 6, "frozen_layers": 0,
        "new_rows_lr_factor": 1,
    }  # fmt: skip
    values = {m["name"]["tag"].rpartition("/")[2]: m["value"] for m in found["trials/0"]["metricValues"]}
    assert values == pytest.approx({"eval (nats)": 2.4, "gap": 2, "text (nats)": 8.4, "at step": 4})
    assert {run: g["sessions"][0].get("status", "STATUS_UNKNOWN") for run, g in found.items()} == {
        "trials/0": "STATUS_SUCCESS", "trials/1": "STATUS_FAILURE", "trials/2": "STATUS_UNKNOWN",
        "confirm/0": "STATUS_SUCCESS",
    }  # fmt: skip


def test_a_port_in_use_is_refused(served: Served, tmp_path: Path) -> None:
    (tmp_path / "miniature" / "trials").mkdir(parents=True)
    with pytest.raises(UserError, match=f"{served.port}.*--port"):
        launch(load(None, {"study.directory": str(tmp_path)}), "127.0.0.1", served.port)


def test_ctrl_c_ends_it_and_its_children(served: Served) -> None:
    """The last of this server's tests."""
    task = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    children = [int(pid) for pid in task.read_text().split()]
    served.process.send_signal(signal.SIGINT)
    code, output, errors = served.ended()
    assert (code, output, errors.strip()) == (130, "", "")
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), what="its loader has gone")


@pytest.mark.parametrize(
    ("host", "folder", "words"),
    [
        *((host, ".", "no password") for host in ("0.0.0.0", "::", "", "127.0.0.1.example.org")),
        ("127.0.0.1", "none", "none/miniature; run the command where the search ran"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path: Path, host: str, folder: str, words: str) -> None:
    """An address that others see; a study without runs here, for which no folder is made."""
    (tmp_path / "miniature" / "trials").mkdir(parents=True)
    with pytest.raises(UserError) as refused:
        launch(load(None, {"study.directory": str(tmp_path / folder)}), host, 6006)
    assert words in str(refused.value)
    assert not (tmp_path / "none").exists()
