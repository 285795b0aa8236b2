"""A point of the space as fields of coqui's config: the one place that says what each knob sets. No torch."""

from typing import Any

from space.hyperparameters import Hyperparameters
from space.schedule import to_steps


def coqui_fields(point: Hyperparameters, horizon: int, optimizer_params: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `GPTTrainerConfig` that `point` sets in a run of `horizon` optimizer steps.

    Milestones count optimizer steps: `scheduler_after_epoch` must be False, or coqui counts epochs.
    `grad_clip` 0 is off.
    """
    steps = to_steps(point.milestones, horizon)
    return {
        "lr": point.lr,
        "optimizer_params": {**optimizer_params, "weight_decay": point.weight_decay},
        "lr_scheduler": "MultiStepLR" if steps else None,
        "lr_scheduler_params": {"milestones": list(steps), "gamma": point.gamma} if steps else {},
        "scheduler_after_epoch": False,
        "grad_clip": point.clip_norm or 0.0,
    }


def precision_fields(precision: str) -> dict[str, Any]:
    """coqui's fields for a precision: bf16 is autocast of the training step; evaluation stays fp32."""
    return {
        "mixed_precision": precision == "bf16",
        "precision": "bf16" if precision == "bf16" else "fp16",  # read by stock only with mixed_precision
        "allow_tf32": precision == "tf32",
    }
