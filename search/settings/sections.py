"""The sections of `study.toml`: each setting with its type, bounds, default and description."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from search.settings.languages import spelled
from search.settings.moment import moment, spelled_out
from search.settings.storage_url import plain_url

# What a rise must exceed to count, in nats per audio token, or the trial's own measure (search.study.pruners).
MinDelta = Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["auto"]

MINIATURE = "miniature"
STOCK = "V0"  # the baseline that every comparison is made with
CONFIRMATION = ".confirm"  # follows a study's name in the name of its confirmation's study
FEWEST_SEEDS, MOST_SEEDS = 3, 20  # of the race of a confirmation
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # of a study
PREEMPTED = 15.0  # minutes between saved states on a machine that may be taken away, where nothing else is set
LINE_RUNS = 4  # full runs of a rate line of the stock recipe and one trial, at most


def _no_confirmation(name: str) -> str:
    if name.endswith(CONFIRMATION):
        raise ValueError(f"names that end with {CONFIRMATION} belong to confirmations; give the study's own name")
    return name


def _of_a_study(name: str) -> str:
    if not re.fullmatch(NAME, name):  # `$` admits a line end
        raise ValueError("it must be the name of a study of the same database")
    return _no_confirmation(name)


def setting(default: Any, description: str, **bounds: Any) -> Any:
    """A field of a section."""
    return Field(default=default, description=description, **bounds)


class Section(BaseModel):
    """Frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Study(Section):
    """The study: its name, its length, where it is kept, and how it runs on this machine."""

    # Where a pattern does not match, the user reads what follows the colon.
    name: Annotated[str, AfterValidator(_no_confirmation)] = setting(
        MINIATURE,
        "Name of the study and of its folder: 1 to 64 letters (a to z), digits, dots, hyphens and underscores, starting"
        " with a letter or a digit",
        pattern=NAME,
    )
    trials: int = setting(40, "Total number of finished trials (complete or pruned)", ge=1)
    until_settled: bool = setting(False, "End the search once more trials are not expected to change the winner")
    gpu_hours: float | None = setting(
        None,
        "Most GPU hours that the study may take on all machines; where runs train on CPUs, slot hours",
        gt=0,
        allow_inf_nan=False,
    )
    until: Annotated[str, BeforeValidator(spelled_out), AfterValidator(moment)] | None = setting(
        None, 'No run goes on after this time: "2026-12-01T18:00", the next "18:00", or "+6h" from the start'
    )
    warm_start: tuple[Annotated[str, AfterValidator(_of_a_study)], ...] = setting(
        (),
        "Earlier studies whose best trials a new study tries first, and whose trials its sampler knows",
    )
    seed: int = setting(1, "Random seed for the sampler, the data split and all runs", ge=0, lt=2**31)
    directory: Path = setting(Path("runs"), "Folder in which each study has a folder of its own")
    storage: Annotated[str, AfterValidator(plain_url)] | None = setting(
        None, "Database URL; default: SQLite, study.db in the study's folder"
    )
    artifacts: Annotated[str, AfterValidator(str.strip)] | None = setting(
        None, "Folder or s3://BUCKET for recorded speech and saved states; default: artifacts in the study's folder"
    )
    save_minutes: float | None = setting(
        None, "Minutes between saved states of a run, from which it goes on elsewhere; default: none is saved", gt=0
    )
    save_gb: float = setting(100.0, "Most GB (1e9 bytes) that the saved states of a study's runs take", gt=0)
    workers: int | None = setting(
        None, "Runs at the same time; default: one per visible GPU, or one on a CPU", ge=1, le=64
    )
    repeats: int = setting(0, "Extra runs of the stock recipe, each with its own seed", ge=0, le=20)
    max_retries: int = setting(5, "How often a trial is run again after its run or its machine failed", ge=0)
    stall_minutes: float = setting(60.0, "Minutes of silence after which a run is ended", gt=0)

    @property
    def saving(self) -> list[str]:
        """What to add to the command on a machine that may be taken away."""
        return [] if self.save_minutes else ["--set", f"study.save_minutes={PREEMPTED:g}"]

    @model_validator(mode="after")
    def _begins_with_others(self) -> "Study":
        if self.name in self.warm_start:
            raise ValueError(f"warm_start names {self.name!r}, the study itself; name earlier ones")
        return self


class Data(Section):
    """The dataset, and which of its clips are used."""

    path: Path | Literal["miniature"] = setting(
        "miniature", 'Folder of the dataset, or "miniature" for generated Amharic speech'
    )
    formatter: str = setting("coqui", "Name of the coqui formatter that reads the tables")
    train: str = setting("train.csv", "Table of the training clips, relative to data.path")
    eval: str | None = setting(None, "Table of the evaluation clips; default: a random share of the training table")
    eval_share: float = setting(
        0.12, "Share of each speaker's clips that is held out when data.eval is not set", gt=0, lt=1
    )
    language: Annotated[str, AfterValidator(spelled)] = setting(
        "en", 'Language of the texts: a language code, like "am" or "zh-cn"'
    )
    max_audio_seconds: float = setting(11.6, "Longest clip in seconds; longer ones are skipped", gt=0.5, le=30)
    max_text_tokens: int = setting(200, "Longest text in tokens; clips with longer texts are skipped", ge=1)
    min_conditioning_seconds: float | None = setting(
        None, "Shortest voice sample cut from a clip, in seconds; default: 3 (miniature base: 0.5)", gt=0
    )
    max_conditioning_seconds: float | None = setting(
        None, "Longest voice sample cut from a clip, in seconds; default: 6 (miniature base: 1)", gt=0
    )
    probe_clips: int = setting(32, "Training clips that are evaluated beside the evaluation set", ge=1)


