"""Confirmations of odd searches, and of runs that come to nothing: what is said must be true of them, too."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.commands import export as handover
from search.confirmation import confirm, readable
from search.confirmation.proof import regret_of
from search.errors import NoResult, UserError
from search.settings.sections import CONFIRMATION
from search.settings.settings import Settings
from search.study import storage
from tests.conftest import ROOT
from tests.reported import LOWER, full_runs, plan_of
from tests.stub_confirm import confirmed, keys, proven, runs_of, searched, truth
from tests.studies import FLAT, miniature, new_study, run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return searched(miniature(tmp_path, {"confirm.audit": 2}))


# Where runs, or all of a config's, come to nothing


def test_every_config_diverges_and_an_audited_trial_does_not(settings: Settings) -> None:
    truth(settings, diverges=1e-4)
    found = proven(settings)
    assert (found.verdict, found.exported) == ("do not fine-tune", "V0")
    assert found.audit and sorted(t.full is None for t in found.audit.trials) == [False, True]
    assert found.audit.full_regret is None


@pytest.mark.parametrize(
    ("kept", "lost", "regret"),
    [
        (3.0, [2.5, 2.75], 0.5),
        (3.0, [None, 2.75], 0.25),  # one diverged
        (3.0, [3.5], 0.0),
        (3.0, [None, None], None),  # all diverged, which says nothing for them, nor what pruning lost
        (None, [2.5], None),
        (math.inf, [2.5], None),
    ],
)
def test_the_regret_of_pruning(kept: float | None, lost: list[float | None], regret: float | None) -> None:
    assert regret_of(kept, lost) == regret


@pytest.mark.parametrize("crashing", [{"crashes": 9e-4}, {"starts": 9e-4}], ids=["V0 crashes", "all but V0 crash"])
def test_without_two_configs_nothing_is_claimed_and_the_next_command_runs_them_again(
    settings: Settings, crashing: dict[str, float]
) -> None:
    study = settings.study.model_copy(update={"max_retries": 0})
    two = settings.confirm.model_copy(update={"audit": 0, "top": 1})
    once = settings.model_copy(update={"study": study, "confirm": two})
    truth(settings, **crashing)
    with pytest.raises(NoResult, match=r"no full run of the stock recipe \(V0\) came to an end.* run the same command"):
        confirmed(once)
    before = keys(runs_of(settings))
    assert len({name for name, *_ in before}) == 1
    assert not handover.choose(settings, None).confirmed
    truth(settings)
    found = proven(settings)
    assert [c.name for c in found.candidates] == ["V0", "trial 1"] and all(len(c.runs) >= 3 for c in found.candidates)
    assert before.items() <= keys(runs_of(settings)).items() and set(keys(runs_of(settings)).values()) == {1}


def test_a_config_whose_run_of_the_line_did_not_end_does_not_race(settings: Settings) -> None:
    once = settings.model_copy(update={"study": settings.study.model_copy(update={"max_retries": 0})})
    study = storage.load_study(settings)
    run(study, {**FLAT, "lr": 7e-3}, [4.5, 3.0])
    study._storage.remove_session()
    truth(settings, crashes=6e-3)
    found = proven(once)
    assert found.rate_line and found.winner == found.rate_line.finalist == "trial 1"
    lost = found.rate_line.steps[1]
    assert (lost.name, lost.run, lost.turned, lost.sum_of_rates) == ("trial 7", None, False, 0)


# Odd searches


def test_a_space_of_one_point_has_no_other_config_and_seeds_go_round(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text("version = 1\n[lr]\nvalue = 1e-3\n[weight_decay]\nvalue = 0.01\n")
    settings = miniature(tmp_path, {"space.file": str(tmp_path / "space.toml"), "study.seed": 2**31 - 1})
    study = new_study(settings)
    run(study, FLAT, [4.5, 4.0])
    run(study, FLAT, [4.5, 4.0])
    study._storage.remove_session()
    found = proven(settings)
    assert found.text.startswith("No better than the stock recipe: only V0 itself ran, 2.")
    assert (found.winner, found.exported, found.over_stock, found.fidelity) == ("V0", "V0", None, None)
    assert keys(runs_of(settings)) == {("V0", seed, "full"): 1 for seed in (2**31 - 1, 0)}


@pytest.mark.parametrize("made_by", ["another tool", "a search"])
def test_a_study_of_the_confirmation_s_name_is_no_confirmation(settings: Settings, made_by: str) -> None:
    name = settings.study.name + CONFIRMATION
    if made_by == "a search":
        named = {"name": name, "storage": settings.storage_url}
        run(new_study(settings.model_copy(update={"study": settings.study.model_copy(update=named)})), FLAT, [3.0])
    else:
        optuna.create_study(study_name=name, storage=storage.open_storage(settings.storage_url))
        storage.load_study(settings, CONFIRMATION).add_trial(optuna.trial.create_trial(value=1.0))
    assert confirm.read(settings) is None
    assert not handover.choose(settings, None).confirmed
    with pytest.raises(UserError, match=r"give this search another name|was made with other settings"):
        confirmed(settings)


@pytest.mark.parametrize(
    "change", [{}, {"seeds": 2}, {"rates": "lower"}, {"recipes": []}, {"horizon": "long"}, {"of": "another release"}]
)
def test_a_plan_is_read_as_it_was_written_or_not_at_all(change: dict[str, Any]) -> None:
    plan = plan_of(full_runs({**LOWER, "audited": [2.9]}), seeds=3)
    document = json.loads(json.dumps(asdict(plan)))
    assert readable.plan_of({"plan": {**document, **change}}) == (None if change else plan)


def test_a_baseline_that_changed_since_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    text = (ROOT / "space" / "presets" / "miniature.toml").read_text()
    file.write_text(text)
    settings = searched(miniature(tmp_path, {"space.file": str(file), "confirm.audit": 0}))
    proven(settings)
    before = keys(runs_of(settings))
    file.write_text(text.replace('name = "V0"\nlr = 1e-3', 'name = "V0"\nlr = 2e-3'))
    settings = Settings.model_validate(settings.model_dump())  # read again
    with pytest.raises(UserError, match=r"V0 was lr 1.00e-03 .* and is lr 2.00e-03 .* here"):
        confirmed(settings)
    assert keys(runs_of(settings)) == before
