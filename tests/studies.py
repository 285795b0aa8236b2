"""Studies made by hand, as a search leaves them: no run trains."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from search.settings.settings import Settings, load
from search.study import recorded, storage
from search.study.ledger import Ledger
from search.trial import Evaluation, Prepared, RunRecord, StopReason
from space.reader import load_preset
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

# The three best trials as they are, whatever the defaults.
CONFIRMED = {**stub.FIFTHS, "training.full_evaluations": 20, "confirm.top": 3, "confirm.rates": []}


def miniature(directory: Path, overrides: dict[str, Any] | None = None) -> Settings:
    """Trials of 200 optimizer steps, evaluated every 20; full runs of 1000. CONFIRMED in a confirmation."""
    (directory / "study.toml").touch()  # an empty file is the miniature
    given = {"study.directory": str(directory), **CONFIRMED, **(overrides or {})}
    settings = load(directory / "study.toml", given)
    settings.directory.mkdir(exist_ok=True)
    return settings


def new_study(settings: Settings, prepared: Prepared = PREPARED) -> optuna.Study:
    """A study as a search founds it, but without baselines in its queue."""
    database = storage.open_storage(settings.storage_url)
    study = optuna.create_study(study_name=settings.study.name, storage=database, direction="minimize")
    Ledger(database, study._study_id).found(storage.attributes_of(settings, prepared), [])
    return study


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


def set_document(trial: optuna.Trial, name: str, document: Any) -> None:
    """Optuna's trials set user attributes only."""
    trial.storage.set_trial_system_attr(trial._trial_id, name, document)


def run(
    study: optuna.Study,
    params: dict[str, Any],
    losses: list[float],
    reason: StopReason = StopReason.FINISHED,
    baseline: str | None = None,
    inert: list[str] | None = None,
    attributes: dict[str, Any] | None = None,
) -> None:
    """One trial from ask to tell, as a supervisor leaves it."""
    given = recorded.by_kind({**({"baseline": baseline} if baseline else {}), **(attributes or {})})
    study.enqueue_trial(params, user_attrs=given["user_attrs"])
    trial = study.ask()
    for name, document in given["system_attrs"].items():
        set_document(trial, name, document)
    load_preset("miniature").suggest(trial)
    found = evaluations(losses)
    trial.set_user_attr("stop_reason", str(reason))
    made = record(20 * len(losses), inert or [])
    set_document(trial, "run", {"evaluations": [vars(e) for e in found], "record": made, "error": None})
    for evaluation in found:
        trial.report(evaluation.mel_ce, evaluation.step)
    if reason in (StopReason.FINISHED, StopReason.TWO_INCREASES):
        study.tell(trial, min(losses))
    else:
        study.tell(trial, state=TrialState.PRUNED)


def three_trials(directory: Path) -> tuple[optuna.Study, Settings]:
    """A baseline that turned up again, a hopeless one, and the best."""
    settings = miniature(directory)
    study = new_study(settings)
    run(study, FLAT, [4.5, 4.25, 4.0, 4.1, 4.2], StopReason.TWO_INCREASES, "V0")
    run(study, {**FLAT, "lr": 5e-3}, [4.9, 4.8], StopReason.MEDIAN)
    run(study, STEPPED, [4.5, 4.0, 3.5, 3.25, 3.5, 3.0, 2.9, 2.8, 2.75, 2.9])
    return study, settings
