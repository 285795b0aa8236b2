"""The fields of `best_config.json`, their checks, and the published JSON schema."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from search.errors import UserError
from search.settings.sections import MinDelta
from space.hyperparameters import Count, Fraction, Hyperparameters
from space.reader import explained
from space.search_space import Part

VERSION: Literal[4] = 4
READ = (3, VERSION)

Verdict = Literal["better than the stock recipe", "no better than the stock recipe", "do not fine-tune"]
Step = Annotated[int, Field(ge=1)]  # an optimizer step


class Schedule(Part):
    """The point in optimizer steps of the full run."""

    horizon: Step = Field(description="optimizer steps of the full run")
    evaluation_steps: list[Step] = Field(
        description="optimizer steps after which the full run is evaluated, in increasing order"
    )
    milestones: list[Step] = Field(description="the first m updates use the rate before milestone m; below horizon")
    gamma: Fraction | None = Field(description="as in hyperparameters")
    accumulation: Step = Field(description="batches per optimizer step")
    batch_size: int = Field(ge=2, description="clips per batch")


class Stopping(Part):
    """When the full run ends before its horizon."""

    n_increases: Step | None = Field(description="number of rises in a row that stop the run; null: never")
    min_delta: MinDelta = Field(
        description="nats per audio token that each rise must exceed; auto: the evaluation must rise above its lowest"
        " by more than half of what an evaluation gained on average up to there, or once more than n_increases in a row"
    )
    base: float | None = Field(
        None, description="evaluation of the untouched base, from which auto counts gains; null: in an earlier file"
    )
    max_gap: float = Field(gt=1, description="ratio of eval to train probe loss above which the run stops")
    healthy_gap: float = Field(gt=1, description="ratio below which a report calls the run healthy")


class Difference(Part):
    """How much lower the exported config's mean is, nats per audio token, with its simultaneous interval."""

    estimate: float
    low: float | None = Field(description="null: too few runs for a bound")
    high: float | None = Field(description="null: too few runs for a bound")


class FullRun(Part):
    """A run of the confirmation."""

    trial: Count = Field(description="number in the confirmation's study")
    seed: Count
    value: float | None = Field(description="lowest evaluation, nats per audio token; null: it diverged")
    best_step: Count | None = Field(description="optimizer step of the lowest evaluation")
    stop_reason: str


class Candidate(Part):
    """A config of the confirmation."""

    name: str
    trial: Count | None = Field(description="its number in the search; null for a config that the search did not run")
    scaled_from: str | None = Field(None, description="the config of which it is a multiple of the learning rate")
    hyperparameters: Hyperparameters
    truncated: float | None = Field(description="its value in the search (a truncated run), nats per audio token")
    runs: list[FullRun]
    mean: float | None = Field(description="of its runs' values, nats per audio token")
    dropped_after: Step | None = Field(description="number of seeds after which it could no longer be proven better")


class LineStep(Part):
    """A full run of the rate line."""

    name: str
    hyperparameters: Hyperparameters
    run: FullRun | None = Field(description="null: it came to nothing")
    turned: bool = Field(description="whether it was at its lowest before three quarters of the run, and rose")
    sum_of_rates: float = Field(description="of its learning rates up to its lowest evaluation")


class RateLine(Part):
    """How the learning rate of the finalist was found: full runs with the study's own seed, in their order."""

    rates: Literal["turn"] | list[float] = Field(description='confirm.rates: "turn", or multiples of the best trial\'s')
    seed: Count
    trials: list[Count] = Field(description="numbers of the search's trials that it started from")
    steps: list[LineStep]
    sum_of_rates: float | None = Field(description="the median of the runs that turned; null: none did")
    finalist: str | None = Field(description="the best of them besides the stock recipe; null: all others diverged")


class Fidelity(Part):
    """Whether truncated runs rank configs as full ones do."""

    configs: Count
    tau: float | None = Field(description="Kendall's rank correlation, -1 to 1")
    low: float | None = Field(description="of tau's interval")
    high: float | None = Field(description="of tau's interval")
    p_value: float | None
    top: Count
    top_overlap: Count = Field(description="configs among the best `top` by both")
    advice: str | None


class AuditedTrial(Part):
    """A pruned trial that was finished. Values are nats per audio token."""

    trial: Count
    pruned_at: Count = Field(description="its last evaluation's optimizer step")
    pruned_value: float = Field(description="its lowest evaluation when it was pruned")
    truncated: float | None = Field(description="its lowest evaluation when run to the trials' horizon")
    full: float | None = Field(description="its lowest evaluation in a full run")


