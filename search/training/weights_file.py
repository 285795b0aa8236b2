"""Weights files of any origin, opened without running what they contain."""

import re
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from TTS.tts.configs.xtts_config import XttsAudioConfig
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTArgs, GPTTrainerConfig
from TTS.tts.models.xtts import _legacy_safe_globals

from search.training.file_kinds import AGAIN, WrongKind, refuse_no_weights

# Plain data that coqui's trainer saves beside the weights: its config, and losses as NumPy made them.
_SCALARS = [np.dtype, np.float32, np.float64, np.int64, *{type(np.dtype(t)) for t in ("f4", "f8", "i8")}]
_PLAIN: list[Any] = [GPTTrainerConfig, GPTArgs, XttsAudioConfig, defaultdict, dict, *_SCALARS]
_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]
_PLAIN += [(_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]  # NumPy 1 and 2


def read_weights_file(path: Path) -> Any:
    """The content of `path`, memory-mapped where its format allows. Raises WrongKind.

    Never anything but tensors and plain values, and the configs that checkpoints of coqui hold: whatever else a pickle
    names could be code.
    """
    refuse_no_weights(path)
    try:
        with _legacy_safe_globals(), torch.serialization.safe_globals(_PLAIN):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        # torch's own words are not repeated: they advise to load the file without the check.
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named or "Weights only load failed" in str(error):
            what = named[1] if named else "more than tensors and plain values"
            raise WrongKind(
                f"contains {what}, which may run code, so it is not loaded; take a file that contains only weights"
            ) from error
        raise WrongKind(f"is damaged; {AGAIN}") from error


def state_dict(content: Any) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, or of a bare state dict. Raises WrongKind."""
    if isinstance(content, dict):
        state = next((content[key] for key in ("model", "state_dict") if isinstance(content.get(key), dict)), content)
        tensors = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
        if tensors:
            return tensors
    raise WrongKind("contains no weights of a model; take the file of the base")
