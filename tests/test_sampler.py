"""The sampler against Optuna's own: the same suggestions, whatever the history and whoever else runs."""

import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import TrialState

from search.settings.settings import load
from search.study import storage
from search.study.sampler import Sampler
from space.search_space import SearchSpace
from tests.stub import PREPARED, settings_of

OURS = {"multivariate": True, "group": True, "constant_liar": True}  # as a search samples
SPACE = load(None, {}).search_space()


def make(kind: Callable[..., BaseSampler], **arguments: Any) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return kind(seed=3, **arguments)


def end(study: optuna.Study, trial: optuna.Trial, draw: random.Random) -> None:
    """One of the ends that a trial can have: also without any value, after NaN, and with a tie."""
    values = [draw.choice([draw.random(), 0.5, math.inf, math.nan]) for _ in range(draw.randrange(4))]
    for step, value in enumerate(values):
        trial.report(value, step)
    match draw.choice(["complete", "complete", "pruned", "fail"]):
        case "complete":
            study.tell(trial, draw.choice([draw.random(), 0.5]))
        case "pruned":
            study.tell(trial, state=TrialState.PRUNED)
        case "fail":
            study.tell(trial, state=TrialState.FAIL)


def searched(sampler: BaseSampler, space: SearchSpace, slots: int, trials: int) -> list[dict[str, Any]]:
    """The parameters of `trials`, some queued, of which `slots` run at a time and end in any order."""
    draw = random.Random(slots)
    study = optuna.create_study(sampler=sampler)
    running: list[optuna.Trial] = []
    for number in range(trials):
        if number % 7 == 3:
            study.enqueue_trial({"lr": 1e-3, "n_milestones": number % 4})
        trial = study.ask()
        space.suggest(trial)
        running.append(trial)
        while len(running) >= slots:
            end(study, running.pop(draw.randrange(len(running))), draw)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("slots", [1, 5])
@pytest.mark.parametrize(
    "arguments",
    [
        OURS,
        {**OURS, "constant_liar": False},
        {**OURS, "group": False},
        {"multivariate": False, "constant_liar": True},
        {**OURS, "n_startup_trials": 0},
    ],
    ids=str,
)
def test_it_suggests_what_optuna_suggests(arguments: dict[str, Any], slots: int) -> None:
    ours, theirs = (searched(make(kind, **arguments), SPACE, slots, 28) for kind in (Sampler, TPESampler))
    assert ours == theirs
    assert len({point["lr"] for point in ours}) > 18


def test_it_does_so_over_the_cache_of_a_search_that_shares_its_study(tmp_path: Path) -> None:
    """Claimed trials are sampled from one reading; a peer's trials come and go between two claims."""

    def found(kind: Callable[..., BaseSampler]) -> list[dict[str, Any]]:
        folder = tmp_path / kind.__name__
        folder.mkdir()
        settings = settings_of(f"sqlite:///{folder}/study.db", folder, trials=100, slots=1)
        opened = [storage.open_storage(settings.storage_url) for _ in range(2)]
        searches = [storage.open_study(settings, PREPARED, each) for each in opened]
        draw = random.Random(1)
        running: list[int] = []
        for number in range(20):
            study, ledger = searches[number % 2]
            if number < 2:
                study.sampler = make(kind, **OURS)
            claim = ledger.claim(100, {"host": "here"})
            assert claim.trial_id is not None
            storage.suggest(study, claim.trial_id, SPACE)
            running.append(claim.trial_id)
            while len(running) > 3:
                trial_id = running.pop(draw.randrange(len(running)))
                pruned = draw.random() < 0.4
                if pruned:
                    opened[0].set_trial_intermediate_value(trial_id, draw.randrange(3), draw.random())
                state = TrialState.PRUNED if pruned else TrialState.COMPLETE
                ledger.end(trial_id, state, draw.random(), {"stop_reason": "finished"}, 0)
        params = [trial.params for trial in searches[0][0].trials]
        for each in opened:
            each.engine.dispose()
        return params

    assert found(Sampler) == found(TPESampler)
