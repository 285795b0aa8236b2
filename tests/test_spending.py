"""What runs cost: stored as it was, added up, and told."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from sqlalchemy import update

from search.study import findings, spending
from search.study.ledger import Lease
from search.study.optuna_private import BEATS
from search.study.spending import Amount
from search.study.storage import open_storage
from search.trial import StopReason
from tests import stub
from tests.ledgers import OWNER, founded, trials
from tests.machines import Study
from tests.studies import FLAT, miniature, new_study, run, set_document

SECONDS = 2.0  # for which the runs of the first test are held


def test_what_a_run_held_its_slot_for_is_stored(database: str, tmp_path: Path) -> None:
    """Also of a run that crashed: at least as long as it was held, at most from its claim to its end.

    `python -m benchmarks.control ledger` measures how near the sum is to what the processes took.
    """
    with Study(database, tmp_path, trials=4) as study:
        machine = study.start("a", held=10, slots=4, seconds=0.001)
        machine.wait_for("  step ", count=40)
        (machine.folder / f"{stub.CRASH}-1").touch()
        time.sleep(SECONDS)
        machine.release()
        machine.wait()
        ran = study.trials()
    found = spending.ended(ran)
    assert [each.reason for each in found] == ["finished", "crashed", *["finished"] * 3]
    assert all(each.seconds >= SECONDS for each in found[:4])
    for each in found:
        start, complete = ran[each.trial].datetime_start, ran[each.trial].datetime_complete
        assert start and complete and each.seconds < (complete - start).total_seconds()
    assert spending.wasted(found).cpu == found[1].seconds


HOUR = 3600.0


def ended(seconds: object, gpus: object, reason: str = "finished", host: str = "here") -> Any:
    """A trial as a supervisor leaves it, but for its evaluations."""
    owner = {**OWNER, "host": host, "gpus": gpus}
    return create_trial(
        state=TrialState.FAIL,
        user_attrs={"stop_reason": reason, "slot_seconds": seconds},
        system_attrs={"owner": owner},
    )


@given(st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from("abc"))))
def test_every_sum_is_of_the_same_seconds(runs: list[tuple[float, float, str]]) -> None:
    """Half a GPU counts half, a CPU's slot apart; parts by any key come to the whole."""
    found = spending.ended(ended(seconds, gpus, host=host) for seconds, gpus, host in runs)
    whole = spending.total(found)
    assert whole.gpu == pytest.approx(sum(seconds * gpus for seconds, gpus, _ in runs))
    assert whole.cpu == pytest.approx(sum(seconds for seconds, gpus, _ in runs if not gpus))
    parts = sum(spending.by(found, lambda run: run.host).values(), Amount())
    assert (parts.gpu, parts.cpu) == pytest.approx((whole.gpu, whole.cpu))


@pytest.mark.parametrize("seconds", [None, "12", float("nan"), float("inf"), -1])
def test_what_is_no_time_is_not_counted(seconds: object) -> None:
    assert spending.ended([ended(seconds, 1)]) == []


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Amount(), "nothing"),
        (Amount(gpu=1.5 * HOUR), "1.5 GPU h"),
        (Amount(cpu=0.01234 * HOUR), "0.0123 slot h"),
        (Amount(gpu=2 * HOUR, cpu=1234 * HOUR), "2 GPU h and 1,234 slot h on CPUs"),
    ],
)
def test_hours_have_three_digits(amount: Amount, text: str) -> None:
    assert str(amount) == text


def test_a_dead_machine_is_paid_up_to_its_last_heartbeat(either: str) -> None:
    """By the database's clock, however late a peer finds out."""
    storage = open_storage(either)
    ledger = founded(storage, [(FLAT, {})])
    ledger.claim(1, {**OWNER, "gpus": 0.5})
    [before] = ledger.look()[1]
    assert before.heartbeat
    with storage.engine.begin() as connection:  # as if it had lived for 100 s, and fallen silent an hour ago
        connection.execute(update(BEATS).values(heartbeat=before.heartbeat + timedelta(seconds=100)))
    [lease] = ledger.look()[1]
    assert ledger.expire(lease, 0) is False
    [run] = spending.ended(trials(ledger))
    assert (run.seconds, run.amount, run.reason) == (100, Amount(gpu=50), "preempted")
    storage.engine.dispose()


@pytest.mark.parametrize(("silent", "age"), [(0, 40), (60, 100), (61, 40), (-3600, 40)])
def test_a_run_is_as_old_as_its_owner_is_alive(silent: float, age: float) -> None:
    """After its grace an owner is dead. Clocks of other time zones are not believed."""
    since = datetime(2026, 1, 1)
    beat = since + timedelta(seconds=40)
    lease = Lease(1, 0, beat, {**OWNER, "since": since.isoformat()}, beat + timedelta(seconds=silent))
    assert (lease.held_seconds, lease.age) == (40, age)


def test_what_a_study_has_cost_is_told(tmp_path: Path) -> None:
    study = new_study(miniature(tmp_path))  # trials of 200 steps, of which a run makes 20 an evaluation in 30 s
    assert spending.told(findings.read(study)) == []
    gpu, cpu = {**OWNER, "gpus": 0.5, "host": "a"}, {**OWNER, "host": "b"}
    run(study, FLAT, [4.0] * 10, attributes={"slot_seconds": 7200, "owner": gpu})
    run(study, FLAT, [4.9, 4.8], StopReason.MEDIAN, attributes={"slot_seconds": 360, "owner": cpu})
    crashed = study.ask()
    crashed.set_user_attr("stop_reason", "crashed")
    crashed.set_user_attr("slot_seconds", 36)
    set_document(crashed, "owner", gpu)
    study.tell(crashed, state=TrialState.FAIL)
    full = [ended(3600, 1, host="c")]
    first, second = spending.told(findings.read(study), full)
    assert first == (
        "4 runs spent 2 GPU h and 0.1 slot h on CPUs, 1 GPU h of it in full runs;"
        " by stop reason finished 2 GPU h, median 0.1 slot h, crashed 0.005 GPU h;"
        " by machine a 1 GPU h, c 1 GPU h, b 0.1 slot h."
    )
    assert (
        second == "Runs that were cut short wasted 0.005 GPU h; pruning saved 0.0333 slot h."
    )  # 160 steps, 30/40 s each
