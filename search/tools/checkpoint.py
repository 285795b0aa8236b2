"""Checkpoint files of any run, opened without running what they contain."""

import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from TTS.tts.models.xtts import _legacy_safe_globals

from search.training import base

Weights = dict[str, torch.Tensor]


class Unusable(Exception):
    """A file that is not measured; the message says why."""


def load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, memory-mapped. Raises Unusable.

    Never anything but tensors and plain values, and the config class that old checkpoints hold: whatever else a pickle
    names could be code.
    """
    try:
        with _legacy_safe_globals():
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        raise Unusable(_reason(error)) from error
    if not isinstance(content, dict):
        raise Unusable(f"contains a {type(content).__name__} and is not a checkpoint")
    return content


def _reason(error: Exception) -> str:
    """torch's advice, to load the file without the check, is not repeated."""
    text = str(error).strip() or type(error).__name__
    named = re.search(r"GLOBAL (\S+)", text)
    if named:
        return f"contains {named[1]}, which may run code; it is not loaded"
    if "Weights only load failed" in text:
        return "contains more than tensors and plain values, which may run code; it is not loaded"
    return f"cannot be read as a checkpoint: {text.splitlines()[0]}"


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
    state = content.get("model", content)
    if not isinstance(state, dict):
        raise Unusable("contains no weights")
    tensors = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
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
