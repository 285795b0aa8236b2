"""The ledger's transactions where network, server or other tools do their worst: each takes effect exactly once."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from search.study.database import StudyStorage
from search.study.ledger import Lease, Ledger
from search.study.storage import open_storage
from tests.cut import Cut
from tests.ledgers import OWNER, founded, states
from tests.postgres import Server


def make_ledger(storage: StudyStorage, name: str) -> Ledger:
    """Of a new study with one trial queued and one claimed, whose learning rate is known."""
    ledger = founded(storage, [({"lr": 0.1}, {"baseline": "V0"}), ({"lr": 0.2}, {"baseline": "V1"})], name)
    trial_id = ledger.claim(9, OWNER).trial_id
    assert trial_id is not None
    storage.set_trial_param(trial_id, "lr", 0.1, FloatDistribution(0, 1))
    return ledger


def contents(ledger: Ledger) -> list[tuple[Any, ...]]:
    """All that the study holds, but for ids, times and who claimed and queued."""
    found = []
    for trial in ledger._storage.get_all_trials(ledger.study_id):
        owned = "claim" in trial.system_attrs.pop("owner", {})
        trial.system_attrs.pop("queued", None)
        found.append((trial.number, trial.state, trial.values, trial.user_attrs, trial.system_attrs, owned))
    return found


def found(ledger: Ledger, _: Lease) -> Any:
    attributes = ledger.found({"horizon": 200}, [({"lr": 0.3}, {})])
    return {key: value for key, value in attributes.items() if key != "searches"}  # it may skip a number


def found_first(ledger: Ledger, _: Lease) -> Any:
    name = f"new {ledger.study_id}"
    fresh = optuna.create_study(study_name=name, storage=ledger._storage, load_if_exists=True)
    new = Ledger(ledger._storage, fresh._study_id)
    return found(new, _), contents(new)


def claim(ledger: Ledger, _: Lease) -> Any:
    claim = ledger.claim(9, OWNER)
    assert claim.trial_id is not None
    return ledger._storage.get_trial(claim.trial_id).number, claim.finished


def end(state: TrialState, value: float | None) -> Callable[[Ledger, Lease], Any]:
    return lambda ledger, lease: ledger.end(lease.trial_id, state, value, {"stop_reason": "crashed", "run": {}}, 2)


CALLS: dict[str, Callable[[Ledger, Lease], Any]] = {
    "found first": found_first,
    "found again": found,
    "claim": claim,
    "claim of the queue": lambda ledger, _: ledger._storage.get_trial(ledger.claim(None, OWNER).trial_id or 0).number,
    # Who queued it may not learn that it did, and then reads the study again.
    "queue": lambda ledger, _: ledger.queue([({"lr": 0.3}, {"seed": 1}), ({"lr": 0.4}, {})], 2) in (True, False),
    "complete": end(TrialState.COMPLETE, 4.5),
    "pruned": end(TrialState.PRUNED, None),
    "fail": end(TrialState.FAIL, None),
    # Who took it may not learn that it did.
    "expire": lambda ledger, lease: ledger.expire(lease, 2) in (True, None),
    "renew": lambda ledger, lease: ledger.renew([lease.trial_id]) == {lease.trial_id},
    "leases": lambda ledger, lease: [running.number == lease.number for running in ledger.look()[1]],
    "steer": lambda ledger, _: ledger.steer(lambda said: replace(said, state="paused")),
    "enqueue": lambda ledger, _: ledger.enqueue([{"lr": 0.3}, {"lr": 0.3}]),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_connection_cut_at_any_moment_changes_nothing(storage: StudyStorage, server: Server, call: str) -> None:
    outcomes = []
    for moment in itertools.count():
        ledger = make_ledger(storage, f"study {moment}")
        (lease,) = ledger.look()[1]
        with Cut(storage, server, moment) as cut:
            result = CALLS[call](ledger, lease)
        outcomes.append((result, contents(ledger)))
        if not cut.happened:
            break
    assert len(outcomes) > 1
    assert all(outcome == outcomes[-1] for outcome in outcomes)


def last_moment(storage: StudyStorage, server: Server) -> int:
    """The one at which a claim has been committed, and its answer is lost."""
    for moment in itertools.count():
        ledger = make_ledger(storage, f"counted {moment}")
        with Cut(storage, server, moment) as cut:
            ledger.claim(9, OWNER)
        if not cut.happened:
            return moment - 1
    raise AssertionError


def expire_all(ledger: Ledger) -> None:
    """A peer finds everybody silent."""
    peer = open_storage(ledger._storage.engine.url.render_as_string(hide_password=False))
    for lease in Ledger(peer, ledger.study_id).look()[1]:
        assert Ledger(peer, ledger.study_id).expire(lease, 2)
    peer.engine.dispose()


def test_a_claim_that_was_taken_before_its_answer_came_gives_another_trial(
    storage: StudyStorage, server: Server
) -> None:
    """The network is away for longer than the grace, and takes the answer to the commit with it."""
    moment = last_moment(storage, server)
    ledger = make_ledger(storage, "study")
    with Cut(storage, server, moment, meanwhile=lambda: expire_all(ledger)) as cut:
        trial_id = ledger.claim(9, OWNER).trial_id
    assert cut.happened
    assert trial_id is not None
    assert storage.get_trial(trial_id).state == TrialState.RUNNING


@pytest.mark.parametrize("call", ["complete", "fail"])
def test_an_end_that_came_too_late_is_none_also_after_a_cut(storage: StudyStorage, server: Server, call: str) -> None:
    ledger = make_ledger(storage, "study")
    (lease,) = ledger.look()[1]
    with Cut(storage, server, 0, meanwhile=lambda: expire_all(ledger)) as cut:
        result = CALLS[call](ledger, lease)
    assert cut.happened
    assert states(ledger) == "FWW"
    assert storage.get_trial(lease.trial_id).user_attrs["stop_reason"] == "preempted"
    assert result is None


def test_a_study_is_finished_exactly_while_all_connections_keep_ending(storage: StudyStorage, server: Server) -> None:
    """Four threads, each with a peer's storage; an administrator ends every connection, over and over."""
    ledger = make_ledger(storage, "study")
    over, progress = threading.Event(), threading.Event()
    ended = 0

    def work(own: StudyStorage) -> None:
        mine = Ledger(own, ledger.study_id)
        while (trial_id := mine.claim(31, OWNER).trial_id) is not None:
            progress.set()
            own.set_trial_param(trial_id, "lr", 0.1, FloatDistribution(0, 1))
            state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)[trial_id % 3]
            mine.end(trial_id, state, None if state == TrialState.FAIL else 4.5, {"stop_reason": "crashed"}, 9)
            progress.set()
        own.engine.dispose()

    def cut() -> None:
        nonlocal ended
        while not over.wait(0.05):
            if progress.is_set():  # a cut costs all that was under way: on a slow machine the next one waits
                progress.clear()
                ended += server.end_connections()

    url = storage.engine.url.render_as_string(hide_password=False)
    threads = [threading.Thread(target=work, args=[open_storage(url, connections=2)]) for _ in range(4)]
    storm = threading.Thread(target=cut)
    for thread in threads:
        thread.start()
    storm.start()
    for thread in threads:
        thread.join()
    over.set()
    storm.join()
    found = states(ledger)
    assert [number for number, *_ in contents(ledger)] == list(range(len(found)))
    assert found.count("C") + found.count("P") == 30
    assert found[0] == "R"  # the one that nobody ended
    assert set(found[1:]) <= set("CPFW")
    assert ended > 10
    retried = Counter(attributes["retry_of"] for *_, attributes, _, _ in contents(ledger) if "retry_of" in attributes)
    assert max(retried.values()) == 1
    assert sorted(retried) == [number for number, state in enumerate(found) if state == "F"]


