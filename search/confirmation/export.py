"""`best_config.json`: the config for the full run, with the evidence for it and where it came from."""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import ceil, isfinite
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.files import write_text
from search.settings import best_config
from search.settings.best_config import BestConfig, Candidate, Confirmation, Evidence, Provenance
from search.settings.knobs import beyond_coqui, run_fields
from search.settings.settings import Settings, steps_an_epoch
from search.sources import commit
from search.study.findings import Findings, Row
from search.ties import is_lower
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps
from space.search_space import SearchSpace

OBJECTIVE = "mean mel cross-entropy over the eval set, nats per audio token"
# Of [study]: for one machine, or one search; storage may hold a password.
_LOCAL = ("storage", "directory", "workers", "save_minutes", "save_gb")


def write_best_config(
    findings: Findings, settings: Settings, attributes: Mapping[str, Any], say: Callable[[str], None]
) -> tuple[Path | None, bool]:
    """Writes the study's `best_config.json` at the end of a search: (its path, None without one; is it confirmed).

    A confirmed one is kept while its confirmation covers the best trial, and otherwise replaced by an unconfirmed one.
    `say` gets a line for people where a confirmed one is at stake, or where the file may not be written.
    """
    if not findings.completed:
        return None, False
    path = settings.directory / "best_config.json"
    best = findings.completed[0].trial.number
    confirmed = confirmation_at(path, findings.study)
    if confirmed and best in best_config.covered(confirmed):
        say(f"{path.name} is kept: its confirmation covers trial {best}, the best of the search")
        return path, True
    try:
        write(build(findings, settings, attributes), path)
    except UserError as error:  # the trials of hours are in the database; only the file cannot be written
        say(str(error))
        return None, False
    if confirmed:
        say(f"{path.name} is replaced: trial {best}, now the best of the search, was not in its confirmation")
    return path, False


def confirmation_at(path: Path, study: str) -> Confirmation | None:
    """The confirmation of the file at `path`; None unless it is this study's, readable and confirmed."""
    if not path.exists():
        return None
    try:
        found = best_config.read(path)
    except UserError:
        return None  # `write` decides what may be replaced
    return found.confirmation if found.confirmed and found.study == study else None


def write(best: BestConfig, path: Path) -> None:
    """Writes the document whole or not at all. Raises UserError rather than replace another study's or another file."""
    if path.exists():
        content = content_of(path)
        if not {"version", "study", "hyperparameters"} <= content.keys() or content["study"] != best.study:
            raise UserError(
                f"{path} is not a best_config.json of study {best.study!r}, and is left alone; move it away, or name"
                " another file with --output"
            )
    write_file(path, to_json(best))


def write_file(path: Path, text: str) -> None:
    """Raises UserError in one line if the folder is missing or cannot be written to."""
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name another with --output") from error


