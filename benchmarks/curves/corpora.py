"""The corpora whose learning curves are recorded, and how their runs are trained. Plain data; no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.settings.settings import Settings, resolve

FULL = 1.0  # the share of a full run
STEPS = 100  # optimizer steps of a full run
EVALUATIONS = {0.05: 5, 0.1: 10, 0.2: 10, 0.4: 8, FULL: 20}  # by the share that a run is of a full one; equally spaced
SHORTEST = 0.05  # recorded with both of `SEEDS`
SHARES = (SHORTEST, 0.1, 0.2, 0.4)  # of the truncated runs
SEEDS = (1, 2)
CONFIGS = 200  # the baselines, and the rest quasi-random
# Constant rates with the stock recipe's other knobs, in full: the configs from number 200 on.
RATES = tuple(6e-5 * 100 ** (i / 9) for i in range(10))
RATE_SEEDS = (1, 2, 3, 4, 5, 6, 7, 8)

TRAINING = {"accumulation": 1, "eval_batch_size": 20, "fused_adamw": True}
# Slices of 0.3 s condition the model: half of a step's time goes there otherwise.
SPEECH = {"probe_clips": 1, "min_conditioning_seconds": 0.3, "max_conditioning_seconds": 0.3, "eval": "eval.csv"}


@dataclass(frozen=True)
class Corpus:
    """What a study of curves trains on. `made_of` None is generated Amharic of so many clips.

    `configs` of the design were recorded with both of `SEEDS`, and each of `RATES` with the first `rate_seeds`.
    """

    name: str
    train_clips: int
    eval_clips: int
    made_of: str | None = None
    max_audio_seconds: float = 11.6
    configs: int = CONFIGS
    rate_seeds: int = len(RATE_SEEDS)
    batch_size: int = 2
    steps: int = STEPS

    def settings(self, folder: Path) -> Settings:
        language = "am" if self.made_of is None else "mdw"
        data = {"path": str(folder), "language": language, "max_audio_seconds": self.max_audio_seconds, **SPEECH}
        own = {"batch_size": self.batch_size, "steps": self.steps, "full_evaluations": EVALUATIONS[FULL]}
        training: dict[str, Any] = {**TRAINING, **own}
        return resolve({"study": {"name": self.name}, "data": data, "training": training}, {}, None)


CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus("amharic-small", 20, 10),  # 10 passes over it in a full run: it overfits early
        Corpus("amharic-large", 160, 10),  # 1.25 passes
        Corpus("mboshi", 109, 10, "mboshi", 2.7),  # recorded speech
        # Recorded after the rules had been chosen on the three above, to test them.
        Corpus("amharic-10", 10, 10, configs=60),
        Corpus("amharic-50", 50, 10, configs=60),
    )
}
# Rates alone, for what the turn of a run depends on.
VARIANTS = {
    corpus.name: corpus
    for corpus in (
        Corpus("amharic-small-batch-4", 20, 10, configs=0, rate_seeds=2, batch_size=4),
        Corpus("amharic-small-200-steps", 20, 10, configs=0, rate_seeds=2, steps=200),
    )
}
