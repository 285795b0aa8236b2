"""A point of the space and a mode of training as fields of coqui's config: what each knob sets. No torch."""

from collections.abc import Mapping
from typing import Any

from search.errors import UserError
from search.settings.sections import Training
from search.settings.settings import Settings
from search.trial import Prepared, TrialSpec
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps


def run_fields(
    prepared: Mapping[str, Any], point: Hyperparameters, horizon: int, training: Training | TrialSpec, seed: int
) -> dict[str, Any]:
    """What completes `prepared`, a `GPTTrainerConfig` of the base and the data, for a run of `horizon` steps."""
    optimizer_params = {k: v for k, v in prepared["optimizer_params"].items() if k != "weight_decay"}
    if training.fused_adamw:
        optimizer_params["fused"] = True
    return {
        **coqui_fields(point, horizon, optimizer_params),
        "batch_size": training.batch_size,
        "eval_batch_size": training.eval_batch_size,
        "training_seed": seed,
        # Autocast of the training step; evaluation stays in fp32.
        "mixed_precision": training.precision == "bf16",
        "precision": "bf16" if training.precision == "bf16" else "fp16",  # stock reads it only with mixed_precision
        "allow_tf32": training.precision == "tf32",
    }


def coqui_fields(point: Hyperparameters, horizon: int, optimizer_params: dict[str, Any]) -> dict[str, Any]:
    """The fields that `point` sets in a run of `horizon` optimizer steps.

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


def beyond_coqui(point: Hyperparameters) -> list[str]:
    """The knobs of `point` that act and that coqui's config has no field for, each with its value."""
    knobs = (("new_rows_lr_factor", 1), ("frozen_layers", 0))
    return [f"{name} {getattr(point, name):.3g}" for name, off in knobs if getattr(point, name) != off]


def refuse_space(settings: Settings, prepared: Prepared) -> None:
    """Raises UserError where a dimension of the space, or a knob of the stock recipe, cannot act on the base."""
    space = settings.search_space()
    if space.new_rows_lr_factor is not None:
        _refuse_factor("the space has [new_rows_lr_factor]", prepared)
    if space.frozen_layers is not None:
        _refuse_layers("the space's frozen_layers.high", space.frozen_layers.high, prepared)
    # A confirmation runs it as it stands, also outside the space.
    refuse_point(settings.stock_recipe().hyperparameters, prepared)


def refuse_point(point: Hyperparameters, prepared: Prepared) -> None:
    """Raises UserError where a knob of `point` cannot act on the base."""
    if point.new_rows_lr_factor != 1:
        _refuse_factor(f"new_rows_lr_factor is {point.new_rows_lr_factor:.3g}", prepared)
    _refuse_layers("frozen_layers", point.frozen_layers, prepared)


def _refuse_factor(what: str, prepared: Prepared) -> None:
    if not prepared.new_rows:
        raise UserError(
            f"{what}, but the base has no new vocabulary rows on which it could act: leave it out, or train a language"
            " whose letters the base lacks"
        )


def _refuse_layers(name: str, count: int, prepared: Prepared) -> None:
    # A base that was prepared without its configuration is a stand-in, whose runs train nothing.
    layers = prepared.coqui_config.get("model_args", {}).get("gpt_layers")
    if layers is not None and count > layers:
        raise UserError(f"{name} is {count}, but the base's GPT has {layers} layers; lower it to {layers} or less")
