import datetime
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from search.recovery import fail, is_dead, owner, recover, requeue
from search.trial import INTERRUPTIONS, StopReason

FAILURES = [StopReason.CRASHED, StopReason.OUT_OF_MEMORY, StopReason.TIMEOUT]
BLAMELESS = [StopReason.PREEMPTED, StopReason.STOPPED_BY_USER]


@pytest.fixture(scope="module")
def gone() -> dict[str, Any]:
    """The owner of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        return {**owner(), "pid": process.pid, "started": psutil.Process(process.pid).create_time()}


def ask(study: optuna.Study, owned_by: dict[str, Any] | None) -> optuna.Trial:
    """A RUNNING trial with parameters, signed by its owner."""
    trial = study.ask()
    if owned_by is not None:
        trial.set_user_attr("owner", owned_by)
    trial.suggest_float("lr", 1e-5, 1e-2, log=True)
    trial.suggest_int("n_milestones", 0, 3)
    return trial


def end(study: optuna.Study, reason: StopReason) -> optuna.Trial:
    """Runs the next trial to an interruption, as a supervisor does."""
    trial = ask(study, owner())
    fail(study, study.trials[trial.number], reason)
    return trial


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.trials]


def test_this_process_is_alive_and_an_ended_one_is_dead(gone: dict[str, Any]) -> None:
    assert not is_dead(owner())
    assert is_dead(gone)


def test_a_later_process_of_the_same_id_is_not_the_owner() -> None:
    assert is_dead({**owner(), "started": owner()["started"] - 3600})


@pytest.mark.parametrize("owned_by", [None, {}, {"host": socket.gethostname() + "-2", "pid": 2**22, "started": 0.0}])
def test_an_owner_elsewhere_is_presumed_alive(owned_by: dict[str, Any] | None) -> None:
    assert not is_dead(owned_by)


def test_a_dead_owner_s_trial_is_failed_and_queued_once_with_the_same_parameters(gone: dict[str, Any]) -> None:
    study = optuna.create_study()
    left = ask(study, gone)
    assert [recover(study, 2) for _ in range(3)] == [1, 0, 0]
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]
    assert study.trials[0].user_attrs["stop_reason"] == "preempted"
    again = ask(study, owner())
    assert again.params == left.params
    assert again.user_attrs["retry_of"] == 0
    study.tell(again, 1.0)
    assert recover(study, 2) == 0
    assert states(study) == [TrialState.FAIL, TrialState.COMPLETE]


@pytest.mark.parametrize(("age", "queued"), [(datetime.timedelta(minutes=2), 1), (datetime.timedelta(0), 0)])
def test_a_trial_that_was_never_signed_is_recovered_once_it_is_old(age: datetime.timedelta, queued: int) -> None:
    study = optuna.create_study()
    ask(study, None)
    unsigned = study.trials[0]
    unsigned.datetime_start = datetime.datetime.now() - age
    study = optuna.create_study()
    study.add_trial(unsigned)
    assert recover(study, 2) == queued
    assert [trial.params or trial.system_attrs["fixed_params"] for trial in study.trials] == [unsigned.params] * (
        1 + queued
    )


def test_a_queued_trial_keeps_its_parameters_when_it_is_cut_short_before_it_suggests(gone: dict[str, Any]) -> None:
    study = optuna.create_study()
    study.enqueue_trial({"lr": 1e-3, "n_milestones": 2}, user_attrs={"baseline": "V1"})
    study.ask().set_user_attr("owner", gone)
    assert recover(study, 2) == 1
    again = ask(study, owner())
    assert again.params == {"lr": 1e-3, "n_milestones": 2}
    assert again.user_attrs["baseline"] == "V1"


@pytest.mark.parametrize("who", ["here", "elsewhere"])
def test_a_live_owner_s_trial_is_left(who: str) -> None:
    study = optuna.create_study()
    ask(study, owner() if who == "here" else {**owner(), "host": "elsewhere"})
    assert recover(study, 2) == 0
    assert states(study) == [TrialState.RUNNING]


def test_what_was_failed_and_not_yet_queued_is_queued_by_the_next_call(gone: dict[str, Any]) -> None:
    study = optuna.create_study()
    trial = ask(study, gone)
    fail(study, study.trials[0], StopReason.PREEMPTED)
    assert [recover(study, 2), recover(study, 2)] == [1, 0]
    assert study.trials[1].system_attrs["fixed_params"] == trial.params


def test_several_are_queued_each_once(gone: dict[str, Any]) -> None:
    study = optuna.create_study()
    left = [ask(study, gone).params for _ in range(3)]
    assert [recover(study, 2), recover(study, 2)] == [3, 0]
    assert [ask(study, owner()).params for _ in range(3)] == left


@pytest.mark.parametrize("reason", FAILURES)
@pytest.mark.parametrize("max_retries", [0, 1, 2])
def test_a_trial_s_own_failures_use_up_its_retries(reason: StopReason, max_retries: int) -> None:
    study = optuna.create_study()
    for _ in range(max_retries):
        end(study, reason)
        assert requeue(study, max_retries) == 1
    end(study, reason)
    assert requeue(study, max_retries) == 0
    assert states(study) == [TrialState.FAIL] * (max_retries + 1)
    assert len({trial.params["lr"] for trial in study.trials}) == 1


@pytest.mark.parametrize("reason", BLAMELESS)
def test_stops_use_up_no_retries(reason: StopReason) -> None:
    study = optuna.create_study()
    for _ in range(5):
        end(study, reason)
        assert requeue(study, 0) == 1


def test_failures_count_across_stops() -> None:
    study = optuna.create_study()
    sequence = [StopReason.CRASHED, StopReason.STOPPED_BY_USER, StopReason.CRASHED, StopReason.PREEMPTED]
    for reason in sequence:
        end(study, reason)
        assert requeue(study, 2) == 1
    end(study, StopReason.CRASHED)
    assert requeue(study, 2) == 0


def test_the_baseline_s_name_goes_with_its_retries(gone: dict[str, Any]) -> None:
    study = optuna.create_study()
    study.enqueue_trial({"lr": 1e-3, "n_milestones": 2}, user_attrs={"baseline": "V1"})
    for _ in range(2):
        ask(study, gone)
        assert recover(study, 2) == 1
    last = study.trials[-1].user_attrs
    assert last == {"baseline": "V1", "retry_of": 1, "attempt": 0}


@pytest.mark.parametrize("reason", [reason for reason in StopReason if reason not in INTERRUPTIONS])
def test_results_are_not_run_again(reason: StopReason) -> None:
    study = optuna.create_study()
    complete, pruned = ask(study, owner()), ask(study, owner())
    for trial in (complete, pruned):
        trial.set_user_attr("stop_reason", str(reason))
    study.tell(complete, 1.0)
    study.tell(pruned, state=TrialState.PRUNED)
    assert recover(study, 2) == 0


def test_a_trial_that_another_tool_failed_is_not_run_again() -> None:
    study = optuna.create_study()
    study.tell(ask(study, owner()), state=TrialState.FAIL)
    assert recover(study, 2) == 0


def test_fail_leaves_a_trial_that_someone_else_has_finished() -> None:
    study = optuna.create_study()
    trial = ask(study, owner())
    seen = study.trials[0]
    study.tell(trial, 1.0)
    fail(study, seen, StopReason.PREEMPTED)
    assert states(study) == [TrialState.COMPLETE]
    assert "stop_reason" not in study.trials[0].user_attrs


SUPERVISOR = """
import sys, time, optuna
from search.recovery import owner
trial = optuna.load_study(study_name="s", storage=sys.argv[1]).ask()
trial.set_user_attr("owner", owner())
trial.suggest_float("lr", 1e-5, 1e-2, log=True)
print("running", flush=True)
time.sleep(60)
"""


def test_a_killed_process_s_trial_is_recovered(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="s", storage=url)
    command = [sys.executable, "-c", SUPERVISOR, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        assert recover(study, 2) == 0
        os.kill(process.pid, signal.SIGKILL)
    assert recover(study, 2) == 1
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]
    assert study.trials[1].system_attrs["fixed_params"] == study.trials[0].params
