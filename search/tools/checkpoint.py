"""Checkpoint files of any run, opened without running what they contain."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from search.training import base
from search.training.file_kinds import WrongKind
from search.training.weights_file import read_weights_file, state_dict

Weights = dict[str, torch.Tensor]


class Unusable(Exception):
    """A file that is not measured; the message says why."""


def load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, memory-mapped. Raises Unusable."""
    try:
        content = read_weights_file(path)
    except WrongKind as error:
        raise Unusable(str(error).partition(";")[0]) from error  # the next step is for files of a base
    if not isinstance(content, dict):
        raise Unusable(f"contains a {type(content).__name__} and is not a checkpoint")
    return content


def claims(content: dict[str, Any]) -> dict[str, Any]:
    """What the file says of itself: step, epoch, and train and eval loss as coqui's trainer computed them."""
    loss = content.get("model_loss")  # a float, of the eval, before coqui-tts-trainer 0.1
    train, held_out = (loss.get("train_loss"), loss.get("eval_loss")) if isinstance(loss, dict) else (None, loss)
    own = content.get("evaluation")
    step, epoch = content.get("step"), content.get("epoch")
    return {
        "step": step if isinstance(step, int) else None,
        "epoch": epoch if isinstance(epoch, int) else None,
        "claimed_train": _number(train),
        "claimed_eval": _number(own.get("mel_ce") if isinstance(own, dict) else held_out),
    }


def _number(value: Any) -> float | None:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return float(value)
    return float(value) if isinstance(value, int | float) else None


def gpt_weights(content: dict[str, Any]) -> Weights:
    """The GPT's tensors, without a prefix. Raises Unusable where there are none.

    coqui's trainer prefixes them `xtts.gpt.`, an exported model `gpt.`, and our runs nothing.
    """
    try:
        tensors = state_dict(content)
    except WrongKind as error:
        raise Unusable("contains no weights") from error
    weights = tensors if "text_embedding.weight" in tensors else base.gpt_weights(tensors)
    if "text_embedding.weight" not in weights:
        raise Unusable("contains no weights of an XTTS GPT")
    return weights


def digest(weights: Weights) -> str:
    """SHA-256 over names and values: equal weights in different files are measured once."""
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode("utf-8", "backslashreplace"))
        found.update(weights[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