class Audit(Part):
    """What pruning lost, nats per audio token; 0 is nothing."""

    trials: list[AuditedTrial]
    regret: float | None = Field(description="by how much the best of them beats the best trial of the search")
    full_regret: float | None = Field(
        description="by how much the best of their full runs beats the best of the rate line, with the same seed"
    )


class Confirmation(Part):
    """Full runs that found a config, and the race with fresh seeds in which it met the stock recipe."""

    study: str = Field(description="name of the confirmation's study")
    verdict: Verdict
    text: str = Field(description="the verdict with its numbers, for people")
    winner: str = Field(
        description="the lowest candidate proven better than the stock recipe; where none is, the lowest"
    )
    exported: str = Field(description="the winner if it is proven better than the stock recipe, otherwise that recipe")
    base: float = Field(description="evaluation of the untouched base model, nats per audio token")
    over_stock: Difference | None
    over_base: Difference | None
    level: Fraction = Field(
        description="of the intervals, corrected for candidates and looks: at most 5 % of the races have a false win"
    )
    method: str = Field(description="of the intervals, in words")
    seed_sd: float | None = Field(description="standard deviation between seeds of a config, nats per audio token")
    seed_sd_df: Count = Field(description="its degrees of freedom")
    rate_line: RateLine | None = Field(None, description="null in files of version 3")
    candidates: list[Candidate] = Field(description="that raced")
    fidelity: Fidelity | None
    audit: Audit | None


def line_of(found: Confirmation) -> list[LineStep]:
    """The full runs of the rate line."""
    return found.rate_line.steps if found.rate_line else []


def covered(found: Confirmation) -> set[int]:
    """The numbers of the search's trials that the confirmation speaks of."""
    raced = {c.trial for c in found.candidates if c.trial is not None}
    return raced | set(found.rate_line.trials if found.rate_line else ())


class Evidence(Part):
    """The truncated run of the search from which the config comes."""

    trial: Count = Field(description="number of the trial")
    stop_reason: str = Field(description="why the trial ended: finished, two_increases, …")
    objective: str = Field(description="what value is, in words")
    value: float = Field(description="lowest evaluation of the trial, nats per audio token")
    best_step: Count = Field(description="the trial's optimizer step at that evaluation")
    trial_horizon: Step = Field(description="optimizer steps of a trial")
    evaluations: list[dict[str, Any]] = Field(description="of the trial, in order")
    record: dict[str, Any] | None = Field(description="measured effect of the knobs; null: the run had to be killed")
    finished_trials: Count = Field(description="complete and pruned trials of the study when the file was written")


class Provenance(Part):
    """What the config was found with."""

    fingerprint: dict[str, Any] = Field(description="what all trials of the study share")
    versions: dict[str, str] = Field(description="Python and the libraries when the data was prepared")
    commit: str | None = Field(
        description="of this project, with -dirty for uncommitted changes; null outside a checkout"
    )
    seed: Count = Field(description="of the sampler and every run of the search")
    train_clips: Count = Field(description="clips in use")
    eval_clips: Count = Field(description="clips in use")
    added_tokens: list[str] = Field(description="appended to the base's vocabulary, in order of their ids")


class BestConfig(Part):
    """The config for the full run, with the evidence for it and where it came from."""

    version: Literal[4] = Field(description="increases when an older reader would misread the file")
    study: str
    confirmed: bool = Field(description="whether full runs with fresh seeds recommend this config")
    status: str = Field(description="one sentence for people: how far to trust the config")
    hyperparameters: Hyperparameters
    schedule: Schedule
    stopping: Stopping
    settings: dict[str, dict[str, Any]] = Field(description="of the study, as in study.toml, without its storage")
    coqui_config: dict[str, Any] = Field(description="a complete GPTTrainerConfig of coqui's")
    grad_accum_steps: Step = Field(description="for coqui's TrainerArgs; GPTTrainerConfig has no such field")
    confirmation: Confirmation | None
    evidence: Evidence | None = Field(description="null: no run of the search used the config")
    base_model: dict[str, Any] = Field(description="evaluation of the untouched base model, at step 0")
    warnings: list[str]
    provenance: Provenance


def read(path: Path) -> BestConfig:
    """Raises UserError in one line for a file that is none, of another version, or changed by hand into nonsense."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        # Python reads NaN, 1e999 as infinity, and halves of a surrogate pair, which no file can hold.
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path} cannot be read as a best_config.json: {reason}") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version not in READ:
        raise UserError(
            f"{path} has version {version!r}; this release reads {' and '.join(map(str, READ))}: make it anew with"
            " study.py export"
        )
    try:
        return BestConfig.model_validate({**content, "version": VERSION})
    except ValidationError as error:
        raise UserError(f"{path}: {explained(error, BestConfig)}") from error
