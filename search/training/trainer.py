"""coqui's `Trainer`, corrected. What differs from stock, why, and the test that pins it: docs/parity.md."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from trainer import Trainer, TrainerArgs
from trainer.logging import DummyLogger
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer, GPTTrainerConfig

from search.training.record import Diverged, Recorder

Batch = dict[str, Any]


class StudyTrainer(Trainer):
    """Keeps stock's `train_step` and `optimize`; owns the loop around them.

    The loop counts optimizer steps, each of exactly `accumulation` micro-batches (stock divides a short last group of
    an epoch by the full count), and lets every exception out (`Trainer.fit` turns them into `sys.exit`). No checkpoint
    is written and no run folder is shared.
    """

    def __init__(
        self,
        config: GPTTrainerConfig,
        model: GPTTrainer,
        directory: Path,
        accumulation: int,
        *,
        pin_memory: bool = False,
    ) -> None:
        """`directory` must be this run's own: stock adds a folder with a name of minute resolution inside it."""
        self._pin_memory = pin_memory
        super().__init__(
            TrainerArgs(grad_accum_steps=accumulation),
            config,
            output_path=str(directory),
            model=model,
            dashboard_logger=DummyLogger(),
            train_samples=[],
            eval_samples=[],
            parse_command_line_args=False,
        )
        args = config.model_args
        self.recorder = Recorder(self.optimizer[0], args.gpt_loss_text_ce_weight, args.gpt_loss_mel_ce_weight)

    def save_training_script(self) -> None:
        """Stock copies sys.argv[0] into every run folder; the study records its commit instead."""

    def format_batch(self, batch: Batch) -> Batch:
        """As stock; with `pin_memory` from page-locked memory: stock's transfer does not wait (`to_cuda`), and only
        from there can it go on beside the host's work."""
        if self._pin_memory:
            batch = {k: v.pin_memory() if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        formatted: Batch = super().format_batch(batch)
        return formatted

    def _compute_loss(self, batch: Batch, criterion: Any, optimizer_idx: int | None) -> tuple[Any, Any]:
        """As stock; raises Diverged for a loss that is not finite, before it can reach the optimizer."""
        outputs, losses = super()._compute_loss(batch, criterion, optimizer_idx)
        if not torch.isfinite(losses["loss"]):
            raise Diverged(f"the training loss is {losses['loss'].item()} after {self.recorder.steps} optimizer steps")
        return outputs, losses

    def detach_loss_dict(self, loss_dict: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """As stock, with `loss` multiplied back: stock logs it divided by the accumulation steps (T:824)."""
        detached: dict[str, Any] = super().detach_loss_dict(loss_dict, **kwargs)
        detached["loss"] *= self.grad_accum_steps
        return detached

    def steps(
        self, batches: Iterator[Batch], horizon: int, should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[int]:
        """Trains on to `horizon` optimizer steps, and yields the number of steps done after each.

        There nothing of the run is under way: the caller may evaluate, save or leave. Ends before the next batch once
        `should_stop()`. Raises Diverged. The recorder keeps what was done.
        """
        self.callbacks.on_train_epoch_start(self)
        for step in range(self.recorder.steps + 1, horizon + 1):
            losses = []
            for micro, batch in enumerate(itertools.islice(batches, self.grad_accum_steps)):
                if should_stop():
                    return
                started = time.monotonic()
                _, logged = self.train_step(batch, self.grad_accum_steps, micro, time.time())
                assert logged is not None
                losses.append(logged)
                self.recorder.add_micro_step(time.monotonic() - started)
            self.recorder.add_step(losses, self.config.grad_clip)
            yield step
            if not self.model.xtts.gpt.training:
                # Stock puts the whole model into training mode after an evaluation within an epoch, the DVAE included.
                self.callbacks.on_train_epoch_start(self)
