import io
import json
import math
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from search import export, report, storage
from search.atomic import write_text
from search.errors import UserError
from search.fingerprint import fingerprint
from search.ledger import Ledger
from search.settings import Settings, load
from search.trial import Evaluation, Prepared, RunRecord, StopReason
from space.search_space import load_preset
from tests import stub

BASE = Evaluation(step=0, mel_ce=5.0, text_ce=2.5, probe_mel_ce=4.0, probe_text_ce=2.0)
PREPARED = replace(
    stub.PREPARED,
    added_tokens=["ሀ", "[am]"],
    base_evaluation=asdict(BASE),
    coqui_config={
        "run_name": "am",
        "optimizer": "AdamW",
        "optimizer_params": {"betas": [0.9, 0.96], "eps": 1e-8, "weight_decay": 1e-2},
    },
)
FLAT = {"lr": 1e-3, "weight_decay": 0.01, "n_milestones": 0, "clip": False}
STEPPED = {
    "lr": 4e-4,
    "weight_decay": 0.02,
    "n_milestones": 2,
    "milestone_1": 0.25,
    "milestone_2_of_rest": 0.25 / 0.65,  # at one half
    "gamma": 0.5,
    "clip": True,
    "clip_norm": 2.0,
}


def miniature(directory: Path, overrides: dict[str, Any] | None = None) -> Settings:
    """Trials of 200 optimizer steps, evaluated every 20; full runs of 1000."""
    (directory / "study.toml").touch()  # an empty file is the miniature
    settings = load(directory / "study.toml", {"study.directory": str(directory), **(overrides or {})})
    settings.directory.mkdir()
    return settings