@pytest.mark.parametrize(
    "level",
    ["repeatable read", "serializable"],
)
def test_the_total_is_exact_whatever_the_server_s_isolation(database: str, server: Server, level: str) -> None:
    with server.connect("postgres") as connection:
        name = database.rpartition("/")[2]
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'".encode())
    storage = open_storage(database, connections=8)
    ledger = make_ledger(storage, "study")

    def work() -> None:
        while (trial_id := ledger.claim(31, OWNER).trial_id) is not None:
            ledger.end(trial_id, TrialState.COMPLETE, 4.5, {"stop_reason": "finished"}, 2)

    with ThreadPoolExecutor(8) as threads:
        for call in [threads.submit(work) for _ in range(8)]:
            call.result()
    found = contents(ledger)
    storage.engine.dispose()
    assert [number for number, *_ in found] == list(range(31))  # 30, and the one that nobody ended


def test_a_trial_that_was_queued_with_another_s_attributes_is_claimed_and_ended(storage: StudyStorage) -> None:
    """As Optuna's own callback for retries does, which copies them; else no machine could ever claim again."""
    study = optuna.create_study(study_name="study", storage=storage)
    study.enqueue_trial({"lr": 0.1}, user_attrs={"owner": {"host": "there"}, "stop_reason": "crashed", "run": {}})
    for name, value in {"owner": {"host": "there"}, "run": {}}.items():
        storage.set_trial_system_attr(study.trials[0]._trial_id, name, value)
    ledger = Ledger(storage, study._study_id)
    trial_id = ledger.claim(9, OWNER).trial_id
    assert trial_id is not None
    assert ledger.end(trial_id, TrialState.COMPLETE, 4.5, {"stop_reason": "finished", "run": {}}, 2) == 1
    assert study.trials[0].user_attrs["stop_reason"] == "finished"
