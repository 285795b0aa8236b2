"""The sections of `study.toml`: each setting with its type, bounds, default and description."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from search.settings.languages import spelled

MINIATURE = "miniature"
STOCK = "V0"  # the baseline that every comparison is made with
CONFIRMATION = ".confirm"  # follows a study's name in the name of its confirmation's study
MOST_SEEDS = 20  # of a confirmation


def _no_confirmation(name: str) -> str:
    if name.endswith(CONFIRMATION):
        raise ValueError(f"names that end with {CONFIRMATION} belong to confirmations; give the study's own name")
    return name


class Section(BaseModel):
    """Frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Study(Section):
    """The study: its name, its length, where it is kept, and how it runs on this machine."""

    # Where a pattern does not match, the user reads what follows the colon.
    name: Annotated[str, AfterValidator(_no_confirmation)] = Field(
        default=MINIATURE,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Name of the study and of its folder: 1 to 64 letters (a to z), digits, dots, hyphens and"
        " underscores, starting with a letter or a digit",
    )
    trials: int = Field(default=40, ge=1, description="Total number of finished trials (complete or pruned)")
    seed: int = Field(default=1, ge=0, lt=2**31, description="Random seed for the sampler, the data split and all runs")
    directory: Path = Field(default=Path("runs"), description="Folder in which each study has a folder of its own")
    storage: str | None = Field(
        default=None, description="Database URL; default: SQLite, study.db in the study's folder"
    )
    artifacts: str | None = Field(
        default=None, description="Folder or s3://BUCKET for recorded speech; default: artifacts in the study's folder"
    )
    workers: int | None = Field(
        default=None, ge=1, le=64, description="Runs at the same time; default: one per visible GPU, or one on a CPU"
    )
    repeats: int = Field(default=0, ge=0, le=20, description="Extra runs of the stock recipe, each with its own seed")
    max_retries: int = Field(
        default=5, ge=0, description="How often a trial is run again after its run or its machine failed"
    )
    stall_minutes: float = Field(default=60.0, gt=0, description="Minutes of silence after which a run is ended")


class Data(Section):
    """The dataset, and which of its clips are used."""

    path: Path | Literal["miniature"] = Field(
        default="miniature", description='Folder of the dataset, or "miniature" for generated Amharic speech'
    )
    formatter: str = Field(default="coqui", description="Name of the coqui formatter that reads the tables")
    train: str = Field(default="train.csv", description="Table of the training clips, relative to data.path")
    eval: str | None = Field(
        default=None, description="Table of the evaluation clips; default: a random share of the training table"
    )
    eval_share: float = Field(
        default=0.12, gt=0, lt=1, description="Share of each speaker's clips that is held out when data.eval is not set"
    )
    language: Annotated[str, AfterValidator(spelled)] = Field(
        default="en", description='Language of the texts: a language code, like "am" or "zh-cn"'
    )
    max_audio_seconds: float = Field(
        default=11.6, gt=0.5, le=30, description="Longest clip in seconds; longer ones are skipped"
    )
    max_text_tokens: int = Field(
        default=200, ge=1, description="Longest text in tokens; clips with longer texts are skipped"
    )
    min_conditioning_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Shortest voice sample cut from a clip, in seconds; default: 3 (miniature base: 0.5)",
    )
    max_conditioning_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Longest voice sample cut from a clip, in seconds; default: 6 (miniature base: 1)",
    )
    probe_clips: int = Field(
        default=32, ge=1, description="Training clips that are evaluated beside the evaluation set"
    )


class Base(Section):
    """The base model that is fine-tuned."""

    path: Path | Literal["miniature"] = Field(
        default="miniature",
        description='Folder of an XTTS base model, or "miniature" for the small one of this project',
    )
    extend_vocabulary: bool = Field(default=True, description="Add letters and language tags that the base model lacks")


class Training(Section):
    """How a run is trained, and for how long."""

    # A batch of one clip is refused: stock's prompt mask can cover its only row, and the loss is then 0/0.
    batch_size: int = Field(default=2, ge=2, description="Clips per batch")
    accumulation: int = Field(default=8, ge=1, description="Batches per optimizer step")
    eval_batch_size: int = Field(default=8, ge=1, description="Clips per evaluation batch")
    epochs: float | None = Field(
        default=None, gt=0, le=100_000, description="Length of a full run in epochs; default: 10"
    )
    steps: int | None = Field(
        default=None, ge=2, description="Length of a full run in optimizer steps, instead of epochs"
    )
    truncation: float = Field(default=0.2, gt=0, le=1, description="Length of a trial as a share of the full run")
    evaluations: int = Field(default=10, ge=2, le=50, description="Evaluations per trial")
    full_evaluations: int = Field(default=10, ge=2, le=1000, description="Evaluations per full run")
    precision: Literal["fp32", "tf32", "bf16"] = Field(default="fp32", description="Precision of the training steps")
    fused_adamw: bool = Field(default=False, description="Use torch's fused AdamW: the same update with other rounding")
    pin_memory: bool = Field(default=False, description="Copy batches to the GPU from page-locked memory; same results")

    @model_validator(mode="after")
    def _one_horizon(self) -> "Training":
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        return self


