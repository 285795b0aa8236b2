"""Measures what the knobs did: at the optimizer, at the moment of each update."""

import itertools
import math
import statistics
from dataclasses import astuple, dataclass
from typing import Any

import torch

from search.training.new_rows import NewRows
from search.trial import RunRecord
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps

# A run whose decay alone shrinks a weight by less than a tenth of a percent is as good as one without decay.
NEGLIGIBLE_DECAY = 1e-3
COUNTED = ("micro_steps", "train_seconds", "evaluation_seconds")


class Diverged(Exception):
    """A loss or a gradient is not finite; nothing of it has reached the weights."""


@dataclass(frozen=True)
class Step:
    """One optimizer step, as measured."""

    lr: float  # applied by this update
    loss: float  # mean of the micro-batches, undivided
    text_ce: float  # nats per token; stock logs it times its weight, 0.01
    mel_ce: float
    norm_before: float  # L2 norm of the whole gradient
    norm_after: float  # the same as the optimizer saw it
    decay: float  # lr * weight_decay of the decayed group


class Recorder:
    """Hooks into `optimizer`; the trainer tells it the micro-batches' losses.

    Raises Diverged from within `optimizer.step()`, before any weight changes, for a gradient that is not finite.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, text_weight: float, mel_weight: float) -> None:
        """The weights are those by which the model multiplies its two losses."""
        self._weights = {"loss": 1.0, "loss_text_ce": text_weight, "loss_mel_ce": mel_weight}
        self.history: list[Step] = []
        self.micro_steps = 0
        self.train_seconds = 0.0
        self.evaluation_seconds = 0.0
        self._applied = (math.nan, math.nan, math.nan)
        self.new_rows: NewRows | None = None  # a run with a factor for them has one
        groups = optimizer.param_groups
        self.trainable = sum(p.numel() for g in groups for p in g["params"] if p.requires_grad)
        self.frozen = sum(p.numel() for g in groups for p in g["params"] if not p.requires_grad)
        self.decayed = sum(p.numel() for g in groups if g["weight_decay"] for p in g["params"] if p.requires_grad)
        optimizer.register_step_pre_hook(self._before_update)

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far, in plain types."""
        return {
            **{name: getattr(self, name) for name in COUNTED},
            "history": [list(astuple(step)) for step in self.history],
            "new_rows": self.new_rows and self.new_rows.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history[:] = [Step(*map(float, values)) for values in state["history"]]
        for name in COUNTED:
            setattr(self, name, state[name])
        if self.new_rows is not None:
            self.new_rows.load_state_dict(state["new_rows"])

    @property
    def steps(self) -> int:
        return len(self.history)

    def _before_update(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).item()
        if not math.isfinite(norm):
            raise Diverged(f"the gradient norm is {norm} after {self.steps} optimizer steps")
        lr = optimizer.param_groups[0]["lr"]
        self._applied = (lr, norm, lr * max(g["weight_decay"] for g in optimizer.param_groups))

    def add_micro_step(self, seconds: float) -> None:
        self.micro_steps += 1
        self.train_seconds += seconds

    def add_step(self, losses: list[dict[str, Any]], grad_clip: float) -> None:
        """`losses` are what stock's `train_step` logged for each micro-batch of the step."""
        lr, norm_after, decay = self._applied
        # torch.nn.utils.clip_grad_norm_ returns the norm before it clips; without a clip stock logs 0.
        norm_before = float(losses[-1]["grad_norm"]) if grad_clip else norm_after
        mean = {k: statistics.fmean(entry[k] for entry in losses) / weight for k, weight in self._weights.items()}
        self.history.append(
            Step(lr, mean["loss"], mean["loss_text_ce"], mean["loss_mel_ce"], norm_before, norm_after, decay)
        )

    def record(self, point: Hyperparameters, horizon: int, setup_seconds: float) -> RunRecord:
        """The summary of the run so far. What a run without a single update lacks is None."""
        rates = [step.lr for step in self.history]
        changes = [[i, b] for i, (a, b) in enumerate(itertools.pairwise(rates), 1) if a != b]
        decay = 1 - math.prod(1 - step.decay for step in self.history)
        # The share of the steps whose gradient was longer than the clip.
        longer = [point.clip_norm is not None and step.norm_before > point.clip_norm for step in self.history]
        clipped = statistics.fmean(longer) if longer else 0.0
        return RunRecord(
            steps=self.steps,
            micro_steps=self.micro_steps,
            lr_first=rates[0] if rates else None,
            lr_last=rates[-1] if rates else None,
            lr_changes=changes,
            clipped_share=clipped,
            grad_norm_before=statistics.median([s.norm_before for s in self.history]) if rates else None,
            grad_norm_after=statistics.median([s.norm_after for s in self.history]) if rates else None,
            cumulative_decay=decay if math.isfinite(decay) else None,
            trainable_parameters=self.trainable,
            decayed_parameters=self.decayed,
            inert=self._inert(point, horizon, len(changes), clipped, decay),
            setup_seconds=setup_seconds,
            train_seconds=self.train_seconds,
            evaluation_seconds=self.evaluation_seconds,
            frozen_parameters=self.frozen,
            new_rows_update_ratio=self.new_rows.update_ratio if self.new_rows else None,
        )

    def _inert(self, point: Hyperparameters, horizon: int, changes: int, clipped: float, decay: float) -> list[str]:
        found = []
        if point.milestones and changes < len(point.milestones):
            promised = to_steps(point.milestones, horizon)
            found.append(f"milestones: {changes} of {len(promised)} reached, the run ended at step {self.steps}")
        if point.clip_norm is not None and clipped == 0 and self.history:
            longest = max(step.norm_before for step in self.history)
            found.append(f"clip_norm: {point.clip_norm:.3g} was never exceeded, the longest gradient was {longest:.3g}")
        if point.weight_decay and decay < NEGLIGIBLE_DECAY:
            found.append(f"weight_decay: it shrank the weights by {decay:.2e} in all, less than {NEGLIGIBLE_DECAY:g}")
        if self.new_rows is not None and not self.new_rows.had_gradient:
            found.append(f"new_rows_lr_factor: none of the {self.new_rows.count} new rows ever had a gradient")
        return found
