"""A search or a confirmation as JSON lines: one an event."""

from dataclasses import asdict
from typing import Any

from search.commands.json_lines import JsonLines
from search.commands.outcome import losses
from search.trial import Evaluation
from search.workers.events import Board, End, Extent, Start


class JsonView:
    """Tells `lines` of what is under way in `study`."""

    def __init__(self, lines: JsonLines, study: str) -> None:
        self._lines = lines
        self._study = study
        self._board = Board()

    def note(self, text: str) -> None:
        self._lines.tell("note", text=text)

    def status(self, text: str) -> None:
        self._lines.tell("status", text=text)

    def begin(self, extent: Extent) -> None:
        with self._board.lock:
            self._board.begin(extent)
            fields = asdict(extent)
            self._lines.tell(
                "begin",
                study=self._study,
                unit=fields.pop("noun"),
                total=fields.pop("trials"),
                **{**fields, "best": self._best},
            )

    def counted(self, finished: int, best: tuple[int, float] | None) -> None:
        with self._board.lock:
            self._board.counted(finished, best)

    def started(self, start: Start) -> None:
        self._lines.tell(
            "started",
            slot=start.slot,
            trial=start.number,
            label=start.label,
            horizon=start.horizon,
            hyperparameters=start.point.to_dict(),
        )

    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None:
        self._lines.tell("evaluated", slot=slot, trial=number, **losses(evaluation))

    def ended(self, end: End) -> None:
        with self._board.lock:
            is_best = self._board.ended(end)
            self._lines.tell(
                "ended",
                slot=end.slot,
                trial=end.number,
                reason=end.reason,
                lowest=losses(end.best) if end.best else None,
                is_best=is_best,
                error=end.error,
                finished=self._board.finished,
                total=self._board.extent.trials,
                best=self._best,
            )

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass

    def leave(self) -> None:
        self._lines.tell_at_once("stopped")

    @property
    def _best(self) -> dict[str, Any] | None:
        best = self._board.best
        return {"trial": best[0], "mel_ce": best[1]} if best else None
