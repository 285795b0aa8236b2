"""What a full run came to: `result.json` in its folder, and the lines that say so."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from search.files import write_text
from search.settings.best_config import Stopping
from search.text import duration
from search.ties import is_lower, lowest
from search.trial import Evaluation, StopReason

READY = ("model.pth", "config.json", "vocab.json", "speak.py", "reference/1.wav", "training_report.html")
FOR_TRAINING = ("dvae.pth", "mel_stats.pth")  # what only a next fine-tune needs, and the scans of other programs

_REASONS = {
    StopReason.FINISHED: "it reached its horizon",
    StopReason.TWO_INCREASES: "the evaluation rose {n_increases} times in a row",
    StopReason.GAP: "the gap between evaluation and train probe rose above {max_gap:g}",
    StopReason.DIVERGED: "a loss or a gradient was not finite",
}


@dataclass(frozen=True)
class FullResult:
    """A full run that has ended by itself."""

    reason: StopReason
    stopping: Stopping  # the rules that it ended under
    horizon: int  # optimizer steps
    evaluations: list[Evaluation]
    base: Evaluation  # of the untouched base model
    record: dict[str, Any]  # a RunRecord
    seed: int

    def save(self, path: Path) -> None:
        write_text(path, json.dumps({**asdict(self), "stopping": self.stopping.model_dump()}, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> "FullResult | None":
        """None where no run has ended."""
        if not path.exists():
            return None
        return TypeAdapter(cls).validate_python(json.loads(path.read_text(encoding="utf-8")))

    @property
    def best(self) -> Evaluation | None:
        """The lowest evaluation, the earliest of equals, as `state/best.pth` has it; None before the first."""
        return lowest(self.evaluations)

    @property
    def why(self) -> str:
        return _REASONS[self.reason].format(**self.stopping.model_dump())

    @property
    def health(self) -> str:
        """Of the best evaluation's gap."""
        gap, rules = self.best.gap if self.best else float("nan"), self.stopping
        if gap < rules.healthy_gap:
            return f"healthy, below {rules.healthy_gap:g}"
        return f"not healthy, which is below {rules.healthy_gap:g}: the model knows its training clips better"

    @property
    def beats_base(self) -> bool:
        return self.best is not None and is_lower(self.best.mel_ce, self.base.mel_ce)

    def lines(self) -> list[str]:
        """The answer, for a terminal."""
        steps, best = self.record["steps"], self.best
        spent = f"{duration(self.record['train_seconds'])} training, {duration(self.record['evaluation_seconds'])}"
        found = [f"The run ended at step {steps} of {self.horizon}: {self.why} ({spent} evaluating)."]
        if best is None:
            return found
        found.append(
            f"Best: step {best.step}, eval {best.mel_ce:.4f} nats per audio token, the untouched base"
            f" {self.base.mel_ce:.4f} ({best.mel_ce - self.base.mel_ce:+.4f}); gap {best.gap:.2f} ({self.health})."
        )
        if not self.beats_base:
            found.append("Warning: the untouched base model is better than every step of this run: use that.")
        return found


def is_ready(folder: Path, small: bool) -> bool:
    """Whether nothing of a `ready/` is missing, and nothing is in it that a small one leaves out."""
    is_whole = all((folder / name).is_file() for name in READY)
    return is_whole and all((folder / name).is_file() != small for name in FOR_TRAINING)
