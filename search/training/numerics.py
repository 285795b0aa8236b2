"""Precision: whether this machine can do what the settings ask for, and what is computed in plain fp32 all the same."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from search.errors import UserError
from search.settings.sections import Training


def refuse_unavailable(training: Training) -> None:
    """Raises UserError for a setting that could not act on the device that this process would train on."""
    if training.precision == "tf32":
        if not torch.cuda.is_available():
            raise UserError("training.precision is 'tf32', which acts on CUDA GPUs only, and none is visible; use fp32")
        if torch.cuda.get_device_capability() < (8, 0):  # NVIDIA, "Accelerating AI training with TF32": from Ampere on
            raise UserError(
                "training.precision is 'tf32', which GPUs before NVIDIA's Ampere do not have, such as"
                f" {torch.cuda.get_device_name()}; use fp32"
            )
    if training.pin_memory and not torch.cuda.is_available():
        raise UserError(
            "training.pin_memory is true, which acts on the way to CUDA GPUs only, and none is visible; leave it out"
        )


@contextmanager
def without_tf32() -> Iterator[None]:
    """Plain fp32, whatever the training is allowed: in products, and in convolutions, where torch's default is TF32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    allowed = (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = allowed
