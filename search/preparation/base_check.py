"""Whether the files of a base are whole and belong together, before anything is trained."""

import math
from pathlib import Path

import torch
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainerConfig
from TTS.tts.models.xtts import Xtts

from search.errors import UserError
from search.preparation import vocabulary
from search.settings.settings import Settings
from search.training import base
from search.training.base import refused
from search.training.file_kinds import read_json, refuse_no_weights
from search.training.new_rows import TENSORS
from search.training.tokenizer import Tokenizer
from search.training.weights_file import read_weights_file, state_dict

Shapes = dict[str, torch.Size]

_SAME_BASE = "take all files from the same base"
_EXTENDED = (
    "; a vocabulary that was extended elsewhere goes with the original base through"
    " study.py extend-vocab --vocabulary FILE"
)
_AGAIN = "fetch the base again, or take a checkpoint from before its training diverged"


def refuse_broken(directory: Path) -> None:
    """Raises UserError for a file of the base that is missing, or plainly something else: a web page, a half."""
    for name in (*base.FILES, "speakers_xtts.pth"):
        path = directory / name
        if name in base.FILES or path.exists():
            with base.named(path):
                (read_json if path.suffix == ".json" else refuse_no_weights)(path)
    vocabulary.read(directory / "vocab.json", "base.path")


def check(directory: Path) -> None:
    """Raises UserError unless the files of `directory` belong together: every weight there, a row for every token."""
    refuse_broken(directory)
    xtts, dvae = _shapes(directory)
    _compare(directory, "model.pth", base.read_weights(directory / "model.pth"), xtts)
    with base.named(directory / "dvae.pth"):
        _compare(directory, "dvae.pth", state_dict(read_weights_file(directory / "dvae.pth")), dvae)
    with base.named(directory / "mel_stats.pth"):
        stats = read_weights_file(directory / "mel_stats.pth")
    if not isinstance(stats, torch.Tensor) or stats.shape != (80,) or not bool(((stats > 0) & stats.isfinite()).all()):
        why = "mel_stats.pth is not 80 positive numbers, one per mel channel; take the one that came with model.pth"
        raise refused(directory, why)


def config_for(settings: Settings, directory: Path) -> GPTTrainerConfig:
    """The config for the base in `directory` with the lengths of the settings."""
    data = settings.data
    return base.training_config(directory, settings.conditioning_seconds, data.max_audio_seconds, data.max_text_tokens)


def check_limits(settings: Settings, directory: Path) -> None:
    """Raises UserError for lengths that the base has no positions for."""
    seconds, tokens = settings.data.max_audio_seconds, settings.data.max_text_tokens
    most = base.limits(config_for(settings, directory))
    for name, given, limit in zip(("max_audio_seconds", "max_text_tokens"), (seconds, tokens), most, strict=True):
        if given > limit:
            raise UserError(f"data.{name} is {given}; the base has positions for {limit:.4g}: lower it")


def refuse_loss(directory: Path, *losses: float) -> None:
    """Raises UserError for losses of the untouched base that are not finite."""
    if not all(map(math.isfinite, losses)):
        shown = ", ".join(f"{loss:g}" for loss in losses)
        raise refused(directory, f"its loss before any training is {shown}; {_AGAIN}")


def _compare(directory: Path, name: str, found: base.Weights, expected: Shapes) -> None:
    """Raises UserError unless `found` has each expected weight in its shape, and all numbers in it are finite."""
    for key, shape in expected.items():
        if key not in found:
            raise refused(directory, f"{name} lacks {key}, which its config.json calls for; {_SAME_BASE}")
        if (there := found[key].shape) != shape:
            what = f"{key} is {tuple(there)} in {name} and {tuple(shape)} by config.json and vocab.json"
            grown = _EXTENDED if key.removeprefix("gpt.") in TENSORS and there[0] < shape[0] else ""
            raise refused(directory, f"{what}; {_SAME_BASE}{grown}")
        if bad := int((~found[key].isfinite()).sum()):
            what = f"{key} is not finite (NaN or infinite) in {bad:,} of its {found[key].numel():,} values"
            raise refused(directory, f"{name}: {what}; {_AGAIN}")
    if more := [key for key in found if key.startswith("gpt.gpt.") and key not in expected]:
        raise refused(directory, f"{name} has {more[0]}, which its config.json does not call for; {_SAME_BASE}")


def _shapes(directory: Path) -> tuple[Shapes, Shapes]:
    """The weights of Xtts, and those of the DVAE that make codes. None is set, so that no page of them is touched."""
    config = base.training_config(directory)
    try:
        with base.NoInit():
            model = Xtts(config)
            model.tokenizer = Tokenizer(directory / "vocab.json")
            model.init_models()
            dvae = base.new_dvae(config.model_args.gpt_num_audio_tokens - 2)
    except Exception as error:  # a wrong value fails somewhere in coqui, transformers or torch
        raise refused(directory, base.NO_XTTS) from error
    # GPTTrainer reads mel_stats.pth instead of the model's own.
    of_model = {name: value.shape for name, value in model.state_dict().items() if name != "mel_stats"}
    of_dvae = {name: value.shape for name, value in dvae.state_dict().items()}
    return of_model, {k: v for k, v in of_dvae.items() if k.startswith("encoder.") or k == "codebook.embed"}
