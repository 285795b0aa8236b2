"""The state of a run on disk: `last.pth`, from which it goes on bit for bit, and `best.pth`, the best model so far.

A run that may go on in another folder has `last.pth` alone, which says of which run it is. `best.pth` has all weights
of an XTTS model, as the stock class loads them: it becomes `ready/model.pth` as it is.

There is at most one of each, and it is complete. `last.pth` is written first: the step of a best evaluation is always
the one whose state was just saved, so an outdated `best.pth` can be made again from `last.pth`.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from search.errors import UserError, first_line
from search.files import wait_for_lock
from search.study import recorded
from search.ties import lowest
from search.training import base
from search.training.speech import Speaker
from search.training.tensor_file import read_tensors, write_tensors
from search.training.trainer import StudyTrainer
from search.trial import Evaluation

AGAIN = "start the run again in a new folder"


class RunState:
    """Saves the run of `trainer` into `directory` and restores it from there. One process at a time.

    Args:
        run: What the run is, if it may go on in another folder. A state of another one is refused.
        speaker: Whose weights are part of such a run's state.
    """

    def __init__(
        self,
        directory: Path,
        trainer: StudyTrainer,
        save_seconds: float,
        run: str | None = None,
        speaker: Speaker | None = None,
    ) -> None:
        """Waits while another process holds the folder: a run that was told to end, and has not ended yet."""
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = wait_for_lock(directory / ".lock")
        self.last, self.best = directory / "last.pth", directory / "best.pth"
        for left in directory.glob(".*.pth.*"):  # by a process that was killed while it wrote
            left.unlink()
        self._trainer, self._run, self._speaker = trainer, run, speaker
        self._base = Path(trainer.config.model_args.xtts_checkpoint).parent
        self._save_seconds = save_seconds
        self._saved = time.monotonic()
        self._best_step: int | None = None

    def close(self) -> None:
        """Frees the folder for another process."""
        self._lock.close()

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._saved >= self._save_seconds

    def save(self, evaluations: Sequence[Evaluation], seconds: float) -> None:
        """Raises UserError when the disk is full; the states before are still there."""
        started = self._saved = time.monotonic()
        recorder, scheduler = self._trainer.recorder, self._trainer.scheduler[0]
        content = {
            "step": recorder.steps,
            "seconds": seconds,
            "evaluations": [asdict(e) for e in evaluations],
            "recorder": recorder.state_dict(),
            "model": self._gpt.state_dict(),
            "optimizer": self._trainer.optimizer[0].state_dict(),
            "scheduler": scheduler and scheduler.state_dict(),
            "random": random_state(),
            "run": self._run,
            "speaker": self._speaker and self._speaker.state_dict(),
        }
        write_tensors(content, self.last)
        if self._run is None:
            self._save_best(evaluations)
        self._saved = time.monotonic()
        megabytes = self.last.stat().st_size / 1e6
        print(
            f"saved the state of step {recorder.steps}: {megabytes:.2f} MB in {self._saved - started:.2f} s", flush=True
        )

    def restore(self) -> tuple[list[Evaluation], float]:
        """Puts model, optimizer and random state where `last.pth` left them, if there is such a file.

        Returns the evaluations made, and the seconds of the run, without the time in which it was not running. Raises
        UserError for a file that is no such state; then the model may be half changed.
        """
        if not self.last.exists():
            return [], 0.0
        content = read_tensors(self.last)
        try:
            return self._restored(content)
        except UserError:
            raise
        except Exception as error:  # whatever torch, or plain Python, says of content of another form
            raise UserError(f"{self.last} is no state of this run ({first_line(error)}); {AGAIN}") from error

    def _restored(self, content: dict[str, Any]) -> tuple[list[Evaluation], float]:
        if self._run is not None and content["run"] != self._run:
            raise UserError(f"{self.last} is the state of another run; {AGAIN}")
        self._gpt.load_state_dict(content["model"])
        optimizer = self._trainer.optimizer[0]
        optimizer.load_state_dict(content["optimizer"])
        # On a CPU the moments would stay in the mapped file, which keeps its space on the disk when it is replaced.
        for state in optimizer.state.values():
            state.update({k: v.clone() for k, v in state.items() if isinstance(v, torch.Tensor)})
        if (scheduler := self._trainer.scheduler[0]) is not None:
            scheduler.load_state_dict(content["scheduler"])
        recorder, evaluations = self._trainer.recorder, recorded.evaluations(content["evaluations"])
        recorder.load_state_dict(content["recorder"])
        if recorder.steps != content["step"] or len(evaluations) != len(content["evaluations"]):
            raise ValueError("its parts do not fit together")
        if self._run is None:
            self._best_step = read_tensors(self.best)["step"] if self.best.exists() else None
            self._save_best(evaluations)
        if self._speaker is not None:
            self._speaker.load_state_dict(content["speaker"], evaluations)
        restore_random_state(content["random"])
        return evaluations, float(content["seconds"])

    @property
    def _gpt(self) -> torch.nn.Module:
        """All that is trained."""
        gpt: torch.nn.Module = self._trainer.model.xtts.gpt
        return gpt

    def _save_best(self, evaluations: Sequence[Evaluation]) -> None:
        best = lowest(evaluations)
        if best is None or best.step == self._best_step:
            return
        if best.step != self._trainer.recorder.steps:
            raise UserError(
                f"{self.best} is of step {self._best_step}, and the best evaluation of step {best.step}, whose weights"
                f" are in no file any more; {AGAIN}"
            )
        whole = base.trained_weights(self._base, self._gpt.state_dict())
        write_tensors({"step": best.step, "evaluation": asdict(best), "model": whole}, self.best)
        self._best_step = best.step


def random_state() -> dict[str, Any]:
    """Of every generator that a run draws from: Python's and torch's. numpy's is none of them."""
    return {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