def to_json(best: BestConfig) -> str:
    return json.dumps(best.model_dump(mode="json"), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def content_of(path: Path) -> dict[str, Any]:
    """The JSON object in the file at `path`; empty for a file that holds anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def build(
    findings: Findings,
    settings: Settings,
    attributes: Mapping[str, Any],
    *,
    trial: Row | None = None,
    point: Hyperparameters | None = None,
    confirmation: Confirmation | None = None,
) -> BestConfig:
    """The document for the best completed trial, for `trial`, or for `point`, whose evidence is `trial` or none.

    `attributes` are the study's: the horizon and fingerprint that its trials ran under.
    """
    space, pruning, training = settings.search_space(), settings.pruning, settings.training
    if point is None:
        trial = trial or findings.completed[0]
        point = space.from_params(trial.trial.params)
    horizon = attributes["full_horizon"]
    confirmed = confirmation is not None and recommended(confirmation).hyperparameters == point
    status = _status(findings, trial, horizon, confirmation, confirmed)
    return BestConfig(
        version=best_config.VERSION,
        study=findings.study,
        confirmed=confirmed,
        status=status,
        hyperparameters=point,
        schedule=best_config.Schedule(
            horizon=horizon,
            evaluation_steps=settings.full_evaluation_steps(findings.prepared["train_clips"]),
            milestones=list(to_steps(point.milestones, horizon)),
            gamma=point.gamma,
            accumulation=training.accumulation,
            batch_size=training.batch_size,
        ),
        stopping=best_config.Stopping(
            n_increases=pruning.n_increases if pruning.two_increases else None,
            min_delta=pruning.min_delta,
            base=findings.base.mel_ce,
            max_gap=settings.train.max_gap,
            healthy_gap=settings.train.healthy_gap,
        ),
        settings=portable(settings),
        coqui_config=_coqui_config(point, horizon, findings, settings, status),
        grad_accum_steps=training.accumulation,
        confirmation=confirmation,
        evidence=_evidence(findings, trial) if trial else None,
        base_model=asdict(findings.base),
        warnings=_warnings(space, point),
        provenance=_provenance(findings, settings, attributes),
    )


def recommended(confirmation: Confirmation) -> Candidate:
    """The candidate that a confirmation exports."""
    return next(c for c in confirmation.candidates if c.name == confirmation.exported)


def _status(
    findings: Findings, trial: Row | None, horizon: int, confirmation: Confirmation | None, confirmed: bool
) -> str:
    """How far to trust the config, in a sentence."""
    if confirmation and confirmed:
        return confirmation.text
    name = f"trial {trial.trial.number}" if trial else "these hyperparameters"
    if confirmation:
        return f"Not confirmed: the study's confirmation recommends {confirmation.exported}, not {name}."
    if trial is None or trial.trial.value is None:
        return f"Not confirmed: {name} come from outside the search, and no run of it speaks for them."
    evidence = f"{name} is one run with one seed, of {findings.horizon} of the {horizon} optimizer steps"
    if not is_lower(trial.trial.value, findings.base.mel_ce):
        return f"Not confirmed: {evidence}, and does not beat the untouched base model ({findings.base.mel_ce:.4f})."
    return f"Not confirmed: {evidence}."


def portable(settings: Settings) -> dict[str, dict[str, Any]]:
    """The settings as in `study.toml`, without what is secret or belongs to one machine."""
    values = tomllib.loads(settings.to_toml())
    values["study"] = {name: value for name, value in values["study"].items() if name not in _LOCAL}
    return values


def _coqui_config(
    point: Hyperparameters, horizon: int, findings: Findings, settings: Settings, status: str
) -> dict[str, Any]:
    """A complete `GPTTrainerConfig` without its infinite fields, which JSON cannot hold and which are defaults."""
    prepared = findings.prepared["coqui_config"]
    config = {
        **prepared,
        **run_fields(prepared, point, horizon, settings.training, settings.study.seed),
        "run_name": findings.study,
        "run_description": status,
        "eval_split_size": settings.data.eval_share,  # read only where the dataset names no eval table
        # coqui counts epochs: enough of them for the horizon; the last one may be cut short.
        "epochs": ceil(horizon / steps_an_epoch(settings, findings.prepared["train_clips"])),
        "save_checkpoints": True,
    }
    return {k: v for k, v in config.items() if not (isinstance(v, float) and not isfinite(v))}


def _evidence(findings: Findings, row: Row) -> Evidence | None:
    """None for a run that ended before its first evaluation."""
    evaluation = row.best
    if evaluation is None:
        return None
    return Evidence(
        trial=row.trial.number,
        stop_reason=row.reason,
        objective=OBJECTIVE,
        value=evaluation.mel_ce,
        best_step=evaluation.step,
        trial_horizon=findings.horizon,
        evaluations=[{**asdict(e), "gap": e.gap} for e in row.evaluations],
        record=row.record,
        finished_trials=findings.finished,
    )


def _warnings(space: SearchSpace, point: Hyperparameters) -> list[str]:
    params, clipped = space.to_params(point)
    outside = {text.split()[0] for text in clipped}
    edges = space.at_edge({name: value for name, value in params.items() if name not in outside})
    unsaid = [f"coqui_config does not hold {text}, which only study.py train can do" for text in beyond_coqui(point)]
    outside_space = [f"outside the search space: {text}" for text in clipped]
    return [f"{text}; widen the range" for text in edges] + outside_space + unsaid


def _provenance(findings: Findings, settings: Settings, attributes: Mapping[str, Any]) -> Provenance:
    prepared = findings.prepared
    return Provenance(
        fingerprint=attributes["fingerprint"],
        versions=prepared["versions"],
        commit=commit(),
        seed=settings.study.seed,
        train_clips=prepared["train_clips"],
        eval_clips=prepared["eval_clips"],
        added_tokens=prepared["added_tokens"],
    )
