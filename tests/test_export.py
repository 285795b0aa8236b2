import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import optuna
import pytest

from search.confirmation import export
from search.errors import UserError
from search.settings import best_config
from search.settings.best_config import BestConfig, Candidate, Confirmation, FullRun
from search.settings.settings import Settings
from search.study import findings as report
from search.study.fingerprint import fingerprint
from search.trial import StopReason
from space.hyperparameters import Hyperparameters
from tests.conftest import ROOT
from tests.studies import BASE, FLAT, PREPARED, STEPPED, miniature, new_study, run, three_trials

SCHEMA = ROOT / "docs" / "best_config.schema.json"
STOCK = Hyperparameters(1e-3, 0.01)  # the miniature's, which FLAT is, too


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[optuna.Study, Settings]:
    """Only to be read. Trial 2 is the best, trial 0 the stock recipe."""
    return three_trials(tmp_path_factory.mktemp("three"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return miniature(tmp_path)


@pytest.fixture
def study(settings: Settings) -> optuna.Study:
    return new_study(settings)


def built(study: optuna.Study, settings: Settings, **given: Any) -> BestConfig:
    return export.build(report.read(study), settings, study.user_attrs, **given)


def confirmation_of(
    *candidates: tuple[str, int | None, Hyperparameters], exported: int = 0, **given: Any
) -> Confirmation:
    """A confirmation of `candidates` (name, trial, point), which recommends one of them by its place."""
    runs = [FullRun(trial=0, seed=1, value=2.5, best_step=900, stop_reason="finished")]
    made = [
        Candidate(
            name=name, trial=trial, hyperparameters=point, truncated=2.75, runs=runs, mean=2.5,
            dropped_after=None,
        )
        for name, trial, point in candidates
    ]  # fmt: skip
    fields: dict[str, Any] = {
        "study": "miniature.confirm", "verdict": "better than the stock recipe", "text": "The winner's mean is lower.",
        "winner": made[0].name, "exported": made[exported].name, "base": 5.0,
        "over_stock": {"estimate": 0.5, "low": 0.1, "high": 0.9}, "over_base": None, "level": 0.95,
        "method": "by hand", "seed_sd": 0.1, "seed_sd_df": 4, "candidates": made, "fidelity": None, "audit": None,
    }  # fmt: skip
    return Confirmation(**{**fields, **given})


# The document


def test_a_real_export_is_of_the_published_schema(three: tuple[optuna.Study, Settings], tmp_path: Path) -> None:
    point = three[1].search_space().from_params(STEPPED)
    for confirmation in (None, confirmation_of(("trial 2", 2, point), ("stock", 0, STOCK))):
        best = built(*three, confirmation=confirmation)
        export.write(best, tmp_path / "best_config.json")
        assert best_config.read(tmp_path / "best_config.json") == best
        content = json.loads((tmp_path / "best_config.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(content)


def test_an_older_version_is_refused_and_replaced(three: tuple[optuna.Study, Settings], tmp_path: Path) -> None:
    path = tmp_path / "best_config.json"
    path.write_text('{"version": 1, "study": "miniature", "hyperparameters": {}}')
    with pytest.raises(UserError, match="has version 1; this release reads 3 and 4: make it anew"):
        best_config.read(path)
    export.write(built(*three), path)
    assert best_config.read(path).version == 4


def test_a_confirmation_of_version_3_is_read_without_a_rate_line(
    three: tuple[optuna.Study, Settings], tmp_path: Path
) -> None:
    expected = built(*three, confirmation=confirmation_of(("stock", 0, STOCK)))
    content = json.loads(export.to_json(expected))
    del content["confirmation"]["rate_line"], content["confirmation"]["candidates"][0]["scaled_from"]
    path = tmp_path / "best_config.json"
    path.write_text(json.dumps({**content, "version": 3}))
    found = best_config.read(path)
    assert found == expected and found.confirmation and found.confirmation.rate_line is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 5}, "has version 5"),
        ({"evidence": {}}, "evidence.trial is missing"),
        ({"unknown": 1}, "unknown key unknown; allowed are version, study"),
        ({"hyperparameters": {"lr": 0, "weight_decay": 0}}, "hyperparameters.lr is 0: it must be greater than 0"),
    ],
)
def test_a_file_that_was_changed_into_nonsense_is_refused(
    three: tuple[optuna.Study, Settings], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "best_config.json"
    path.write_text(json.dumps({**json.loads(export.to_json(built(*three))), **change}))
    with pytest.raises(UserError, match=words):
        best_config.read(path)


# What is exported


def test_the_winner_is_exported_for_the_full_horizon(three: tuple[optuna.Study, Settings]) -> None:
    best = built(*three)
    assert best.hyperparameters == Hyperparameters(4e-4, 0.02, best.hyperparameters.milestones, 0.5, 2.0)
    assert best.hyperparameters.milestones == pytest.approx([0.25, 0.5])
    assert best.schedule.model_dump() == {
        "horizon": 1000, "evaluation_steps": [50 * i for i in range(1, 21)], "milestones": [250, 500], "gamma": 0.5,
        "accumulation": 1, "batch_size": 4,
    }  # fmt: skip
    assert (best.grad_accum_steps, best.warnings, best.base_model) == (1, [], asdict(BASE))
    evidence = best.evidence
    assert evidence is not None and evidence.record is not None
    assert (evidence.trial, evidence.stop_reason, evidence.value, evidence.best_step) == (2, "finished", 2.75, 180)
    assert (evidence.evaluations[8]["mel_ce"], evidence.evaluations[8]["gap"]) == (2.75, 1.25)
    assert (evidence.record["steps"], evidence.trial_horizon, evidence.finished_trials) == (200, 200, 3)
    provenance = best.provenance
    assert (provenance.fingerprint, provenance.versions) == (fingerprint(three[1], PREPARED), PREPARED.versions)
    assert (provenance.seed, provenance.train_clips, provenance.eval_clips) == (1, 100, 20)
    assert provenance.added_tokens == ["ሀ", "[am]"]


def test_the_coqui_config_is_the_prepared_one_with_what_was_searched(
    three: tuple[optuna.Study, Settings], tmp_path: Path
) -> None:
    best = built(three[0], miniature(tmp_path, {"training.precision": "bf16"}))
    assert best.coqui_config == {
        "run_name": "miniature", "run_description": best.status, "optimizer": "AdamW", "lr": 4e-4,
        "optimizer_params": {"betas": [0.9, 0.96], "eps": 1e-8, "weight_decay": 0.02},
        "lr_scheduler": "MultiStepLR", "lr_scheduler_params": {"milestones": [250, 500], "gamma": 0.5},
        "scheduler_after_epoch": False, "grad_clip": 2.0, "batch_size": 4, "eval_batch_size": 20,
        "eval_split_size": 0.12, "training_seed": 1, "epochs": 40, "save_checkpoints": True,
        "mixed_precision": True, "precision": "bf16", "allow_tf32": False,
    }  # fmt: skip
    flat = built(*three, point=STOCK).coqui_config
    assert (flat["lr_scheduler"], flat["lr_scheduler_params"], flat["grad_clip"]) == (None, {}, 0.0)
    assert (flat["mixed_precision"], flat["precision"], flat["allow_tf32"]) == (False, "fp16", False)


def test_accumulation_is_exported_beside_the_config(tmp_path: Path) -> None:
    settings = miniature(tmp_path, {"training.accumulation": 3})
    study = new_study(settings, replace(PREPARED, train_clips=1000))
    run(study, STEPPED, [4.0])
    best = built(study, settings)
    assert best.grad_accum_steps == best.schedule.accumulation == 3
    assert best.schedule.horizon == 84 * 40  # updates an epoch, epochs
    assert best.schedule.milestones == [840, 1680]
    assert best.coqui_config["epochs"] == 40


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, (2, "auto", 5.0, 3.0, 1.3)),
        ({"pruning.n_increases": 3, "pruning.min_delta": 0.01, "train.max_gap": 2.0}, (3, 0.01, 5.0, 2.0, 1.3)),
        ({"pruning.two_increases": False}, (None, "auto", 5.0, 3.0, 1.3)),
    ],
)
def test_the_full_run_stops_by_the_study_s_rules(
    tmp_path: Path, overrides: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    settings = miniature(tmp_path, overrides)
    study = new_study(settings)
    run(study, FLAT, [4.0])
    stopping = built(study, settings).stopping
    assert tuple(stopping.model_dump().values()) == expected


def test_the_settings_are_whole_and_hold_nothing_secret_or_local(
    three: tuple[optuna.Study, Settings], tmp_path: Path
) -> None:
    url = "postgresql://reader:hunter2@host/db?password=hunter2"
    best = built(
        three[0], miniature(tmp_path, {"study.storage": url, "study.workers": 2, "data.max_audio_seconds": 9.0})
    )
    assert Settings.model_validate(best.settings).data.max_audio_seconds == 9.0
    assert best.settings["study"] == {
        "name": "miniature", "trials": 40, "until_settled": False, "seed": 1, "repeats": 0, "max_retries": 5,
        "stall_minutes": 60.0, "warm_start": [],
    }  # fmt: skip
    assert not [word for word in ("hunter2", "@host", str(tmp_path)) if word in export.to_json(best)]


# Confirmed or not


def test_an_unconfirmed_export_says_so(study: optuna.Study, settings: Settings) -> None:
    run(study, STEPPED, [5.0])
    best = built(study, settings)
    assert best.confirmed is False
    assert best.status.startswith("Not confirmed: trial 0 is one run with one seed, of 200 of the 1000 optimizer steps")
    assert best.status.endswith("does not beat the untouched base model (5.0000).")
    assert "no run of it speaks for them" in built(study, settings, point=STOCK).status


@pytest.mark.parametrize(
    ("recommended", "verdict", "trial", "confirmed"),
    [
        (0, "better than the stock recipe", 2, True),
        (0, "better than the stock recipe", 0, False),
        (1, "no better than the stock recipe", 2, False),
        (1, "do not fine-tune", 0, True),
    ],
)
def test_confirmed_is_what_the_confirmation_recommends(
    three: tuple[optuna.Study, Settings], recommended: int, verdict: str, trial: int, confirmed: bool
) -> None:
    best_point = three[1].search_space().from_params(STEPPED)
    confirmation = confirmation_of(
        ("trial 2", 2, best_point), ("stock", 0, STOCK), exported=recommended, verdict=verdict, text=f"It is {verdict}."
    )
    row = next(row for row in report.read(three[0]).rows if row.trial.number == trial)
    best = built(*three, trial=row, confirmation=confirmation)
    assert best.confirmed is confirmed
    name = confirmation.exported
    other = f"Not confirmed: the study's confirmation recommends {name}, not trial {trial}."
    assert best.status == (f"It is {verdict}." if confirmed else other)


# Files


def written(study: optuna.Study, settings: Settings) -> tuple[dict[str, Any] | None, list[str]]:
    """(the study's file as a search leaves it, what it said)."""
    said: list[str] = []
    path, _ = export.write_best_config(report.read(study), settings, study.user_attrs, said.append)
    assert path in (None, settings.directory / "best_config.json")
    return json.loads(path.read_text(encoding="utf-8")) if path else None, said


def test_what_a_search_leaves_and_a_confirmed_file_is_kept_while_it_covers_the_best_trial(
    study: optuna.Study, settings: Settings
) -> None:
    run(study, FLAT, [4.9], StopReason.MEDIAN)
    assert written(study, settings) == (None, [])  # nothing before a trial has completed
    for trial, loss in ((1, 4.5), (2, 4.0)):  # a new winner replaces the export
        run(study, FLAT, [loss])
        content, said = written(study, settings)
        assert content and (content["evidence"]["trial"], said) == (trial, [])
    export.write(
        built(study, settings, confirmation=confirmation_of(("stock", 2, STOCK))),
        settings.directory / "best_config.json",
    )
    run(study, STEPPED, [4.5])
    content, said = written(study, settings)
    assert content and content["confirmed"] is True
    assert said == ["best_config.json is kept: its confirmation covers trial 2, the best of the search"]
    run(study, STEPPED, [3.0])
    content, said = written(study, settings)
    assert content and (content["confirmed"], content["evidence"]["trial"]) == (False, 4)
    assert said == ["best_config.json is replaced: trial 4, now the best of the search, was not in its confirmation"]


STRANGE = [
    ("a shopping list", "is not a best_config.json"),
    ('{"version": 1, "study": "other", "hyperparameters": {}}', "is not a best_config.json of study 'miniature'"),
]


@pytest.mark.parametrize(("content", "words"), STRANGE)
def test_a_strange_file_is_left_alone(
    three: tuple[optuna.Study, Settings], study: optuna.Study, settings: Settings, content: str, words: str
) -> None:
    path = settings.directory / "best_config.json"
    path.write_text(content)
    with pytest.raises(UserError, match=words):
        export.write(built(*three), path)
    run(study, FLAT, [4.0])
    found, said = written(study, settings)  # the end of a search says it, and goes on
    assert found is None
    assert len(said) == 1 and words in said[0]
    assert path.read_text() == content
