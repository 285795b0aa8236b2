"""`best_config.json` as a document: its fields, their checks, and its published JSON schema."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from search.errors import UserError
from space.hyperparameters import Hyperparameters

VERSION = 2

Verdict = Literal["better than the stock recipe", "no better than the stock recipe", "do not fine-tune"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Knobs(_Model):
    """The point, independent of the length of a run."""

    lr: float
    weight_decay: float
    milestones: list[float]
    gamma: float | None
    clip_norm: float | None


class Schedule(_Model):
    """The point in optimizer steps of the full run."""

    horizon: int
    evaluation_steps: list[int]
    milestones: list[int]
    gamma: float | None
    accumulation: int
    batch_size: int


class Stopping(_Model):
    """When the full run ends before its horizon."""

    n_increases: int | None = Field(description="rises in a row that stop the run; null: the rule is off")
    min_delta: float
    max_gap: float
    healthy_gap: float


class Difference(_Model):
    """How much lower the exported config's mean is, nats per audio token, with its simultaneous interval."""

    estimate: float
    low: float | None
    high: float | None


class FullRun(_Model):
    """A run of the confirmation."""

    trial: int = Field(description="number in the confirmation's study")
    seed: int
    value: float | None = Field(description="lowest evaluation, nats per audio token; null: it diverged")
    best_step: int | None
    stop_reason: str


class Candidate(_Model):
    """A config of the confirmation."""

    name: str
    trial: int | None = Field(description="of the search; null for a recipe that the search did not run as it stands")
    hyperparameters: Knobs
    truncated: float | None = Field(description="its value in the search")
    runs: list[FullRun]
    mean: float | None
    dropped_after: int | None = Field(description="round, from 1, after which it could no longer win")


class Fidelity(_Model):
    """Whether truncated runs rank configs as full ones do."""

    configs: int
    tau: float | None
    low: float | None
    high: float | None
    p_value: float | None
    top: int
    top_overlap: int
    advice: str | None


class AuditedTrial(_Model):
    """A pruned trial that was finished."""

    trial: int
    pruned_at: int = Field(description="its last evaluation's step")
    pruned_value: float = Field(description="its lowest evaluation when it was pruned")
    truncated: float | None = Field(description="its lowest evaluation when run to the trials' horizon")
    full: float | None = Field(description="its lowest evaluation in a full run")


class Audit(_Model):
    """What pruning lost, nats per audio token; 0 is nothing."""

    trials: list[AuditedTrial]
    regret: float | None = Field(description="by how much the best of them beats the best trial of the search")
    full_regret: float | None = Field(description="by how much the best of their full runs beats the winner's mean")


class Confirmation(_Model):
    """Full runs with several seeds of the best trials and the stock recipe."""

    study: str
    verdict: Verdict
    text: str
    winner: str = Field(description="the candidate with the lowest mean")
    exported: str = Field(description="the winner where it is proven better than the stock recipe, else that recipe")
    base: float
    over_stock: Difference | None
    over_base: Difference | None
    level: float = Field(description="of the intervals, simultaneous over candidates and rounds")
    method: str
    seed_sd: float | None
    seed_sd_df: int
    candidates: list[Candidate]
    fidelity: Fidelity | None
    audit: Audit | None


class Evidence(_Model):
    """The truncated run of the search from which the config comes."""

    trial: int
    stop_reason: str
    objective: str
    value: float
    best_step: int
    trial_horizon: int
    evaluations: list[dict[str, Any]]
    record: dict[str, Any] | None
    finished_trials: int


class Provenance(_Model):
    fingerprint: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    seed: int
    train_clips: int
    eval_clips: int
    added_tokens: list[str]


class BestConfig(_Model):
    """The config for the full run, with the evidence for it and where it came from."""

    version: Literal[2]
    study: str
    confirmed: bool
    status: str = Field(description="one sentence for people: how far to trust it")
    hyperparameters: Knobs
    schedule: Schedule
    stopping: Stopping
    settings: dict[str, dict[str, Any]] = Field(description="of the study, as in study.toml, without its storage")
    coqui_config: dict[str, Any]
    grad_accum_steps: int
    confirmation: Confirmation | None
    evidence: Evidence | None
    base_model: dict[str, Any]
    warnings: list[str]
    provenance: Provenance

    @property
    def point(self) -> Hyperparameters:
        return Hyperparameters.from_dict(self.hyperparameters.model_dump())


def read(path: Path) -> BestConfig:
    """Raises UserError in one line for a file that is none, of another version, or changed by hand into nonsense."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a best_config.json: {error}") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise UserError(
            f"{path} has version {version!r}; this release reads {VERSION}: make it anew with study.py export"
        )
    try:
        best = BestConfig.model_validate(content)
        _ = best.point
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except ValueError as error:
        raise UserError(f"{path}: hyperparameters: {error}") from error
    return best
