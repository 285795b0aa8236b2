"""What supervisor and training say to each other about a trial. Plain data in JSON; no torch."""

import json
import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol, Self

from space.hyperparameters import Hyperparameters

SPEC_VERSION = 1
STATE_FOLDER = "state"  # of a run's folder


class Caller(Protocol):
    """Who started this process: the other end of its pipe. As it stands, nobody is there."""

    def say(self, kind: str, **values: Any) -> None:
        """Tells a message of this kind."""
        return

    def should_stop(self) -> bool:
        """Whether the run is to end; asking shows that it is not stuck."""
        return False

    def is_wanted(self) -> bool:
        """Whether somebody still waits for what comes after the training."""
        return True

    def may_go_on(self) -> bool:
        """Whether a run that is asked to stop may be continued: then its state is worth saving."""
        return True

    def stop(self) -> None:
        """As if the caller had said so."""
        return


class StopReason(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"  # it reached its horizon
    TWO_INCREASES = "two_increases"  # the evaluation rose twice in a row; the best one is a full result
    GAP = "gap"  # in a full run: eval / train probe rose above train.max_gap
    MEDIAN = "median"  # worse than half of the completed trials at that step
    DIVERGED = "diverged"  # a loss or a gradient was not finite
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"  # no sign of life for study.stall_minutes
    CRASHED = "crashed"
    PREEMPTED = "preempted"  # its supervisor died
    STOPPED_BY_USER = "stopped_by_user"
    STOPPED_BY_NAME = "stopped_by_name"  # by study.py stop TRIAL; the best evaluation so far is its result


# A run that ended so has a value: its lowest evaluation.
FULL_RESULTS = frozenset({StopReason.FINISHED, StopReason.TWO_INCREASES, StopReason.STOPPED_BY_NAME})
# A run that ended so says nothing about its hyperparameters: its trial fails and is run again.
INTERRUPTIONS = frozenset(
    {
        StopReason.OUT_OF_MEMORY, StopReason.TIMEOUT, StopReason.CRASHED, StopReason.PREEMPTED,
        StopReason.STOPPED_BY_USER,
    }
)  # fmt: skip


class _Json:
    """Dataclasses to and from one line of JSON; an unknown or missing key is a TypeError."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Evaluation(_Json):
    """Losses at one optimizer step, in nats per token, dropout off, over frozen clips; NaN when not finite."""

    step: int  # optimizer steps done; 0 is the untouched base model
    mel_ce: float  # the objective: mean mel cross-entropy over all audio tokens of the eval set
    text_ce: float
    probe_mel_ce: float  # the same over the fixed subset of training clips
    probe_text_ce: float
    train_loss: float | None = None  # mean undivided training loss since the evaluation before
    lr: float | None = None  # applied by the last update
    seconds: float = 0.0  # since the run started

    @property
    def is_finite(self) -> bool:
        return all(map(math.isfinite, (self.mel_ce, self.text_ce, self.probe_mel_ce, self.probe_text_ce)))

    @property
    def gap(self) -> float:
        """Eval / train probe, both in eval mode: 1 is no gap; infinite where the probe has no loss."""
        return self.mel_ce / self.probe_mel_ce if self.probe_mel_ce else math.inf


@dataclass(frozen=True)
class RunRecord(_Json):
    """What the knobs did in a run: measured at the optimizer, not read from the settings."""

    steps: int  # optimizer steps done
    micro_steps: int
    lr_first: float | None  # None: no update was made
    lr_last: float | None
    lr_changes: list[list[float]]  # [updates done before the change, new rate]
    clipped_share: float  # of the optimizer steps
    grad_norm_before: float | None  # median L2 norm before the clip
    grad_norm_after: float | None  # median as the optimizer saw it
    cumulative_decay: float | None  # by how much weight decay alone shrank a decayed weight: 1 - prod(1 - lr * wd)
    trainable_parameters: int
    decayed_parameters: int
    inert: list[str]  # knobs that were set and did not act, each with the reason
    setup_seconds: float
    train_seconds: float
    evaluation_seconds: float
    frozen_parameters: int = 0  # of the GPT; they have neither gradient nor optimizer state
    new_rows_update_ratio: float | None = None  # length of the new rows' updates / the optimizer's own; None: no factor


@dataclass(frozen=True)
class TrialSpec:
    """Everything that one run needs. `replay` starts from this alone."""

    study: str
    number: int
    hyperparameters: Hyperparameters
    seed: int
    horizon: int  # optimizer steps of this run
    evaluation_steps: list[int]
    batch_size: int
    accumulation: int
    eval_batch_size: int
    precision: str  # fp32, tf32 or bf16
    prepared: str  # folder of the prepared corpus and base
    directory: str  # where the run writes
    save_seconds: float | None = None  # how often a run saves its state; None: it keeps none
    keeps_best: bool = True  # with a state: at evaluations, too, and the best model. False: only to go on elsewhere
    device: str | None = None  # CUDA_VISIBLE_DEVICES of the run; None leaves the machine's
    fused_adamw: bool = False
    pin_memory: bool = False  # of training batches, on their way to the GPU
    label: str | None = None  # what the run is, besides its number: a baseline, a repeat, a run of a confirmation
    sentences: int = 0  # of the eval set, spoken after the training with the weights of the best evaluation
    speak_below: float | None = None  # nats; a run that never came below it does not speak. None: it does
    recogniser: str | None = None  # folder of a speech recogniser that listens to them
    version: int = field(default=SPEC_VERSION)

    @classmethod
    def under(cls, training: Any, **fields: Any) -> "TrialSpec":
        """One whose batch, precision and the like are those of the settings' section, unless `fields` has them."""
        shared = ("batch_size", "accumulation", "eval_batch_size", "precision", "fused_adamw", "pin_memory")
        return cls(**{**{name: getattr(training, name) for name in shared}, **fields})

    @property
    def course(self) -> str:
        """All by which a run's numbers differ from those of another run on the same data and base."""
        names = ("study", "hyperparameters", "seed", "horizon", "evaluation_steps", "batch_size", "accumulation")
        return json.dumps([asdict(self)[name] for name in (*names, "precision", "fused_adamw", "version")])

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "TrialSpec":
        values = json.loads(text)
        if values.get("version") != SPEC_VERSION:
            raise ValueError(f"spec.json has version {values.get('version')!r}; this release reads {SPEC_VERSION}")
        return cls(**{**values, "hyperparameters": Hyperparameters(**values["hyperparameters"])})


@dataclass(frozen=True)
class Prepared(_Json):
    """What preparation found and made; `prepared.json` in the folder that trials read."""

    directory: str
    seed: int  # of the split, the train probe and new vocabulary rows: the same in runs with other seeds
    train_clips: int
    eval_clips: int
    probe_clips: int
    train_seconds: float  # of audio
    eval_seconds: float
    dropped: list[list[str]]  # [file, reason] of each clip that cannot be trained on
    added_tokens: list[str]  # letters and language tags appended to the base's vocabulary
    vocabulary_size: int
    base_evaluation: dict[str, Any]  # an Evaluation at step 0
    coqui_config: dict[str, Any]  # a GPTTrainerConfig without the searched knobs
    data_fingerprint: str
    base_fingerprint: str
    versions: dict[str, str]
    new_rows: list[int] = field(default_factory=list)  # token ids that training starts from new rows
    warnings: list[str] = field(default_factory=list)  # what the check found that does not stop a search
    clips: str = ""  # name and short digests of each clip (search.study.clips); "" in an earlier release's


def evaluation_steps(horizon: int, count: int) -> list[int]:
    """`count` equally spaced optimizer steps, the last one `horizon`; fewer when the run is shorter."""
    count = min(count, horizon)
    return sorted({round(horizon * i / count) for i in range(1, count + 1)})
