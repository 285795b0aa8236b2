"""`study.py train`: from a config to a model, whatever kills it meanwhile."""

import fcntl
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from rich.console import Console

from search.errors import NoResult, UserError
from search.full_run import order as orders
from search.full_run import train as full_run
from search.full_run.child import stop_reason
from search.full_run.display import FullRunView, LiveFullRunView
from search.full_run.follow import Follower
from search.full_run.result import FullResult, is_ready
from search.settings.best_config import Stopping
from search.training.run import run_trial
from search.trial import Evaluation, Prepared, StopReason, TrialSpec
from tests.conftest import ROOT, wait_until
from tests.full_runs import losses, write_config

Train = Callable[..., FullResult | None]
PATIENCE = 240.0  # seconds that a test waits for what must come


@pytest.fixture(scope="module")
def train(prepared: Prepared) -> Iterator[Train]:
    """A full run whose driver is this process, and whose run is another; the data is prepared."""

    def train(config: Path, output: Path, seed: int | None = None, **overrides: Any) -> FullResult | None:
        given = {name.replace("__", "."): value for name, value in overrides.items()}
        return full_run.train(config, output, seed, given, FullRunView())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full_run, "prepare", lambda *_: prepared)
        yield train


@pytest.fixture(scope="module")
def done(train: Train, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Best at step 3 of 8, and ended at 5."""
    folder = tmp_path_factory.mktemp("done")
    config = write_config(folder / "best_config.json", prepared, 8, 8, lr=1.2e-3, n_increases=2)
    text = io.StringIO()
    with redirect_stdout(text):
        result = train(config, folder / "out")
    assert result is not None
    return SimpleNamespace(config=config, output=folder / "out", result=result, text=text.getvalue())


def evaluation(step: int, mel_ce: float, probe: float = 1.0) -> Evaluation:
    return Evaluation(step, mel_ce, 1.0, probe, 1.0)


@pytest.mark.parametrize(
    ("values", "n_increases", "expected"),
    [
        ([], 2, None),
        ([2.0, 2.1], 2, None),
        ([2.0, 2.1, 2.2], 2, StopReason.TWO_INCREASES),
        ([2.0, 2.1, 2.14], 2, None),  # a rise of less than min_delta is none
        ([2.0, 3.1], 2, StopReason.GAP),
        ([2.0, 3.0], 2, None),  # above max_gap, not at it
        ([2.0, float("nan")], 2, StopReason.DIVERGED),
        ([2.0, 2.1, 2.2, 2.3], 2, None),  # the fourth is at the horizon
        ([2.0, 2.1, 2.2], None, None),  # the rule can be off
    ],
)
def test_stopping_rules(values: list[float], n_increases: int | None, expected: StopReason | None) -> None:
    rules = Stopping(n_increases=n_increases, min_delta=0.05, max_gap=3.0, healthy_gap=1.3)
    assert stop_reason(rules, 40, [evaluation(10 * i, value) for i, value in enumerate(values, 1)]) == expected


def test_auto_counts_the_gains_since_the_base() -> None:
    rules = Stopping(n_increases=2, min_delta="auto", base=3.0, max_gap=3.0, healthy_gap=1.3)
    for last, expected in ((2.49, None), (2.51, StopReason.TWO_INCREASES)):
        assert stop_reason(rules, 40, [evaluation(10 * i, v) for i, v in enumerate([2.0, 2.1, last], 1)]) == expected


def test_the_live_view_shows_evaluations_above_a_bar_with_the_time_left() -> None:
    screen = io.StringIO()
    view = LiveFullRunView(Console(file=screen, force_terminal=True, width=100, color_system=None))
    view.status("loading torch and TTS")
    view.begin(40, 10, [evaluation(10, 2.5)])
    for step, value in ((20, 2.4), (30, 2.6)):
        view.stepped(step)
        view.evaluated(evaluation(step, value))
    view.refresh()
    view.close()
    shown = screen.getvalue()
    assert "loading torch and TTS" in shown
    assert "step 20/40  eval 2.4000  text 1.000  probe 1.0000  gap 2.40" in shown
    last = next(line for line in reversed(shown.splitlines()) if "step 30/40 " in line and "━" in line)
    assert "best 2.4000 at step 20" in last and re.search(r"about \d+ s left", last)


def test_a_full_run_is_the_confirmations_run(done: SimpleNamespace, tmp_path: Path) -> None:
    """Of the same spec, without a state: rates, evaluations and the chosen step are the same bit for bit."""
    spec = TrialSpec.from_json((done.output / "spec.json").read_text())
    plain = run_trial(replace(spec, horizon=5, directory=str(tmp_path), save_seconds=None))
    assert losses(done.result.evaluations) == losses(plain.evaluations)
    assert (done.output / "steps.csv").read_text() == (tmp_path / "steps.csv").read_text()
    assert (done.result.reason, done.result.record["steps"]) == (StopReason.TWO_INCREASES, 5)
    assert done.result.best == min(done.result.evaluations, key=lambda e: e.mel_ce)
    assert done.result.best.step == 3


def test_a_full_run_ends_in_a_model(done: SimpleNamespace) -> None:
    assert {"state", "ready", "result.json", "tensorboard"} <= {file.name for file in done.output.iterdir()}
    assert {file.name for file in (done.output / "state").iterdir()} == {".lock", "best.pth", "last.pth"}
    assert is_ready(done.output / "ready", small=False)
    page = (done.output / "training_report.html").read_text(encoding="utf-8")
    assert page == (done.output / "ready" / "training_report.html").read_text(encoding="utf-8")
    assert "Step 3 is the best" in page and "did not act" in page  # weight decay, in so few steps
    assert "warning: Not confirmed: trial 3" in done.text
    assert re.search(r"step 3/8  eval 2\.\d{4} .* \(best so far\)  about .+ left", done.text)
    lines = done.result.lines()
    assert "ended at step 5 of 8: the evaluation rose 2 times in a row" in lines[0]
    assert lines[1].startswith("Best: step 3, eval 2.") and "healthy, below 1.3" in lines[1]


def test_the_same_command_makes_only_what_is_missing(done: SimpleNamespace, train: Train) -> None:
    made = {file: file.stat().st_mtime_ns for file in done.output.rglob("*")}
    assert train(done.config, done.output) == done.result
    assert {file: file.stat().st_mtime_ns for file in done.output.rglob("*")} == made
    (done.output / "ready" / "vocab.json").unlink()
    assert train(done.config, done.output) == done.result
    assert is_ready(done.output / "ready", small=False)


def test_the_gap_ends_a_run_and_another_rule_takes_it_on(train: Train, prepared: Prepared, tmp_path: Path) -> None:
    config = write_config(tmp_path / "best_config.json", prepared, 4, 4, max_gap=1.02, healthy_gap=1.01)
    output = tmp_path / "out"
    result = train(config, output)
    assert result is not None and (result.reason, result.record["steps"]) == (StopReason.GAP, 1)
    result = train(config, output, train__max_gap=50)
    assert result is not None and (result.reason, result.record["steps"]) == (StopReason.FINISHED, 4)
    assert orders.make_order(config, output, None, {}, 0.5).stopping.min_delta == 0.5
    assert result.best is not None
    assert FullResult.load(output / "result.json") == result
    assert f"Step {result.best.step} is the best" in (output / "ready" / "training_report.html").read_text()


def test_a_child_that_is_killed_changes_nothing(
    done: SimpleNamespace, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its first and second step, with a state saved at each; tests/test_state.py ends runs everywhere else."""
    heard, ends = Follower._heard, {1: signal.SIGKILL, 2: signal.SIGTERM}

    def killing(follower: Follower, message: dict[str, Any]) -> None:
        heard(follower, message)
        if message["kind"] == "step" and message["step"] in ends:
            os.kill(follower.child.pid, ends.pop(message["step"]))

    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Follower, "_heard", killing)
        with pytest.raises(UserError, match="the same command continues"):
            train(done.config, output, train__save_minutes=1e-6)
        assert train(done.config, output, train__save_minutes=1e-6) is None
    result = train(done.config, output)
    assert result is not None and losses(result.evaluations) == losses(done.result.evaluations)
    assert (output / "steps.csv").read_text() == (done.output / "steps.csv").read_text()
    assert is_ready(output / "ready", small=False) and not list(output.rglob(".*.pth.*"))


