"""Rounds of trials that planners on several machines queue: each round once, and nothing but what was queued is run."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.trial import TrialState

from search.study.ledger import Claim, Ledger
from search.study.storage import open_storage
from tests.cut import Cut
from tests.ledgers import OWNER, founded, states, trials
from tests.postgres import Server

ROUND = [({"lr": 0.1}, {"candidate": {"name": "V0"}, "seed": 7}), ({"lr": 0.2}, {"length": "full"})]


@pytest.fixture
def ledger(either: str) -> Iterator[Ledger]:
    opened = open_storage(either)
    yield founded(opened, [])
    opened.engine.dispose()


def claimed(ledger: Ledger) -> int:
    trial_id = ledger.claim(None, OWNER).trial_id
    assert trial_id is not None
    return trial_id


def complete(ledger: Ledger, trial_id: int, value: float = 4.5) -> None:
    ledger.end(trial_id, TrialState.COMPLETE, value, {"stop_reason": "finished"}, 2)


def test_a_round_is_queued_in_its_order_with_all_that_says_what_it_is(ledger: Ledger) -> None:
    assert ledger.queue(ROUND, 0) is True
    assert states(ledger) == "WW"
    assert [trial.user_attrs for trial in trials(ledger)] == [{"seed": 7}, {"length": "full"}]
    first, second = (trial.system_attrs for trial in trials(ledger))
    assert first == {"fixed_params": {"lr": 0.1}, "candidate": {"name": "V0"}}
    assert second == {"fixed_params": {"lr": 0.2}}
    study = optuna.load_study(study_name="study", storage=ledger._storage)
    ids = [claimed(ledger) for _ in ROUND]
    assert len(study.get_trials()) == 2
    assert [optuna.Trial(study, trial_id).suggest_float("lr", 0, 1) for trial_id in ids] == [0.1, 0.2]


@pytest.mark.parametrize("known", [0, 1, 3])
def test_a_round_that_was_planned_from_other_trials_is_not_queued(ledger: Ledger, known: int) -> None:
    ledger.queue(ROUND, 0)
    before = trials(ledger)
    assert ledger.queue(ROUND, known) is False
    assert trials(ledger) == before


def test_a_claim_of_the_queue_makes_no_trial(ledger: Ledger) -> None:
    assert ledger.claim(None, OWNER) == Claim(None, 0, None)
    ledger.queue(ROUND, 0)
    for trial_id, value in zip([claimed(ledger), claimed(ledger)], (4.5, 4.0), strict=True):
        assert ledger.claim(None, OWNER).trial_id is None
        complete(ledger, trial_id, value)
    assert ledger.claim(None, OWNER) == Claim(None, 2, (1, 4.0))
    assert states(ledger) == "CC"


def test_many_planners_and_claimers_run_every_round_once(ledger: Ledger) -> None:
    """Four machines, three rounds of four runs: whoever finds none waiting or running queues the next."""

    def work() -> None:
        while True:
            claim = ledger.claim(None, OWNER)
            if claim.trial_id is not None:
                complete(ledger, claim.trial_id)
                continue
            known = ledger._storage.get_all_trials(ledger.study_id)
            if not all(trial.state.is_finished() for trial in known):
                continue
            if len(known) == 12:
                return
            ledger.queue([({"lr": 0.1}, {"round": len(known)})] * 4, len(known))

    with ThreadPoolExecutor(4) as threads:
        for call in [threads.submit(work) for _ in range(4)]:
            call.result()
    assert states(ledger) == "C" * 12
    assert [trial.user_attrs["round"] for trial in trials(ledger)] == [0] * 4 + [4] * 4 + [8] * 4


# A lost answer; the connection is cut at every other moment, of claims too, in test_ledger_faults.py


def test_a_round_whose_answer_was_lost_is_not_queued_twice(database: str, server: Server) -> None:
    storage = open_storage(database)
    for moment in range(100):
        ledger = founded(storage, [], f"study {moment}")
        there: list[str] = []
        with Cut(storage, server, moment, meanwhile=lambda made=ledger, seen=there: seen.append(peeked(made))):
            told = ledger.queue(ROUND, 0)
        if there == ["WW"]:
            break
        assert told is True
    assert told is False  # it does not know that it did; it reads the study again, and finds the round
    assert states(ledger) == "WW"
    storage.engine.dispose()


def peeked(ledger: Ledger) -> str:
    """The states, by a connection that is not cut."""
    peer = open_storage(ledger._storage.engine.url.render_as_string(hide_password=False))
    found = states(Ledger(peer, ledger.study_id))
    peer.engine.dispose()
    return found
