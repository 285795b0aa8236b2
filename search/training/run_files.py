"""What a run writes for people: tables and TensorBoard."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

from search.training.board import Board
from search.training.record import Step
from search.trial import Evaluation, StopReason, TrialSpec


class RunFiles:
    """evaluations.csv, steps.csv and tensorboard/ of a run, complete up to the last evaluation."""

    def __init__(self, spec: TrialSpec, history: Sequence[Step], evaluations: Sequence[Evaluation]) -> None:
        """A resumed run writes its tables again; TensorBoard forgets what came after its last evaluation."""
        directory = Path(spec.directory)
        self._written = evaluations[-1].step if evaluations else 0
        self._evaluations = (directory / "evaluations.csv").open("w", newline="", encoding="utf-8")
        self._steps = (directory / "steps.csv").open("w", newline="", encoding="utf-8")
        # A resumed run repeats the steps since its last evaluation, which the process before may have written, too.
        self._board = Board(directory / "tensorboard", spec, evaluations)
        csv.writer(self._evaluations).writerow([*(f.name for f in fields(Evaluation)), "gap"])
        csv.writer(self._steps).writerow(["step", *(f.name for f in fields(Step))])
        for number, step in enumerate(history[: self._written], 1):
            _write_row(self._steps, [number, *asdict(step).values()])
        for evaluation in evaluations:
            _write_row(self._evaluations, [*asdict(evaluation).values(), evaluation.gap])

    def __enter__(self) -> "RunFiles":
        return self

    def __exit__(self, *_: Any) -> None:
        self._evaluations.close()
        self._steps.close()
        self._board.close()

    def write_steps(self, history: Sequence[Step]) -> None:
        """Writes the part of the run's `history` that is not written yet."""
        for number, step in enumerate(history[self._written :], self._written + 1):
            _write_row(self._steps, [number, *asdict(step).values()])
            self._board.step(number, step)
        self._written = len(history)
        self._steps.flush()

    def write_evaluation(self, evaluation: Evaluation) -> None:
        _write_row(self._evaluations, [*asdict(evaluation).values(), evaluation.gap])
        self._evaluations.flush()
        self._board.evaluation(evaluation)  # on the disk before the state says that this evaluation was made

    def write_end(self, reason: StopReason) -> None:
        self._board.end(reason, self._written)


def _write_row(file: TextIO, values: list[Any]) -> None:
    csv.writer(file).writerow([f"{v:.8g}" if isinstance(v, float) else v for v in values])
