"""The sections of `study.toml`: each key with its type, its bounds and its default."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MINIATURE = "miniature"
STOCK = "V0"  # the baseline that every comparison is made with
CONFIRMATION = ".confirm"  # after a study's name: its confirmation's study


def _no_confirmation(name: str) -> str:
    if name.endswith(CONFIRMATION):
        raise ValueError(f"a name that ends with {CONFIRMATION} is a confirmation's; give the study's own")
    return name


# What a pattern allows is said to the user by the description.
Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="1 to 64 letters (a to z), digits, dots, hyphens and underscores; the first a letter or a digit",
    ),
    AfterValidator(_no_confirmation),
]


MOST_SEEDS = 20  # of a confirmation


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Study(Section):
    name: Name = MINIATURE
    trials: Annotated[int, Field(ge=1)] = 40  # finished trials in all
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1  # of the sampler and of every run
    directory: Path = Path("runs")
    storage: str | None = None  # SQLAlchemy URL; None is SQLite in the study's folder
    artifacts: str | None = None  # for sound: a folder or s3://BUCKET; None is artifacts/ in the study's folder
    workers: Annotated[int, Field(ge=1, le=64)] | None = None  # slots; None is one a visible GPU, one on a CPU
    repeats: Annotated[int, Field(ge=0, le=20)] = 0  # more runs of the stock recipe, each with a seed of its own
    max_retries: Annotated[int, Field(ge=0)] = 5  # of a trial whose run, or whose machine, failed
    stall_minutes: Annotated[float, Field(gt=0)] = 60.0  # a run silent for so long is ended


class Data(Section):
    path: Path | Literal["miniature"] = "miniature"
    formatter: str = "coqui"  # any of coqui's, by name
    train: str = "train.csv"
    eval: str | None = None  # its own file, or a seeded share of the training file
    eval_share: Annotated[float, Field(gt=0, lt=1)] = 0.12
    language: Annotated[
        str, Field(pattern=r"^[a-z]{2,3}(-[a-z]+)?$", description='a language code in lower case, like "am" or "zh-cn"')
    ] = "en"
    max_audio_seconds: Annotated[float, Field(gt=0.5, le=30)] = 11.6
    max_text_tokens: Annotated[int, Field(ge=1)] = 200
    min_conditioning_seconds: Annotated[float, Field(gt=0)] | None = None  # None is 3, or 0.5 on the miniature base
    max_conditioning_seconds: Annotated[float, Field(gt=0)] | None = None  # None is 6, or 1
    probe_clips: Annotated[int, Field(ge=1)] = 32  # training clips evaluated beside the eval set


class Base(Section):
    path: Path | Literal["miniature"] = "miniature"
    extend_vocabulary: bool = True  # append letters that the base lacks


class Training(Section):
    # One clip a batch is refused: stock's prompt mask can cover the only row, and the loss is 0/0.
    batch_size: Annotated[int, Field(ge=2)] = 2
    accumulation: Annotated[int, Field(ge=1)] = 8
    eval_batch_size: Annotated[int, Field(ge=1)] = 8
    epochs: Annotated[float, Field(gt=0, le=100_000)] | None = None  # of the full run; None with steps None is 10
    steps: Annotated[int, Field(ge=2)] | None = None  # optimizer steps of the full run, instead of epochs
    truncation: Annotated[float, Field(gt=0, le=1)] = 0.2  # a trial runs this share of the full run
    evaluations: Annotated[int, Field(ge=2, le=50)] = 10  # of a trial
    full_evaluations: Annotated[int, Field(ge=2, le=1000)] = 10  # of a full run
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    fused_adamw: bool = False  # torch's AdamW in one kernel: the same update, rounded otherwise
    pin_memory: bool = False  # training batches go to the GPU from page-locked memory; changes no number

    @model_validator(mode="after")
    def _one_horizon(self) -> "Training":
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        return self


class Space(Section):
    preset: str | None = None  # None is the base's own: "miniature" or "xtts-v2"
    file: Path | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Space":
        if self.preset is not None and self.file is not None:
            raise ValueError("give preset or file, not both")
        return self


class Pruning(Section):
    median: bool = True
    startup_trials: Annotated[int, Field(ge=1)] = 6  # completed trials before the median rule judges
    warmup_evaluations: Annotated[int, Field(ge=0)] = 4  # of a trial, before the median rule judges it
    two_increases: bool = True
    n_increases: Annotated[int, Field(ge=1)] = 2
    # Nats; a smaller rise is none. "seed_noise" is the standard deviation between the repeats of the stock recipe.
    min_delta: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["seed_noise"] = 0.02


class Confirm(Section):
    """How the winner of a search is proven, in full runs."""

    top: Annotated[int, Field(ge=1, le=50)] = 1  # best trials that are run beside the stock recipe
    # The best one is run at these multiples of its rate, too: a truncated run hardly overfits, and favours high rates.
    lower_rates: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.25)
    seeds: Annotated[int, Field(ge=2, le=MOST_SEEDS)] = 3  # of each config that stays in the race
    audit: Annotated[int, Field(ge=0, le=50)] = 2  # pruned trials, chosen at random, that are finished


class Train(Section):
    """The full run with the winner."""

    max_gap: Annotated[float, Field(gt=1)] = 3.0  # eval / train probe above which the run stops
    healthy_gap: Annotated[float, Field(gt=1)] = 1.3  # below which the report calls it healthy
    save_minutes: Annotated[float, Field(gt=0)] = 15.0  # the state is saved at every evaluation, and so often between

    @model_validator(mode="after")
    def _ordered(self) -> "Train":
        if self.healthy_gap > self.max_gap:
            raise ValueError(f"healthy_gap is {self.healthy_gap:g}, above max_gap {self.max_gap:g}")
        return self


class Speech(Section):
    """What trials and full runs speak, to be listened to. It changes no evaluation and no ranking."""

    sentences: Annotated[int, Field(ge=0, le=20)] = 2  # of the eval set; 0: nothing is spoken
    trials: Annotated[int, Field(ge=0, le=50)] = 3  # a trial speaks if it is among this many best; full runs always do
    # Of a machine's time, for trials: after one sentence that measures its cost. 0: trials never speak, 1: no limit.
    share: Annotated[float, Field(ge=0, le=1)] = 0.02
    recogniser: Path | None = None  # folder of a speech recogniser of transformers, for the character error rate


class Service(Section):
    """How the machines of a study keep in touch, through its database, and what each keeps."""

    heartbeat_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    grace_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0  # a trial whose owner is silent for so long is taken
    outage_minutes: Annotated[float, Field(ge=0)] = 60.0  # for which a database that does not answer is waited for
    connections: Annotated[int, Field(ge=2, le=64)] = 3  # of one search, at most; not for SQLite
    cache_gb: Annotated[float, Field(gt=0)] = 200.0  # of decoded audio and codes that this machine keeps

    @model_validator(mode="after")
    def _patient(self) -> "Service":
        if self.grace_seconds / self.heartbeat_seconds < 3 - 1e-9:
            raise ValueError(
                f"grace_seconds is {self.grace_seconds:g}; it must be at least 3 heartbeat_seconds, which is"
                f" {self.heartbeat_seconds:g}, or one late heartbeat ends a run"
            )
        return self