def new_study(settings: Settings, prepared: Prepared = PREPARED) -> optuna.Study:
    """A study as a search founds it, but without baselines in its queue."""
    database = storage.open_storage(settings.storage_url)
    study = optuna.create_study(study_name=settings.study.name, storage=database, direction="minimize")
    Ledger(database, study._study_id).found(storage.attributes_of(settings, prepared), [])
    return study


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return miniature(tmp_path)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a new study; a copy takes a fifth of the time."""
    settings = miniature(tmp_path_factory.mktemp("empty"))
    new_study(settings)
    return settings.directory / "study.db"


@pytest.fixture
def study(settings: Settings, empty: Path) -> optuna.Study:
    with sqlite3.connect(empty) as source, sqlite3.connect(settings.directory / "study.db") as target:
        source.backup(target)
    return storage.load_study(settings)


def record(steps: int, inert: list[str]) -> dict[str, Any]:
    made = RunRecord(
        steps=steps,
        micro_steps=steps,
        lr_first=1e-3,
        lr_last=1e-3,
        lr_changes=[],
        clipped_share=0.0,
        grad_norm_before=1.0,
        grad_norm_after=1.0,
        cumulative_decay=0.01,
        trainable_parameters=100,
        decayed_parameters=90,
        inert=inert,
        setup_seconds=1.0,
        train_seconds=30.0,
        evaluation_seconds=6.0,
    )
    return asdict(made)


def evaluations(losses: list[float]) -> list[Evaluation]:
    """Every 20 optimizer steps, with a gap of 1.25."""
    return [Evaluation(20 * i, loss, 2.0, loss / 1.25, 2.0) for i, loss in enumerate(losses, 1)]


def run(
    study: optuna.Study,
    params: dict[str, Any],
    losses: list[float],
    reason: StopReason = StopReason.FINISHED,
    baseline: str | None = None,
    inert: list[str] | None = None,
) -> None:
    """One trial from ask to tell, as a supervisor leaves it."""
    study.enqueue_trial(params, user_attrs={"baseline": baseline} if baseline else {})
    trial = study.ask()
    load_preset("miniature").suggest(trial)
    found = evaluations(losses)
    trial.set_user_attr("stop_reason", str(reason))
    trial.set_user_attr(
        "run",
        {"evaluations": [vars(e) for e in found], "record": record(20 * len(losses), inert or []), "error": None},
    )
    for evaluation in found:
        trial.report(evaluation.mel_ce, evaluation.step)
    if reason in (StopReason.FINISHED, StopReason.TWO_INCREASES):
        study.tell(trial, min(losses))
    else:
        study.tell(trial, state=TrialState.PRUNED)


def shown(study: optuna.Study) -> str:
    console = Console(file=io.StringIO(), width=160)
    report.show(report.read(study), load_preset("miniature"), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table(study: optuna.Study) -> list[list[str]]:
    """The words of each row between the title with the column names and the counts."""
    lines = shown(study).splitlines()
    end = next(i for i, line in enumerate(lines) if "finished trials" in line)
    return [line.split() for line in lines[2:end]]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> optuna.Study:
    """A study of three trials: a baseline that turned up again, a hopeless one, and the best. Only to be read."""
    study = new_study(miniature(tmp_path_factory.mktemp("three")))
    run(study, FLAT, [4.5, 4.25, 4.0, 4.1, 4.2], StopReason.TWO_INCREASES, "V0")
    run(study, {**FLAT, "lr": 5e-3}, [4.9, 4.8], StopReason.MEDIAN)
    run(study, STEPPED, [4.5, 4.0, 3.5, 3.25, 3.5, 3.0, 2.9, 2.8, 2.75, 2.9])
    return study


# Report


def test_findings(three: optuna.Study) -> None:
    findings = report.read(three)
    assert [row.trial.number for row in findings.completed] == [2, 0]
    assert [row.reason for row in findings.rows] == ["two_increases", "median", "finished"]
    assert findings.rows[0].best == Evaluation(60, 4.0, 2.0, 3.2, 2.0)
    assert findings.finished == 3
    assert findings.steps == (100 + 40 + 200, 600)
    assert findings.base == BASE


def test_the_tables_name_best_baseline_and_base(three: optuna.Study) -> None:
    assert shown(three).startswith("Study miniature")
    rows = table(three)
    assert len(rows) == 3
    assert rows[0][:6] == ["2", "2.7500", "180", "2.00", "1.25", "finished"]
    assert rows[1][:6] == ["0", "4.0000", "60", "2.00", "1.25", "two_increases"]
    assert rows[1][-1] == "V0"
    assert rows[2] == ["base", "5.0000", "0", "2.50", "1.25", "untouched", "base", "model"]
    assert rows[0][6:] == "lr 4.00e-04 wd 0.02 x0.5 at 25% 50% clip 2".split()


def test_the_counts_and_what_pruning_saved(three: optuna.Study) -> None:
    text = shown(three)
    assert "3 finished trials: 1 two_increases, 1 median, 1 finished" in text
    assert "Optimizer steps: 340 trained, 600 without pruning: 43% saved" in text
    assert "Trial 2 is 2.2500 nats per audio token below the untouched base model (2.7500 against 5.0000)." in text
    assert "It is 1.2500 below the stock recipe (V0, 4.0000)." in text


def test_a_pruned_baseline_is_shown_below_the_best(study: optuna.Study) -> None:
    run(study, FLAT, [4.9, 4.8], StopReason.MEDIAN, "V0")
    run(study, STEPPED, [4.0])
    assert [row[0] for row in table(study)] == ["1", "0", "base"]


def test_the_best_trials_are_five(study: optuna.Study) -> None:
    for i in range(7):
        run(study, FLAT, [4.0 - i / 10])
    assert [row[0] for row in table(study)] == ["6", "5", "4", "3", "2", "base"]


def test_a_study_without_a_result_says_so(study: optuna.Study) -> None:
    assert "No trial has completed yet." in shown(study)
    run(study, FLAT, [4.9], StopReason.DIVERGED)
    text = shown(study)
    assert "No trial has completed yet." in text
    assert "1 finished trials: 1 diverged" in text


@pytest.mark.parametrize(
    ("params", "loss", "inert", "expected"),
    [
        (FLAT, 5.0, [], ["Do not fine-tune: no trial beats the untouched base model (5.0000)."]),
        (FLAT, 5.5, [], ["Do not fine-tune: no trial beats the untouched base model (5.0000)."]),
        ({**FLAT, "lr": 1e-2}, 4.0, [], ["Warning: lr 0.01 lies at the edge of 4e-05 to 0.01; widen the range."]),
        (FLAT, 4.0, ["weight_decay: too small"], ["Did not act in trial 0: weight_decay: too small"]),
        (FLAT, 4.0, [], ["One seed and a truncated run each: the order of close trials is not proven."]),
    ],
)
def test_the_verdict_says_what_speaks_against_the_winner(
    study: optuna.Study, params: dict[str, Any], loss: float, inert: list[str], expected: list[str]
) -> None:
    run(study, params, [loss], inert=inert)
    findings = report.read(study)
    lines = report.verdict(findings, findings.completed[0], load_preset("miniature"))
    assert set(expected) <= set(lines)
    for mark in ("Do not fine-tune", "Warning", "Did not act"):
        assert any(line.startswith(mark) for line in lines) == any(line.startswith(mark) for line in expected)


@pytest.mark.parametrize(
    ("train", "evaluation", "slots", "line"),
    [
        (60, 12, 1, "Time: 1 m 20 s on 1 slot; training 75%, evaluation 15%, the rest 10%"),
        (90, 18, 2, "Time: 1 m 20 s on 2 slots; training 56%, evaluation 11%, the rest 32%"),
    ],
)
def test_the_time_is_shared_over_the_slots(train: float, evaluation: float, slots: int, line: str) -> None:
    assert report.time_share(train, evaluation, 80, slots) == line


def test_a_study_of_another_tool_is_refused() -> None:
    with pytest.raises(UserError, match="study 'other' was not made by xtts-study"):
        report.read(optuna.create_study(study_name="other"))


# Export


def exported(study: optuna.Study, settings: Settings) -> dict[str, Any]:
    path = export.write_best_config(report.read(study), settings, study.user_attrs, settings.search_space())
    assert path == settings.directory / "best_config.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_nothing_is_exported_before_a_trial_has_completed(study: optuna.Study, settings: Settings) -> None:
    run(study, FLAT, [4.9], StopReason.MEDIAN)
    before = sorted(settings.directory.iterdir())
    assert export.write_best_config(report.read(study), settings, study.user_attrs, settings.search_space()) is None
    assert sorted(settings.directory.iterdir()) == before


def test_the_winner_is_exported_for_the_full_horizon(three: optuna.Study, settings: Settings) -> None:
    content = exported(three, settings)
    assert content["hyperparameters"] == {
        "lr": 4e-4,
        "weight_decay": 0.02,
        "milestones": pytest.approx([0.25, 0.5]),
        "gamma": 0.5,
        "clip_norm": 2.0,
    }
    assert content["schedule"] == {
        "horizon": 1000,
        "milestones": [250, 500],
        "gamma": 0.5,
        "accumulation": 1,
        "batch_size": 4,
    }
    assert content["grad_accum_steps"] == 1
    assert content["confirmed"] is False


def test_the_coqui_config_is_the_prepared_one_with_what_was_searched(three: optuna.Study, settings: Settings) -> None:
    config = exported(three, settings)["coqui_config"]
    expected = {
        "run_name": "am",
        "optimizer": "AdamW",
        "lr": 4e-4,
        "optimizer_params": {"betas": [0.9, 0.96], "eps": 1e-8, "weight_decay": 0.02},
        "lr_scheduler": "MultiStepLR",
        "lr_scheduler_params": {"milestones": [250, 500], "gamma": 0.5},
        "scheduler_after_epoch": False,
        "grad_clip": 2.0,
        "batch_size": 4,
        "eval_batch_size": 20,
        "training_seed": 1,
        "mixed_precision": False,
        "precision": "fp16",
        "allow_tf32": False,
    }
    assert {name: config.get(name) for name in expected} == expected


def test_a_flat_winner_without_clip_sets_neither(study: optuna.Study, settings: Settings) -> None:
    run(study, FLAT, [4.0])
    content = exported(study, settings)
    assert content["schedule"]["milestones"] == []
    config = content["coqui_config"]
    assert (config["lr_scheduler"], config["lr_scheduler_params"], config["grad_clip"]) == (None, {}, 0.0)


def test_the_evidence_is_the_winner_s(three: optuna.Study, settings: Settings) -> None:
    evidence = exported(three, settings)["evidence"]
    assert (evidence["trial"], evidence["stop_reason"], evidence["value"], evidence["best_step"]) == (
        2,
        "finished",
        2.75,
        180,
    )
    assert len(evidence["evaluations"]) == 10
    assert evidence["evaluations"][8]["mel_ce"] == 2.75
    assert evidence["evaluations"][8]["gap"] == 1.25
    assert evidence["record"]["steps"] == 200
    assert evidence["base_model"] == asdict(BASE)
    assert (evidence["trial_horizon"], evidence["finished_trials"], evidence["warnings"]) == (200, 3, [])


def test_the_provenance_is_the_study_s(study: optuna.Study, settings: Settings) -> None:
    run(study, FLAT, [4.0])
    provenance = exported(study, settings)["provenance"]
    assert provenance["fingerprint"] == fingerprint(settings, PREPARED)
    assert provenance["versions"] == PREPARED.versions
    assert provenance["seed"] == 1
    assert (provenance["train_clips"], provenance["eval_clips"]) == (100, 20)
    assert provenance["added_tokens"] == ["ሀ", "[am]"]


@pytest.mark.parametrize(
    ("precision", "fields"),
    [("fp32", (False, "fp16", False)), ("tf32", (False, "fp16", True)), ("bf16", (True, "bf16", False))],
)
def test_the_precision_is_the_search_s(
    three: optuna.Study, tmp_path: Path, precision: str, fields: tuple[bool, str, bool]
) -> None:
    config = exported(three, miniature(tmp_path, {"training.precision": precision}))["coqui_config"]
    assert (config["mixed_precision"], config["precision"], config["allow_tf32"]) == fields


def test_accumulation_is_exported_beside_the_config(tmp_path: Path) -> None:
    settings = miniature(tmp_path, {"training.accumulation": 3})
    study = new_study(settings, replace(PREPARED, train_clips=1000))
    run(study, STEPPED, [4.0])
    content = exported(study, settings)
    assert content["grad_accum_steps"] == content["schedule"]["accumulation"] == 3
    assert content["schedule"]["horizon"] == 84 * 40  # updates an epoch, epochs
    assert content["schedule"]["milestones"] == [840, 1680]


def test_a_new_winner_replaces_the_export(study: optuna.Study, settings: Settings) -> None:
    run(study, FLAT, [4.0])
    assert exported(study, settings)["evidence"]["trial"] == 0
    run(study, FLAT, [3.0])
    assert exported(study, settings)["evidence"]["trial"] == 1


# Atomic files


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    for text in ("a long first version", "ሁለት"):
        write_text(tmp_path / "file", text)
        assert (tmp_path / "file").read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file", "new \ud800")  # a surrogate has no UTF-8
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_gap_is_eval_over_probe() -> None:
    assert BASE.gap == 1.25
    assert math.isnan(replace(BASE, mel_ce=math.nan).gap)
