"""What a check finds, as plain data: findings, and the facts that they rest on."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from search.check.machine import Machine
from search.check.memory import Memory, Probe
from search.check.survey import Row

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")  # the worst first


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed. An error stops a search; a warning and an info do not."""

    level: Level
    area: str  # data, split, sound, letters, lengths, base, training, memory, machine or storage
    message: str  # one line
    next_step: str = ""  # what to do about it
    files: list[tuple[str, str]] = field(default_factory=list)  # (clip, detail) of each clip that it is about

    @property
    def details(self) -> list[str]:
        """A line for each of its files."""
        return [f"{file} ({detail})" if file and detail else file or detail for file, detail in self.files]


@dataclass(frozen=True)
class Part:
    """The clips of train or eval that training uses, and how many it does not."""

    name: str
    clips: int
    seconds: float
    dropped: int


@dataclass(frozen=True)
class Speaker:
    """A speaker's clips that training uses. The name is "" where the table gives none."""

    name: str
    train_clips: int
    train_seconds: float
    eval_clips: int
    eval_seconds: float


@dataclass(frozen=True)
class Letter:
    """A sign of the texts that the base's vocabulary has no token for."""

    character: str
    code_points: str  # "U+1200"
    name: str  # of Unicode
    count: int  # in all texts
    clips: int
    example: str  # a clip's file


@dataclass(frozen=True)
class Distribution:
    """Lengths of the clips of a part that could be measured, dropped ones included: the limit may be why."""

    part: str
    what: Literal["audio", "text"]
    unit: str
    limit: float  # of the settings; what is longer is dropped
    model_limit: float  # that the base has positions for; 0 where unknown
    clips: int
    quantiles: dict[str, float]  # "min", "5 %", "median", "95 %", "max"; empty without clips
    close: int  # clips above 90 % of the limit and not above it
    above: int
    edges: list[float]  # of the histogram, one more than counts
    counts: list[int]


@dataclass(frozen=True)
class Course:
    """How long the training is, in optimizer steps. Zeros where it cannot be told."""

    batch_size: int
    accumulation: int
    steps_an_epoch: int = 0
    trial_steps: int = 0
    full_steps: int = 0
    evaluations: int = 0  # of a trial
    trial_epochs: float = 0.0
    full_epochs: float = 0.0


@dataclass(frozen=True)
class Sound:
    """What the recordings are like: (sample rate in Hz, channels) and how many files are so."""

    kinds: list[tuple[int, int, int]]  # rate, channels, files; the commonest first
    rate: int  # Hz, of the model


@dataclass(frozen=True)
class Report:
    """All that a check says."""

    study: str
    root: str  # folder of the data; "" for the miniature's
    findings: list[Finding]  # the worst first
    parts: list[Part]
    speakers: list[Speaker]
    letters: list[Letter]  # the rarest last
    tags: list[str]  # tokens in brackets that the vocabulary lacks, like [am]
    lengths: list[Distribution]
    dropped: list[Row]  # that this project leaves out, or coqui's dataset
    sound: Sound
    course: Course
    memory: Memory | None  # None where the base cannot be read
    machine: Machine
    probe: Probe | None  # what was measured on a GPU

    def including(self, findings: list[Finding]) -> "Report":
        """With what only the caller could find, such as the state of the storage."""
        return replace(self, findings=sorted_findings([*self.findings, *findings]))

    def of(self, level: Level) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == level]

    @property
    def verdict(self) -> Level:
        """The worst level of its findings; info where there is none."""
        return min((f.level for f in self.findings), key=LEVELS.index, default="info")


def about(
    area: str, files: list[tuple[str, str]], what: str, next_step: str, level: Level = "warning", noun: str = "clip"
) -> list[Finding]:
    """One finding, "3 clips `what`", about `files`; none where there are no files."""
    return [Finding(level, area, f"{plural(len(files), noun)} {what}", next_step, files)] if files else []


def sorted_findings(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, otherwise in the order in which they were made."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def plural(count: int, noun: str) -> str:
    """1 row, 2 rows."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def clips(count: int) -> str:
    return plural(count, "clip")


def few(names: Iterable[str], separator: str = " ") -> str:
    """The first 20 of them."""
    every = list(names)
    return separator.join(every[:20]) + (" …" if len(every) > 20 else "")
