"""The transactions by which machines share a study: exact counts, exactly one owner, exactly one retry."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event

from search.errors import UserError
from search.study.database import StudyStorage
from search.study.ledger import Lease, Ledger
from search.study.storage import open_storage
from search.trial import StopReason
from tests.ledgers import OWNER, new_ledger, states, trials

ATTRIBUTES = {"fingerprint": {"seed": 1}, "horizon": 200}
BASELINES = [({"lr": 1e-3}, {"baseline": "V0"}), ({"lr": 1e-4}, {"baseline": "V1"})]
FAILURES = [StopReason.CRASHED, StopReason.OUT_OF_MEMORY, StopReason.TIMEOUT, StopReason.PREEMPTED]


@pytest.fixture
def storage(either: str) -> Iterator[StudyStorage]:
    opened = open_storage(either)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def ledger(storage: StudyStorage) -> Ledger:
    return new_ledger(storage)


def claimed(ledger: Ledger, *suggested: float) -> int:
    """A trial that is certainly given, and has been asked for its learning rate and weight decay as far as given."""
    trial_id = ledger.claim(1000, OWNER).trial_id
    assert trial_id is not None
    for name, value in zip(("lr", "weight_decay"), suggested, strict=False):
        distribution = optuna.distributions.FloatDistribution(0, 1)
        ledger._storage.set_trial_param(trial_id, name, value, distribution)
    return trial_id


def fail(ledger: Ledger, trial_id: int, reason: StopReason, retries: int = 2) -> int | None:
    return ledger.end(trial_id, TrialState.FAIL, None, {"stop_reason": str(reason)}, retries)


def lease(ledger: Ledger, trial_id: int) -> Lease:
    return next(lease for lease in ledger.look()[1] if lease.trial_id == trial_id)


def at_once(count: int, action: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(count) as threads:
        return [call.result() for call in [threads.submit(action) for _ in range(count)]]


# Founding


def test_of_many_that_found_a_study_one_does(ledger: Ledger) -> None:
    found = at_once(8, lambda: ledger.found(ATTRIBUTES, BASELINES))
    assert sorted(attributes.pop("searches") for attributes in found) == list(range(1, 9))
    assert found == [ATTRIBUTES] * 8
    assert states(ledger) == "WW"
    assert [trial.user_attrs for trial in trials(ledger)] == [{"baseline": "V0"}, {"baseline": "V1"}]
    assert ledger._storage.get_study_user_attrs(ledger.study_id) == {**ATTRIBUTES, "searches": 8}


@pytest.mark.parametrize("traces", ["trials", "attributes"])
def test_a_study_of_another_tool_is_not_ours(ledger: Ledger, traces: str) -> None:
    if traces == "trials":
        ledger._storage.create_new_trial(ledger.study_id)
    else:
        ledger._storage.set_study_user_attr(ledger.study_id, "fingerprint", "an attribute of theirs")
    assert ledger.found(ATTRIBUTES, BASELINES) == {}
    assert states(ledger) == ("R" if traces == "trials" else "")


# Claims


def test_the_queue_is_claimed_first_and_in_order(ledger: Ledger) -> None:
    ledger.found(ATTRIBUTES, BASELINES)
    ids = [claimed(ledger) for _ in range(3)]
    assert states(ledger) == "RRR"
    assert [trial._trial_id for trial in trials(ledger)] == ids
    study = optuna.load_study(study_name="study", storage=ledger._storage)
    assert len(study.get_trials()) == 3
    assert [optuna.Trial(study, trial).suggest_float("lr", 1e-5, 1e-2) for trial in ids[:2]] == [1e-3, 1e-4]


@pytest.mark.parametrize(
    ("ended", "total", "given"),
    [
        ("", 1, True),
        ("R", 1, False),
        ("R", 2, True),
        ("C", 1, False),
        ("P", 1, False),
        ("CPR", 3, False),
        ("CPR", 4, True),
        ("F", 1, True),  # its retry
    ],
)
def test_no_trial_is_given_beyond_the_total(ledger: Ledger, ended: str, total: int, given: bool) -> None:
    kinds = {"C": TrialState.COMPLETE, "P": TrialState.PRUNED, "F": TrialState.FAIL}
    for number, (letter, trial_id) in enumerate([(letter, claimed(ledger, 0.5)) for letter in ended]):
        if letter != "R":
            ledger.end(trial_id, kinds[letter], 4.0 - number, {"stop_reason": "crashed"}, 2)
    claim = ledger.claim(total, OWNER)
    assert (claim.trial_id is not None) == given
    assert claim.finished == ended.count("C") + ended.count("P")
    assert claim.best == ((0, 4.0) if "C" in ended else None)


def test_threads_claim_exactly_the_total(ledger: Ledger) -> None:
    """While every third run fails and is queued again."""
    ledger.found(ATTRIBUTES, BASELINES)

    def work() -> None:
        while (trial_id := ledger.claim(20, OWNER).trial_id) is not None:
            ledger._storage.set_trial_param(trial_id, "lr", 1e-3, optuna.distributions.FloatDistribution(0, 1))
            state = TrialState.COMPLETE if trial_id % 3 else TrialState.FAIL
            ledger.end(trial_id, state, 1.0 if trial_id % 3 else None, {"stop_reason": "crashed"}, 9)

    at_once(8, work)
    assert Counter(states(ledger))["C"] == 20
    assert set(states(ledger)) == {"C", "F"}
    retried = Counter(trial.user_attrs["retry_of"] for trial in trials(ledger) if "retry_of" in trial.user_attrs)
    assert retried == Counter(trial.number for trial in trials(ledger) if trial.state == TrialState.FAIL)


# Ends


@pytest.mark.parametrize(
    ("state", "value"), [(TrialState.COMPLETE, 2.75), (TrialState.PRUNED, 4.5), (TrialState.PRUNED, None)]
)
def test_plain_optuna_reads_what_was_ended(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, state: TrialState, value: float | None
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        began = datetime.now()
        trial_id = claimed(ledger, 0.5)
        run = {"evaluations": [{"step": 20}], "record": None, "error": "ድምፅ"}
        assert ledger.end(trial_id, state, value, {"stop_reason": "finished", "run": run}, 2) == 1
        url = ledger._storage.engine.url.render_as_string(hide_password=False)
        found = optuna.load_study(study_name="study", storage=url).trials[0]
        assert (found.state, found.value, found.params) == (state, value, {"lr": 0.5})
        assert found.user_attrs == {"stop_reason": "finished"}, "what a page shows of it is short"
        assert found.system_attrs.pop("owner")["host"] == "here"
        assert found.system_attrs == {"run": run}
        assert found.datetime_start and found.datetime_complete
        assert began <= found.datetime_start <= found.datetime_complete <= datetime.now() < began + timedelta(minutes=1)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_trial_that_a_peer_took_is_left_as_it_is(ledger: Ledger) -> None:
    trial_id = claimed(ledger, 0.5)
    assert ledger.expire(lease(ledger, trial_id), 2)
    before = trials(ledger)
    for state, value in ((TrialState.COMPLETE, 1.0), (TrialState.PRUNED, 1.0), (TrialState.FAIL, None)):
        assert ledger.end(trial_id, state, value, {"stop_reason": "finished", "run": {}}, 2) is None
    assert trials(ledger) == before
    assert states(ledger) == "FW"


def test_a_failed_trial_is_queued_again_with_its_parameters_and_its_baseline_s_name(ledger: Ledger) -> None:
    ledger.found(ATTRIBUTES, BASELINES[:1])
    fail(ledger, claimed(ledger, 0.5, 0.25), StopReason.CRASHED)
    fail(ledger, claimed(ledger, 0.5), StopReason.PREEMPTED)
    assert states(ledger) == "FFW"
    again = trials(ledger)[2]
    assert again.user_attrs == {"baseline": "V0", "retry_of": 1, "attempt": 2}
    assert again.system_attrs == {"fixed_params": {"lr": 0.5, "weight_decay": 0.25}}


@pytest.mark.parametrize(
    ("suggested", "params"),
    [((), {"lr": 1e-3, "weight_decay": 0.1}), ((1e-3,), {"lr": 1e-3, "weight_decay": 0.1})],
    ids=["not asked", "partly asked"],
)
def test_a_queued_trial_keeps_what_it_was_not_yet_asked_for(
    ledger: Ledger, suggested: tuple[float, ...], params: dict[str, float]
) -> None:
    ledger.found(ATTRIBUTES, [(params, {})])
    fail(ledger, claimed(ledger, *suggested), StopReason.STOPPED_BY_USER)
    assert trials(ledger)[1].system_attrs == {"fixed_params": params}


@pytest.mark.parametrize(("reason", "retries"), zip(FAILURES, (0, 1, 2, 2), strict=True))
def test_failures_use_up_the_retries(ledger: Ledger, reason: StopReason, retries: int) -> None:
    for _ in range(retries):
        fail(ledger, claimed(ledger, 0.5), reason, retries)
        assert states(ledger)[-1] == "W"
    fail(ledger, claimed(ledger, 0.5), reason, retries)
    assert states(ledger) == "F" * (retries + 1)


def test_stops_by_the_user_use_up_none_and_failures_count_across_them(ledger: Ledger) -> None:
    sequence = [StopReason.STOPPED_BY_USER, StopReason.CRASHED, StopReason.STOPPED_BY_USER, StopReason.STOPPED_BY_USER]
    for reason in sequence:
        fail(ledger, claimed(ledger, 0.5), reason, 1)
        assert states(ledger)[-1] == "W"
    fail(ledger, claimed(ledger, 0.5), StopReason.PREEMPTED, 1)
    assert states(ledger) == "FFFFF"


# Leases


def test_an_expired_trial_fails_and_is_queued_once(ledger: Ledger) -> None:
    seen = lease(ledger, claimed(ledger, 0.5))
    assert sorted(at_once(4, lambda: ledger.expire(seen, 2)), key=str) == [None, None, None, True]
    assert states(ledger) == "FW"
    assert trials(ledger)[0].user_attrs["stop_reason"] == "preempted"
    assert trials(ledger)[1].user_attrs == {"retry_of": 0, "attempt": 1}


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL])
def test_of_an_end_and_an_expiry_at_once_one_happens(ledger: Ledger, state: TrialState) -> None:
    """Each waits for the other just before it changes the trial: in vain, where it holds the lock."""
    trial_id = claimed(ledger, 0.5)
    seen = lease(ledger, trial_id)
    both = threading.Barrier(2)

    def meet(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE trials"):
            with suppress(threading.BrokenBarrierError):
                both.wait(0.3)

    event.listen(ledger._storage.engine, "before_cursor_execute", meet)
    with ThreadPoolExecutor(2) as threads:
        value = 1.0 if state == TrialState.COMPLETE else None
        ended = threads.submit(ledger.end, trial_id, state, value, {"stop_reason": "crashed"}, 2)
        taken = threads.submit(ledger.expire, seen, 2)
    event.remove(ledger._storage.engine, "before_cursor_execute", meet)
    assert (ended.result() is not None) != (taken.result() is not None)
    assert states(ledger) == ("C" if state == TrialState.COMPLETE and not taken.result() else "FW")


@pytest.mark.parametrize("sign", ["heartbeat", "first heartbeat", "end"])
def test_a_trial_that_showed_itself_meanwhile_does_not_expire(ledger: Ledger, sign: str) -> None:
    unsigned = sign == "first heartbeat"
    trial_id = ledger._storage.create_new_trial(ledger.study_id) if unsigned else claimed(ledger, 0.5)
    seen = lease(ledger, trial_id)
    if sign == "end":
        ledger.end(trial_id, TrialState.COMPLETE, 1.0, {"stop_reason": "finished"}, 2)
    else:
        beat_anew(ledger, seen)
    assert ledger.expire(seen, 2) is None
    assert states(ledger) == ("C" if sign == "end" else "R")


def beat_anew(ledger: Ledger, seen: Lease) -> None:
    """Heartbeats until one differs: SQLite's clock has whole seconds."""
    while lease(ledger, seen.trial_id).heartbeat == seen.heartbeat:
        ledger._storage.record_heartbeat(seen.trial_id)
        time.sleep(0.01)


