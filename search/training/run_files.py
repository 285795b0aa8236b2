"""What a run writes for people: tables and TensorBoard."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from search.ties import lowest
from search.training.board import Board
from search.training.record import Step
from search.trial import Evaluation, StopReason, TrialSpec


class RunFiles:
    """evaluations.csv, steps.csv and tensorboard/ of a run, complete up to the last evaluation."""

    def __init__(self, spec: TrialSpec, history: Sequence[Step], evaluations: Sequence[Evaluation]) -> None:
        """Of a resumed run TensorBoard forgets what came after its last evaluation: those steps are made again.

        A run that goes on in another folder shows there what it did before.
        """
        self._directory = Path(spec.directory)
        curves = self._directory / "tensorboard"
        there = list(evaluations) if curves.exists() else []
        self._evaluations, self._shown = there, there[-1].step if there else 0
        self._board = Board(curves, spec, tuple(there))
        for evaluation in evaluations[len(there) :]:
            self.write_steps(history[: evaluation.step])
            self.write_evaluation(evaluation)
        self.write_steps(history[: self._shown])
        self._write_evaluations()

    def __enter__(self) -> "RunFiles":
        return self

    def __exit__(self, *_: Any) -> None:
        self._board.close()

    def write_steps(self, history: Sequence[Step]) -> None:
        for number, step in enumerate(history[self._shown :], self._shown + 1):
            self._board.step(number, step)
        self._shown = len(history)
        header = ["step", *(f.name for f in fields(Step))]
        self._write("steps.csv", header, ((number, *astuple(step)) for number, step in enumerate(history, 1)))

    def write_evaluation(self, evaluation: Evaluation) -> None:
        self._evaluations.append(evaluation)
        self._write_evaluations()
        self._board.evaluation(
            evaluation, lowest(self._evaluations)
        )  # on the disk before the state says that this evaluation was made

    def write_end(self, reason: StopReason) -> None:
        self._board.end(reason, self._shown)

    def _write_evaluations(self) -> None:
        header = [*(f.name for f in fields(Evaluation)), "gap"]
        self._write("evaluations.csv", header, ((*astuple(e), e.gap) for e in self._evaluations))

    def _write(self, name: str, header: list[str], rows: Iterable[tuple[Any, ...]]) -> None:
        with open(self._directory / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows([f"{v:.8g}" if isinstance(v, float) else v for v in row] for row in rows)
