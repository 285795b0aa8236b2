"""What the model of a trial speaks, and how it is judged. Plain data; no torch.

A run that is asked to (`TrialSpec.sentences`) speaks sentences of the eval set with its best weights, in the voice of a
training clip of the same speaker. Nothing here ever enters the objective.
"""

from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

ATTRIBUTE = "speech"  # system attribute of a trial that spoke
LEFT_OUT = "speech_left_out"  # user attribute of a trial that would have spoken, but for speech.share: sentences
FOLDER = "speech"  # of a trial's folder


@dataclass(frozen=True)
class Sentence:
    """A sentence of the eval set. Its three files are 16-bit wavs, by name, in the trial's folder `speech`."""

    text: str
    speaker: str
    spoken: str  # by the model
    recorded: str  # the eval clip itself, by the speaker
    reference: str  # the training clip that the voice was taken from
    seconds: float  # of the spoken file
    cut: bool  # the model did not stop by itself
    similarity: float | None  # cosine of XTTS's speaker embeddings, spoken and reference; 1 is the same
    recorded_similarity: float | None  # recorded and reference: what a real recording of the speaker comes to
    cer: float | None = None  # character error rate of the spoken file, by the recogniser; 0 is none, may exceed 1
    recorded_cer: float | None = None  # of the recorded one: the recogniser's own errors

    @property
    def files(self) -> tuple[str, str, str]:
        return self.spoken, self.recorded, self.reference


@dataclass(frozen=True)
class Speech:
    """What one trial spoke."""

    step: int  # optimizer steps of the weights, those of the trial's best evaluation
    sentences: list[Sentence]
    recogniser: str | None = None  # name of the folder of the speech recogniser
    artifacts: dict[str, str] = field(default_factory=dict)  # file name to artifact id, once they are stored
    took: float = 0.0  # seconds of the slot

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Speech":
        return cls(**{**values, "sentences": [Sentence(**sentence) for sentence in values["sentences"]]})

    def mean(self, name: str) -> float | None:
        """Over the sentences, of one of their figures; None where none has it."""
        known = [value for sentence in self.sentences if (value := getattr(sentence, name)) is not None]
        return fmean(known) if known else None

    def labelled(self) -> dict[str, str]:
        """Artifact ids by file names that say what one hears, in the order to listen in.

        Files of the same content are one artifact, with all their labels in its name.
        """
        digits = len(str(len(self.sentences)))  # Optuna's dashboard sorts by name
        references = list(dict.fromkeys(sentence.reference for sentence in self.sentences))
        labels: dict[str, list[str]] = {}
        for number, sentence in enumerate(self.sentences, 1):
            which = f" {references.index(sentence.reference) + 1}" if len(references) > 1 else ""
            for file, label in (
                (sentence.spoken, f"sentence {number:0{digits}}, model"),
                (sentence.recorded, f"sentence {number:0{digits}}, recording"),
                (sentence.reference, f"voice reference{which}"),
            ):
                known = self.artifacts.get(file)
                if known is not None and label not in labels.setdefault(known, []):
                    labels[known].append(label)
        return {f"{'; '.join(parts)}.wav": known for known, parts in labels.items()}
