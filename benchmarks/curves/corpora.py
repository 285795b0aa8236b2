"""The corpora whose learning curves are recorded, and how their runs are trained. Plain data; no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.settings.settings import Settings, resolve

FULL = 1.0  # the share of a full run
STEPS = 100  # optimizer steps of a full run
EVALUATIONS = {0.1: 10, 0.2: 10, 0.4: 8, FULL: 20}  # by the share that a run is of a full one; equally spaced
SHARES = (0.1, 0.2, 0.4)  # of the truncated runs
SEEDS = (1, 2)
CONFIGS = 200  # the baselines, and the rest quasi-random

TRAINING = {"batch_size": 2, "accumulation": 1, "eval_batch_size": 20, "steps": STEPS, "fused_adamw": True}
# Slices of 0.3 s condition the model: half of a step's time goes there otherwise.
SPEECH = {"probe_clips": 1, "min_conditioning_seconds": 0.3, "max_conditioning_seconds": 0.3, "eval": "eval.csv"}


@dataclass(frozen=True)
class Corpus:
    """What a study of curves trains on. `made_of` None is generated Amharic of so many clips."""

    name: str
    train_clips: int
    eval_clips: int
    made_of: str | None = None
    max_audio_seconds: float = 11.6

    def settings(self, folder: Path) -> Settings:
        language = "am" if self.made_of is None else "mdw"
        data = {"path": str(folder), "language": language, "max_audio_seconds": self.max_audio_seconds, **SPEECH}
        training: dict[str, Any] = {**TRAINING, "full_evaluations": EVALUATIONS[FULL]}
        return resolve({"study": {"name": self.name}, "data": data, "training": training}, {}, None)


CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus("amharic-small", 20, 10),  # 10 passes over it in a full run: it overfits early
        Corpus("amharic-large", 160, 10),  # 1.25 passes
        Corpus("mboshi", 109, 10, "mboshi", 2.7),  # recorded speech
    )
}