class Base(Section):
    """The base model that is fine-tuned."""

    path: Path | Literal["miniature"] = setting(
        "miniature", 'Folder of an XTTS base model, or "miniature" for the small one of this project'
    )
    extend_vocabulary: bool = setting(True, "Add letters and language tags that the base model lacks")


class Training(Section):
    """How a run is trained, and for how long."""

    # A batch of one clip is refused: stock's prompt mask can cover its only row, and the loss is then 0/0.
    batch_size: int = setting(2, "Clips per batch", ge=2)
    accumulation: int = setting(8, "Batches per optimizer step", ge=1)
    eval_batch_size: int = setting(8, "Clips per evaluation batch", ge=1)
    epochs: float | None = setting(None, "Length of a full run in epochs; default: 10", gt=0, le=100_000)
    steps: int | None = setting(None, "Length of a full run in optimizer steps, instead of epochs", ge=2)
    truncation: float = setting(
        0.05, "Length of a trial as a share of the full run; at least what evaluations and milestones need", gt=0, le=1
    )
    evaluations: int = setting(5, "Evaluations per trial", ge=2, le=50)
    full_evaluations: int = setting(10, "Evaluations per full run", ge=2, le=1000)
    precision: Literal["fp32", "tf32", "bf16"] = setting("fp32", "Precision of the training steps")
    fused_adamw: bool = setting(False, "Use torch's fused AdamW: the same update with other rounding")
    pin_memory: bool = setting(False, "Copy batches to the GPU from page-locked memory; same results")


class Space(Section):
    """The search space: a preset or a file."""

    preset: str | None = setting(None, '"xtts-v2" or "miniature"; default: the preset that belongs to the base model')
    file: Path | None = setting(None, "TOML file with your own ranges, instead of a preset")


class Pruning(Section):
    """When a trial ends early."""

    median: bool = setting(True, "Stop a trial that is worse than the median of the completed trials")
    startup_trials: int = setting(6, "Trials that must complete before the median rule applies", ge=1)
    warmup_evaluations: int = setting(0, "First evaluations of a trial that the median rule ignores", ge=0)
    two_increases: bool = setting(True, "Stop a trial whose evaluation rises several times in a row")
    n_increases: int = setting(2, "Number of rises in a row that stop a trial", ge=1)
    min_delta: MinDelta = setting(
        "auto",
        'What a rise must exceed to count, in nats; "auto": more than half of what an evaluation gained on average,'
        " measured in the trial itself",
    )


class Confirm(Section):
    """How full runs prove the winner of a search."""

    top: int = setting(1, "Number of best trials that run in full", ge=1, le=50)
    rates: Literal["turn"] | tuple[Annotated[float, Field(gt=0, lt=1)], ...] = setting(
        "turn",
        'Rates of the full runs: "turn" follows where the runs turn; a list is multiples of the best trial\'s',
    )
    seeds: int = setting(4, "Seeds of the race: full runs per config", ge=FEWEST_SEEDS, le=MOST_SEEDS)
    audit: int = setting(0, "Randomly chosen pruned trials that are finished as a check", ge=0, le=50)


class Train(Section):
    """The full run with the winner."""

    max_gap: float = setting(
        3.0, "The run stops when loss on evaluation clips / loss on training clips exceeds this", gt=1
    )
    healthy_gap: float = setting(1.3, "Up to this ratio of the two losses a run counts as healthy", gt=1)
    save_minutes: float = setting(15.0, "Minutes between saved states, besides one per evaluation", gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> "Train":
        if self.healthy_gap > self.max_gap:
            raise ValueError(f"healthy_gap is {self.healthy_gap:g}, above max_gap {self.max_gap:g}")
        return self


class Speech(Section):
    """Sentences that trials and full runs speak, for listening. They change no evaluation and no ranking."""

    sentences: int = setting(2, "Sentences of the evaluation set that are spoken; 0: none", ge=0, le=20)
    trials: int = setting(3, "A trial speaks if it is among this many best ones so far", ge=0, le=50)
    share: float = setting(0.02, "Largest share of a machine's slot time for speech of trials; 1: no limit", ge=0, le=1)
    recogniser: Path | None = setting(None, "Folder of a transformers speech recogniser, for the character error rate")


class Service(Section):
    """How the machines of a study keep in touch through its database, and what each of them stores."""

    heartbeat_seconds: float = setting(10.0, "Seconds between two signs of life of a search", ge=0.1, le=3600)
    grace_seconds: float = setting(
        60.0, "Seconds of silence after which other machines take over a search's trials", gt=0, le=86_400
    )
    start_minutes: float = setting(1.0, "Minutes to wait at the start for a database that is starting", ge=0)
    outage_minutes: float = setting(60.0, "Minutes to wait for a database that does not answer", ge=0)
    pause_minutes: float | None = setting(
        None, "Minutes to wait for a study that is paused; default: as long as it is", ge=0
    )
    connections: int = setting(3, "Most PostgreSQL connections of one search", ge=2, le=64)
    cache_gb: float = setting(200.0, "Most GB (1e9 bytes) of prepared data kept on this machine", gt=0)

    @model_validator(mode="after")
    def _patient(self) -> "Service":
        if self.grace_seconds / self.heartbeat_seconds < 3 - 1e-9:
            raise ValueError(
                f"grace_seconds is {self.grace_seconds:g}; it must be at least 3 heartbeat_seconds, which is"
                f" {self.heartbeat_seconds:g}, or one late heartbeat ends a run"
            )
        return self
