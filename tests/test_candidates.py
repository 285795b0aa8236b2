"""Which configs a confirmation starts from: tables of searches, and which pruned trials are finished."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.confirmation.candidates import Candidate, audited, best_trials, recipes, same
from search.settings.settings import Settings
from search.study import findings as search_findings
from search.trial import StopReason
from space.hyperparameters import Hyperparameters
from tests.reported import founded
from tests.studies import FLAT, STEPPED, miniature, run

Trials = list[tuple[float, float, str | None]]  # learning rate, lowest evaluation, name of a baseline


@dataclass(frozen=True)
class Search:
    """A search in memory."""

    settings: Settings
    study: optuna.Study

    @property
    def findings(self) -> search_findings.Findings:
        return search_findings.read(self.study)

    @property
    def candidates(self) -> list[Candidate]:
        known = recipes(self.findings, self.settings)
        return [*known, *best_trials(self.findings, self.settings, known)]

    @property
    def table(self) -> list[str]:
        """Name, learning rate, trial and its value, of each config."""
        return [f"{c.name}: {c.point.lr:g} {c.trial} {c.truncated}" for c in self.candidates]


def searched(folder: Path, trials: Trials, **overrides: Any) -> Search:
    """Of flat trials."""
    settings = miniature(folder, {key.replace("__", "."): value for key, value in overrides.items()})
    study = founded(settings)
    for lr, value, baseline in trials:
        run(study, {**FLAT, "lr": lr}, [4.9, value], baseline=baseline)
    return Search(settings, study)


TRIALS: Trials = [(1e-3, 3.6, "V0"), (4e-4, 3.3, None), (2e-4, 3.4, None), (5e-4, 3.5, None), (6e-4, 4.1, None)]


@pytest.mark.parametrize(
    ("trials", "top", "expected"),
    [
        (TRIALS, 1, ["V0: 0.001 0 3.6", "trial 1: 0.0004 1 3.3"]),
        (TRIALS, 3, ["V0: 0.001 0 3.6", "trial 1: 0.0004 1 3.3", "trial 2: 0.0002 2 3.4", "trial 3: 0.0005 3 3.5"]),
        # A trial at the stock recipe's point takes no place among the best.
        ([*TRIALS, (1e-3, 3.0, None)], 1, ["V0: 0.001 5 3.0", "trial 1: 0.0004 1 3.3"]),
        # Two trials of one point are one config.
        ([(4e-4, 3.3, None), (4e-4, 3.2, None)], 2, ["V0: 0.001 None None", "trial 1: 0.0004 1 3.2"]),
        # Baselines keep their names.
        ([(1e-3, 3.6, "V0"), (4e-4, 3.3, "V1")], 2, ["V0: 0.001 0 3.6", "V1: 0.0004 1 3.3"]),
        # The stock recipe runs without a completed trial of its own.
        ([(4e-4, 3.3, None)], 2, ["V0: 0.001 None None", "trial 0: 0.0004 0 3.3"]),
    ],
)
def test_it_starts_from_the_stock_recipe_and_the_best_trials(
    tmp_path: Path, trials: Trials, top: int, expected: list[str]
) -> None:
    assert searched(tmp_path, trials, confirm__top=top).table == expected


def test_repeats_of_the_stock_recipe_do_not_stand_for_it(tmp_path: Path) -> None:
    search = searched(tmp_path, [], study__repeats=1)
    run(search.study, FLAT, [3.6], baseline="V0", attributes={"repeat": 0})
    run(search.study, FLAT, [3.1], attributes={"repeat": 1, "seed": 2})
    run(search.study, {**FLAT, "lr": 4e-4}, [3.3])
    assert search.table == ["V0: 0.001 0 3.6", "trial 2: 0.0004 2 3.3"]


@pytest.mark.parametrize(
    ("low", "baselines", "trials", "expected"),
    [
        # Without baselines the preset's stock recipe runs; within the space it is the default, too.
        (1e-4, [], [], ["V0: 0.001 None None"]),
        # It does not contain the stock recipe, which runs as it stands, and fitted into it.
        (2e-3, [("V0", 1e-3)], [], ["V0: 0.001 None None", "V0 within the space: 0.002 None None"]),
        # Its first baseline is its default.
        (1e-4, [("mine", 5e-3), ("V0", 1e-3)], [], ["V0: 0.001 None None", "mine: 0.005 None None"]),
        (2e-3, [("mine", 1e-3)], [], ["V0: 0.001 None None", "mine within the space: 0.002 None None"]),
        # Its own V0 is its stock recipe.
        (1e-4, [("V0", 7e-3)], [], ["V0: 0.007 None None"]),
        # The search clipped V0 at 1e-3 to 2e-3, and called it by its name, which is the recipe's.
        (
            2e-3,
            [("mine", 5e-3), ("V0", 1e-3)],
            [(5e-3, 3.6, "mine"), (2e-3, 3.5, "V0")],
            ["V0: 0.001 None None", "mine: 0.005 0 3.6", "trial 1: 0.002 1 3.5"],
        ),
    ],
)
def test_the_default_of_a_space_of_the_user_s_own(
    tmp_path: Path, low: float, baselines: list[tuple[str, float]], trials: Trials, expected: list[str]
) -> None:
    text = f"version = 1\n[lr]\nlow = {low}\nhigh = 1e-2\n[weight_decay]\nlow = 1e-3\nhigh = 1.0\n"
    text += "".join(f'[[baselines]]\nname = "{n}"\nlr = {lr}\nweight_decay = 0.01\n' for n, lr in baselines)
    (tmp_path / "space.toml").write_text(text)
    search = searched(tmp_path, trials or [(8e-3, 3.3, None)], space__file=str(tmp_path / "space.toml"))
    assert search.table == [*expected, *([] if trials else ["trial 0: 0.008 0 3.3"])]


# Audits


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """With pruned trials: 2 to 6 by the median rule, of which 3 is at a point that runs anyway; 7 diverged."""
    search = searched(tmp_path, TRIALS[:2])
    for lr in (5e-3, 4e-4, 6e-3, 7e-3):
        run(search.study, {**FLAT, "lr": lr}, [4.9, 4.7, 4.8], StopReason.MEDIAN)
    run(search.study, STEPPED, [4.9, 4.8], StopReason.MEDIAN)
    run(search.study, {**FLAT, "lr": 9e-3}, [4.9, 4.8], StopReason.DIVERGED)
    return search


def drawn(search: Search, count: int, seed: int = 1) -> list[Candidate]:
    confirm = search.settings.confirm.model_copy(update={"audit": count})
    study = search.settings.study.model_copy(update={"seed": seed})
    given = search.settings.model_copy(update={"confirm": confirm, "study": study})
    return audited(search.findings, given, search.candidates)


@pytest.mark.parametrize(("count", "drawn_count"), [(0, 0), (2, 2), (9, 4)])
def test_pruned_trials_that_do_not_run_anyway_are_audited(search: Search, count: int, drawn_count: int) -> None:
    audits = drawn(search, count)
    assert len({c.trial for c in audits}) == len(audits) == drawn_count
    assert {c.trial for c in audits} <= {2, 4, 5, 6}
    assert all(c.is_audited and c.truncated is None and c.name == f"trial {c.trial}" for c in audits)
    assert all((c.pruned_at, c.pruned_value) == ((60, 4.7) if c.trial != 6 else (40, 4.8)) for c in audits)


# Points


def test_points_that_train_alike() -> None:
    one = Hyperparameters(1e-3, 0.01, (0.5,), 0.5)
    assert same(one, one) and same(one, replace(one, lr=1e-3 * (1 + 1e-15)))
    changes: list[dict[str, Any]] = [
        {"lr": 1.001e-3}, {"weight_decay": 0.02}, {"clip_norm": 1.0}, {"new_rows_lr_factor": 0.5}, {"frozen_layers": 1},
        {"milestones": (), "gamma": None}, {"milestones": (0.4,)}, {"gamma": 0.6},
    ]  # fmt: skip
    for other in (replace(one, **change) for change in changes):
        assert not same(one, other) and not same(other, one), other