class Space(Section):
    """The search space: a preset or a file."""

    preset: str | None = Field(
        default=None, description='"xtts-v2" or "miniature"; default: the preset that belongs to the base model'
    )
    file: Path | None = Field(default=None, description="TOML file with your own ranges, instead of a preset")

    @model_validator(mode="after")
    def _one_source(self) -> "Space":
        if self.preset is not None and self.file is not None:
            raise ValueError("give preset or file, not both")
        return self


class Pruning(Section):
    """When a trial ends early."""

    median: bool = Field(default=True, description="Stop a trial that is worse than the median of the completed trials")
    startup_trials: int = Field(default=6, ge=1, description="Trials that must complete before the median rule applies")
    warmup_evaluations: int = Field(
        default=4, ge=0, description="First evaluations of a trial that the median rule ignores"
    )
    two_increases: bool = Field(default=True, description="Stop a trial whose evaluation rises several times in a row")
    n_increases: int = Field(default=2, ge=1, description="Number of rises in a row that stop a trial")
    min_delta: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["seed_noise"] = Field(
        default=0.02,
        description='Rises of at most this many nats do not count; "seed_noise": the standard deviation between the'
        " repeats of the stock recipe",
    )


class Confirm(Section):
    """How full runs prove the winner of a search."""

    top: int = Field(default=1, ge=1, le=50, description="Number of best trials that compete with the stock recipe")
    # A truncated run hardly overfits, and so favours high rates.
    lower_rates: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.5, 0.25), description="Multiples of the best trial's learning rate that also compete"
    )
    seeds: int = Field(default=3, ge=2, le=MOST_SEEDS, description="Full runs per config, each with its own seed")
    audit: int = Field(default=2, ge=0, le=50, description="Randomly chosen pruned trials that are finished as a check")


class Train(Section):
    """The full run with the winner."""

    max_gap: float = Field(
        default=3.0,
        gt=1,
        description="The run stops when loss on evaluation clips / loss on training clips exceeds this",
    )
    healthy_gap: float = Field(
        default=1.3, gt=1, description="Up to this ratio of the two losses a run counts as healthy"
    )
    save_minutes: float = Field(
        default=15.0, gt=0, description="Minutes between saved states, besides one per evaluation"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "Train":
        if self.healthy_gap > self.max_gap:
            raise ValueError(f"healthy_gap is {self.healthy_gap:g}, above max_gap {self.max_gap:g}")
        return self


class Speech(Section):
    """Sentences that trials and full runs speak, for listening. They change no evaluation and no ranking."""

    sentences: int = Field(
        default=2, ge=0, le=20, description="Sentences of the evaluation set that are spoken; 0: none"
    )
    trials: int = Field(default=3, ge=0, le=50, description="A trial speaks if it is among this many best ones so far")
    share: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Largest share of a machine's slot time for speech of trials; 1: no limit",
    )
    recogniser: Path | None = Field(
        default=None, description="Folder of a transformers speech recogniser, for the character error rate"
    )


class Service(Section):
    """How the machines of a study keep in touch through its database, and what each of them stores."""

    heartbeat_seconds: float = Field(
        default=10.0, ge=0.1, le=3600, description="Seconds between two signs of life of a search"
    )
    grace_seconds: float = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="Seconds of silence after which other machines take over a search's trials",
    )
    start_minutes: float = Field(
        default=1.0,
        ge=0,
        description="Minutes to wait at the start for a database that is starting",
    )
    outage_minutes: float = Field(default=60.0, ge=0, description="Minutes to wait for a database that does not answer")
    connections: int = Field(default=3, ge=2, le=64, description="Most PostgreSQL connections of one search")
    cache_gb: float = Field(
        default=200.0, gt=0, description="Most GB (1e9 bytes) of prepared data kept on this machine"
    )

    @model_validator(mode="after")
    def _patient(self) -> "Service":
        if self.grace_seconds / self.heartbeat_seconds < 3 - 1e-9:
            raise ValueError(
                f"grace_seconds is {self.grace_seconds:g}; it must be at least 3 heartbeat_seconds, which is"
                f" {self.heartbeat_seconds:g}, or one late heartbeat ends a run"
            )
        return self