@pytest.mark.usefixtures("train")
def test_a_run_whose_command_is_killed_ends_and_goes_on(prepared: Prepared, cache: Path, tmp_path: Path) -> None:
    """kill -9 of `study.py train` itself: its child goes away, and the folder is free for the next."""
    config = write_config(tmp_path / "best_config.json", prepared, 40, 20)
    output = tmp_path / "out"
    command = [sys.executable, str(ROOT / "study.py"), "train", str(config), "--output", str(output)]
    environment = {**os.environ, "XTTS_STUDY_CACHE": str(cache)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_until(lambda: (output / "state" / "last.pth").exists() or process.poll() is not None, PATIENCE, "a state")
        process.kill()
        text = process.stdout.read().decode() if process.stdout else ""
    found = re.findall(r"process (\d+) started", (output / "log.txt").read_text())
    assert len(found) == 1, text
    wait_until(lambda: not psutil.pid_exists(int(found[0])), PATIENCE, "the child's end")
    assert not (output / "result.json").exists()
    told: list[str] = []
    view = FullRunView()
    view.note = told.append  # type: ignore[method-assign]
    result = full_run.train(config, output, None, {"train.max_gap": 1.0001, "train.healthy_gap": 1.00001}, view)
    assert result is not None and result.reason == StopReason.GAP  # soon, so that the test ends
    assert any(re.match(r"going on from step \d+ of 40, \d+ evaluations made before", text) for text in told)


# Refusals


def test_what_a_folder_holds_is_not_mixed_with_another_run(
    done: SimpleNamespace, train: Train, prepared: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="holds another run") as info:
        train(done.config, done.output, seed=7)
    assert info.value.details == ("seed: 1 there, 7 here",)
    with pytest.raises(UserError, match="holds another run") as info:
        train(write_config(tmp_path / "other.json", prepared, 8, 8, lr=1e-5, n_increases=2), done.output)
    assert info.value.details == ("lr: 0.0012 there, 1e-05 here",)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds files that are not of a full run; name a new folder"):
        train(done.config, tmp_path / "strange")
    assert [file.name for file in (tmp_path / "strange").iterdir()] == ["thesis.txt"]
    with open(done.output / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="is being trained in by another process"):
            train(done.config, done.output)


def edited(config: Path, **fingerprint: str) -> Path:
    """`config` with other values in its fingerprint."""
    content = json.loads(config.read_text())
    content["provenance"]["fingerprint"] |= fingerprint
    config.write_text(json.dumps(content))
    return config


def test_other_data_is_refused_with_both_values(train: Train, prepared: Prepared, tmp_path: Path) -> None:
    config = edited(write_config(tmp_path / "best_config.json", prepared), data="0123")
    with pytest.raises(UserError, match=r"--set data\.path=.* and --set base\.path=") as info:
        train(config, tmp_path / "out")
    (line,) = info.value.details
    assert line.startswith(f"data: 0123 there, {prepared.data_fingerprint} here")
    assert not (tmp_path / "out").exists()


def test_other_code_is_a_warning(prepared: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = edited(write_config(tmp_path / "best_config.json", prepared), code="0123", **{"versions.torch": "1.0"})
    orders.verify(orders.make_order(config, tmp_path / "out", None, {}), prepared, FullRunView())
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and "code: 0123 there" in line and "versions.torch: 1.0 there" in line


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"training.batch_size": 4}, "--set training.batch_size: a full run takes this from best_config.json"),
        ({"data.path": "/nowhere"}, r"data.path is /nowhere, .*; give --set data.path=… or --set base.path=…"),
        ({"train.max_gap": 0.5}, "train.max_gap is 0.5"),
    ],
)
def test_what_cannot_be_set_is_refused(
    prepared: Prepared, tmp_path: Path, overrides: dict[str, Any], expected: str
) -> None:
    config = write_config(tmp_path / "best_config.json", prepared)
    with pytest.raises(UserError, match=expected):
        orders.make_order(config, tmp_path / "out", None, overrides)


def test_a_run_that_diverges_at_once_has_no_model(train: Train, prepared: Prepared, tmp_path: Path) -> None:
    config = write_config(tmp_path / "best_config.json", prepared, 40, 2, lr=1e18)
    for _ in range(2):
        with pytest.raises(NoResult, match=r"diverged after \d+ optimizer steps, before its first evaluation"):
            train(config, tmp_path / "out")
    assert "has no model" in (tmp_path / "out" / "training_report.html").read_text()
    assert not (tmp_path / "out" / "ready").exists()
