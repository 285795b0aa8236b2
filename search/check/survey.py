"""The facts about data and base that a check judges. Plain data; no torch."""

from dataclasses import dataclass

from search.check.memory import Model

PARTS = ("train", "eval")


@dataclass(frozen=True)
class Recording:
    """What one audio file holds, found by decoding it. Numbers are 0 where it cannot be decoded."""

    path: str
    digest: str  # SHA-256 of its bytes in hex; "" where it cannot be read
    error: str | None  # why it cannot be decoded
    sample_rate: int = 0  # Hz, as stored
    channels: int = 0  # as stored
    seconds: float = 0.0
    samples: int = 0  # of one channel at the model's rate
    first_sample: int = 0  # where its waveform begins in the file of all waveforms, if it is kept
    finite: bool = True  # no NaN and no infinite sample
    peak: float = 0.0  # largest absolute sample; 1 is full scale
    rms: float = 0.0
    clipped: float = 0.0  # share of samples at full scale
    silent: float = 0.0  # share of 20 ms frames below -50 dB of full scale
    offset: float = 0.0  # mean of the samples
    remark: str | None = None  # how its header or name differs from its content (search.preparation.recordings.remark)


@dataclass(frozen=True)
class Row:
    """A row of a table: a clip, and whether training would use it."""

    part: str  # of PARTS
    audio_file: str
    text: str
    speaker: str
    language: str
    tokens: int  # of the text, by the vocabulary that training would use; 0 where it was not tokenised
    unknown: list[str]  # letters and tags that the base's own vocabulary lacks
    reason: str | None  # why this project leaves the clip out
    stock: str | None  # why coqui's dataset drops it, with the base as it is


@dataclass(frozen=True)
class BaseFacts:
    """The base model as it is on the disk."""

    directory: str
    error: str | None  # why it cannot be used; what follows may then be 0
    gpt: Model
    languages: tuple[str, ...] = ()  # of config.json
    language: str = ""  # data.language as the base has it
    language_tag: bool = True  # the vocabulary has a token for it, like [en]
    language_listed: bool = True  # coqui's tokenizer has rules for the language; else stock drops every clip
    max_audio_seconds: float = 0.0  # that the model has positions for
    max_text_tokens: int = 0
    total_parameters: int = 0  # of model.pth
    code_samples: int = 1024  # audio samples a code stands for


@dataclass(frozen=True)
class Survey:
    """Everything that was found about data and base."""

    sample_rate: int  # Hz, of the model
    rows: list[Row]
    recordings: dict[str, Recording]  # by path
    table_remarks: list[str]  # lines that are left out, and what coqui's formatter warned of
    assumed: list[str]  # to read the tables
    missing: list[str]  # what the vocabulary lacks: the language's tag, then letters
    base: BaseFacts

    def part(self, name: str, *, used: bool = True) -> list[Row]:
        """The rows of a part; with `used` only those that training takes."""
        return [row for row in self.rows if row.part == name and not (used and row.reason)]

    def seconds(self, row: Row) -> float:
        return self.recordings[row.audio_file].seconds
