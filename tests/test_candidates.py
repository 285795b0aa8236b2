"""Which configs a confirmation runs: tables of searches and of what races, and which pruned trials are finished."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.confirmation.candidates import Candidate, audited, candidates, same
from search.settings.sections import Confirm
from search.settings.settings import Settings
from search.study import findings as report
from search.study import storage
from search.trial import StopReason
from space.hyperparameters import Hyperparameters
from tests.studies import FLAT, PREPARED, STEPPED, miniature, run

V0 = Hyperparameters(1e-3, 0.01)
RANGES = "version = 1\n[lr]\nlow = {low}\nhigh = {high}\n[weight_decay]\nlow = 1e-3\nhigh = 1.0\n"
BASELINE = '[[baselines]]\nname = "{}"\nlr = {}\nweight_decay = 0.01\n'


@dataclass(frozen=True)
class Search:
    """A search in memory."""

    settings: Settings
    study: optuna.Study

    @property
    def findings(self) -> report.Findings:
        return report.read(self.study)

    @property
    def candidates(self) -> list[Candidate]:
        return candidates(self.findings, self.settings)


def searched(folder: Path, trials: list[tuple[dict[str, Any], float, str | None]], **overrides: Any) -> Search:
    """Of flat trials (parameters over FLAT, lowest evaluation, name of a baseline)."""
    settings = miniature(folder, {key.replace("__", "."): value for key, value in overrides.items()})
    study = optuna.create_study()
    for key, value in storage.attributes_of(settings, PREPARED).items():
        study.set_user_attr(key, value)
    for params, value, baseline in trials:
        run(study, {**FLAT, **params}, [4.9, value], baseline=baseline)
    return Search(settings, study)


def table(configs: list[Candidate]) -> list[tuple[str, float, int | None, float | None]]:
    return [(c.name, c.point.lr, c.trial, c.truncated) for c in configs]


def space_file(folder: Path, low: float, high: float, *baselines: tuple[str, float]) -> str:
    file = folder / "space.toml"
    file.write_text(RANGES.format(low=low, high=high) + "".join(BASELINE.format(*b) for b in baselines))
    return str(file)


TRIALS = [
    ({}, 3.6, "V0"),
    ({"lr": 4e-4}, 3.3, None),
    ({"lr": 2e-4}, 3.4, None),
    ({"lr": 5e-4}, 3.5, None),
    ({"lr": 6e-4}, 4.1, None),
]


@pytest.mark.parametrize(("top", "names"), [(1, ["trial 1"]), (3, ["trial 1", "trial 2", "trial 3"])])
def test_the_stock_recipe_and_the_best_trials_race(tmp_path: Path, top: int, names: list[str]) -> None:
    configs = searched(tmp_path, TRIALS, confirm__top=top).candidates
    assert [c.name for c in configs] == ["V0", *names]
    assert table(configs)[:2] == [("V0", 1e-3, 0, 3.6), ("trial 1", 4e-4, 1, 3.3)]


def test_a_trial_at_the_stock_recipe_s_point_takes_no_place_among_the_best(tmp_path: Path) -> None:
    trials = [({}, 3.6, "V0"), ({}, 3.0, None), ({"lr": 4e-4}, 3.3, None), ({"lr": 2e-4}, 3.4, None)]
    configs = searched(tmp_path, trials, confirm__top=2).candidates
    assert table(configs) == [("V0", 1e-3, 1, 3.0), ("trial 2", 4e-4, 2, 3.3), ("trial 3", 2e-4, 3, 3.4)]


def test_two_trials_of_one_point_are_one_config(tmp_path: Path) -> None:
    configs = searched(tmp_path, [({"lr": 4e-4}, 3.3, None), ({"lr": 4e-4}, 3.2, None), ({}, 3.6, "V0")]).candidates
    assert table(configs) == [("V0", 1e-3, 2, 3.6), ("trial 1", 4e-4, 1, 3.2)]


def test_baselines_keep_their_names(tmp_path: Path) -> None:
    assert [c.name for c in searched(tmp_path, [({}, 3.6, "V0"), ({"lr": 4e-4}, 3.3, "V1")]).candidates] == ["V0", "V1"]


def test_without_a_completed_trial_of_its_own_the_stock_recipe_races_nonetheless(tmp_path: Path) -> None:
    assert table(searched(tmp_path, [({"lr": 4e-4}, 3.3, None)]).candidates) == [
        ("V0", 1e-3, None, None),
        ("trial 0", 4e-4, 0, 3.3),
    ]


def test_repeats_of_the_stock_recipe_do_not_stand_for_it(tmp_path: Path) -> None:
    search = searched(tmp_path, [], study__repeats=1)
    run(search.study, FLAT, [3.6], baseline="V0", attributes={"repeat": 0})
    run(search.study, FLAT, [3.1], attributes={"repeat": 1, "seed": 2})
    run(search.study, {**FLAT, "lr": 4e-4}, [3.3])
    assert table(search.candidates) == [("V0", 1e-3, 0, 3.6), ("trial 2", 4e-4, 2, 3.3)]


@pytest.mark.parametrize(
    ("low", "baselines", "expected"),
    [
        # Without baselines the preset's stock recipe races; within the space it is the default, too.
        (1e-4, [], [("V0", 1e-3)]),
        # It does not contain the stock recipe, which runs as it stands, and fitted into it.
        (2e-3, [], [("V0", 1e-3), ("V0 within the space", 2e-3)]),
        (2e-3, [("V0", 1e-3)], [("V0", 1e-3), ("V0 within the space", 2e-3)]),
        # Its first baseline is its default.
        (1e-4, [("mine", 5e-3), ("V0", 1e-3)], [("V0", 1e-3), ("mine", 5e-3)]),
        (2e-3, [("mine", 1e-3), ("V0", 1e-3)], [("V0", 1e-3), ("mine within the space", 2e-3)]),
        # Its own V0 is its stock recipe.
        (1e-4, [("V0", 7e-3)], [("V0", 7e-3)]),
    ],
)
def test_the_default_of_a_space_of_the_user_s_own(
    tmp_path: Path, low: float, baselines: list[tuple[str, float]], expected: list[tuple[str, float]]
) -> None:
    file = space_file(tmp_path, low, 1e-2, *baselines)
    trials = [({"lr": 8e-3}, 3.3, None)]
    configs = searched(tmp_path, trials, space__file=file).candidates
    assert [(c.name, c.point.lr) for c in configs] == [*expected, ("trial 0", 8e-3)]


def test_a_recipe_that_the_search_clipped_does_not_take_the_recipe_s_name(tmp_path: Path) -> None:
    """V0 at 1e-3 lies outside; the search ran it at 2e-3, and called it by its name."""
    file = space_file(tmp_path, 2e-3, 1e-2, ("mine", 5e-3), ("V0", 1e-3))
    trials = [({"lr": 5e-3}, 3.6, "mine"), ({"lr": 2e-3}, 3.3, "V0")]
    assert table(searched(tmp_path, trials, space__file=file).candidates) == [
        ("V0", 1e-3, None, None),
        ("mine", 5e-3, 0, 3.6),
        ("trial 1", 2e-3, 1, 3.3),
    ]


def test_in_a_space_of_one_point_the_stock_recipe_is_alone(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text("version = 1\n[lr]\nvalue = 1e-3\n[weight_decay]\nvalue = 0.01\n")
    assert [c.name for c in searched(tmp_path, [({}, 3.6, None)] * 3, space__file=str(file)).candidates] == ["V0"]


# Lower rates

RATES = [0.3, 0.1]


def test_the_best_trial_of_short_runs_races_at_lower_rates_too(tmp_path: Path) -> None:
    configs = searched(tmp_path, TRIALS, confirm__top=2, confirm__lower_rates=RATES).candidates
    assert [c.name for c in configs] == ["V0", "trial 1", "trial 2", "trial 1 at 0.3 x lr", "trial 1 at 0.1 x lr"]
    assert [(c.point.lr, c.trial, c.truncated) for c in configs[3:]] == [
        (pytest.approx(1.2e-4), None, None),
        (pytest.approx(4e-5), None, None),
    ]


def test_at_a_lower_rate_all_else_is_the_trial_s(tmp_path: Path) -> None:
    search = searched(tmp_path, [({}, 3.6, "V0"), (STEPPED, 3.3, None)], confirm__lower_rates=RATES)
    trial, *lower = search.candidates[1:]
    assert trial.point.milestones and trial.point.clip_norm == 2.0
    assert [c.point for c in lower] == [replace(trial.point, lr=f * trial.point.lr) for f in RATES]


def test_full_length_trials_need_no_lower_rates(tmp_path: Path) -> None:
    """They overfit as the full run does, so that their order holds for it."""
    configs = searched(tmp_path, TRIALS, training__truncation=1.0, confirm__lower_rates=RATES).candidates
    assert [c.name for c in configs] == ["V0", "trial 1", "trial 2", "trial 3"]


@pytest.mark.parametrize(
    ("trials", "names"),
    [
        # Half of trial 1's rate is trial 2's, which races anyway.
        ([({}, 3.6, "V0"), ({"lr": 4e-4}, 3.3, None), ({"lr": 2e-4}, 3.4, None)], ["trial 1", "trial 2"]),
        # Half of it is the stock recipe's.
        ([({}, 3.6, "V0"), ({"lr": 2e-3}, 3.3, None)], ["trial 1"]),
    ],
)
def test_a_lower_rate_that_races_already_is_no_other_config(
    tmp_path: Path, trials: list[tuple[dict[str, Any], float, str | None]], names: list[str]
) -> None:
    configs = searched(tmp_path, trials, confirm__lower_rates=[0.5, 0.5, 0.25]).candidates
    assert [c.name for c in configs] == ["V0", *names, "trial 1 at 0.25 x lr"]


def test_the_stock_recipe_as_the_best_trial_races_at_lower_rates_too(tmp_path: Path) -> None:
    configs = searched(tmp_path, [({}, 3.0, "V0")], confirm__lower_rates=[0.5]).candidates
    assert table(configs) == [("V0", 1e-3, 0, 3.0), ("trial 0 at 0.5 x lr", 5e-4, None, None)]


def test_by_default_lower_rates_race(tmp_path: Path) -> None:
    default = Confirm()
    assert default.lower_rates
    given = {"confirm__top": default.top, "confirm__lower_rates": list(default.lower_rates)}
    trials = [({}, 3.6, "V0"), *(({"lr": 1.1e-4 + 1e-7 * i}, 3.3, None) for i in range(default.top))]
    assert len(searched(tmp_path, trials, **given).candidates) == 1 + default.top + len(default.lower_rates)


# Audits


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """With pruned trials: 2 to 6 by the median rule, of which 3 is at a point that races; 7 diverged."""
    search = searched(tmp_path, TRIALS[:2])
    for lr in (5e-3, 4e-4, 6e-3, 7e-3):
        run(search.study, {**FLAT, "lr": lr}, [4.9, 4.7, 4.8], StopReason.MEDIAN)
    run(search.study, STEPPED, [4.9, 4.8], StopReason.MEDIAN)
    run(search.study, {**FLAT, "lr": 9e-3}, [4.9, 4.8], StopReason.DIVERGED)
    return search


def drawn(search: Search, count: int, seed: int = 1) -> list[Candidate]:
    settings = search.settings.settings
    confirm = settings.confirm.model_copy(update={"audit": count})
    study = settings.study.model_copy(update={"seed": seed})
    given = settings.model_copy(update={"confirm": confirm, "study": study})
    return audited(search.findings, given, search.candidates)


@pytest.mark.parametrize(("count", "drawn_count"), [(0, 0), (2, 2), (4, 4), (9, 4)])
def test_so_many_pruned_trials_are_audited_that_do_not_race(search: Search, count: int, drawn_count: int) -> None:
    audits = drawn(search, count)
    assert len({c.trial for c in audits}) == len(audits) == drawn_count
    assert {c.trial for c in audits} <= {2, 4, 5, 6}
    assert all(c.is_audited and c.truncated is None and c.name == f"trial {c.trial}" for c in audits)


def test_an_audit_knows_what_pruning_saw(search: Search) -> None:
    audit = next(c for c in drawn(search, 4) if c.trial == 2)
    assert (audit.point.lr, audit.pruned_at, audit.pruned_value) == (5e-3, 60, 4.7)


def test_the_study_s_seed_draws_the_audits(search: Search) -> None:
    draws = [[c.trial for c in drawn(search, 2, seed)] for seed in (1, 1, 2, 3, 4)]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) > 1


# Points


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (V0, V0, True),
        (V0, Hyperparameters(1e-3 * (1 + 1e-15), 0.01), True),
        (V0, Hyperparameters(1.001e-3, 0.01), False),
        (V0, Hyperparameters(1e-3, 0.02), False),
        (V0, Hyperparameters(1e-3, 0.01, clip_norm=1.0), False),
        (V0, Hyperparameters(1e-3, 0.01, new_rows_lr_factor=0.5), False),
        (V0, Hyperparameters(1e-3, 0.01, frozen_layers=1), False),
        (V0, Hyperparameters(1e-3, 0.01, (0.5,), 0.5), False),
        (Hyperparameters(1e-3, 0.01, (0.5,), 0.5), Hyperparameters(1e-3, 0.01, (0.5,), 0.6), False),
        (Hyperparameters(1e-3, 0.01, (0.4,), 0.5), Hyperparameters(1e-3, 0.01, (0.5,), 0.5), False),
    ],
)
def test_points_that_train_alike(one: Hyperparameters, other: Hyperparameters, alike: bool) -> None:
    assert same(one, other) == same(other, one) == alike


def test_a_candidate_survives_the_storage(search: Search) -> None:
    study = optuna.create_study()
    for candidate in (*search.candidates, *drawn(search, 4)):
        study.set_user_attr("candidate", candidate.to_dict())
        assert Candidate.from_dict(study.user_attrs["candidate"]) == candidate
