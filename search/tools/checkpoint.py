"""What the content of a checkpoint file of any run is: its claims, and its GPT's weights."""

import hashlib
from typing import Any

import torch

from search.training import base
from search.training.base import Weights
from search.training.file_kinds import WrongKind
from search.training.weights_file import state_dict


def claims(content: dict[str, Any]) -> dict[str, Any]:
    """What the file says of itself: step, epoch, and train and eval loss as coqui's trainer computed them."""
    loss = content.get("model_loss")  # a float, of the eval, before coqui-tts-trainer 0.1
    train, held_out = (loss.get("train_loss"), loss.get("eval_loss")) if isinstance(loss, dict) else (None, loss)
    own = content.get("evaluation")
    counts = {name: content[name] for name in ("step", "epoch") if isinstance(content.get(name), int)}
    claimed = _number(own.get("mel_ce") if isinstance(own, dict) else held_out)
    return {**counts, "claimed_train": _number(train), "claimed_eval": claimed}


def _number(value: Any) -> float | None:
    is_one = isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
    return float(value) if is_one else None


def gpt_weights(content: Any) -> Weights:
    """The GPT's tensors, without a prefix. Raises WrongKind where there are none.

    coqui's trainer prefixes them `xtts.gpt.`, an exported model `gpt.`, and our runs nothing.
    """
    tensors = state_dict(content)
    weights = tensors if "text_embedding.weight" in tensors else base.gpt_weights(tensors)
    if "text_embedding.weight" not in weights:
        raise WrongKind("contains no weights of an XTTS GPT")
    return weights


def digest(weights: Weights) -> str:
    """SHA-256 over names and values: equal weights in different files are measured once."""
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode("utf-8", "backslashreplace"))
        found.update(weights[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