def test_a_renewal_changes_the_heartbeat_and_names_the_running(ledger: Ledger) -> None:
    ids = [claimed(ledger, 0.5) for _ in range(5)]
    before = {seen.trial_id: seen.heartbeat for seen in ledger.look()[1]}
    ledger.end(ids[1], TrialState.COMPLETE, 1.0, {"stop_reason": "finished"}, 2)
    fail(ledger, ids[2], StopReason.CRASHED)
    ledger.expire(lease(ledger, ids[3]), 2)
    while lease(ledger, ids[0]).heartbeat == before[ids[0]]:
        assert ledger.renew([*ids[:4], 10**6]) == {ids[0]}
    assert lease(ledger, ids[4]).heartbeat == before[ids[4]]


# A study that was deleted


def test_a_deleted_study_is_said_in_one_line(ledger: Ledger) -> None:
    trial_id = claimed(ledger, 0.5)
    seen = lease(ledger, trial_id)
    ledger._storage.delete_study(ledger.study_id)
    for action in (
        lambda: ledger.claim(10, OWNER),
        lambda: ledger.found(ATTRIBUTES, []),
        lambda: ledger.queue([], 0),
        lambda: ledger.expire(seen, 2),
        lambda: fail(ledger, trial_id, StopReason.CRASHED),
    ):
        with pytest.raises(
            UserError, match=r"^the study was deleted from \S+ while it was searched; .*--study$"
        ) as caught:
            action()
        assert "t0p" not in str(caught.value)
    assert ledger.end(trial_id, TrialState.COMPLETE, 1.0, {"stop_reason": "finished"}, 2) is None
    assert ledger.look()[1] == []
    assert ledger.renew([trial_id]) == set()
