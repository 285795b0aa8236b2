"""The base model, read and loaded into the stock `GPTTrainer`. `search.preparation.base_check` judges its files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from TTS.tts.configs.xtts_config import XttsAudioConfig
from TTS.tts.layers.xtts.dvae import DiscreteVAE
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTArgs, GPTTrainer, GPTTrainerConfig

from search.errors import UserError
from search.training.file_kinds import WrongKind, read_json
from search.training.tokenizer import Tokenizer
from search.training.weights_file import read_weights_file, state_dict

Weights = dict[str, torch.Tensor]

FILES = ("config.json", "model.pth", "dvae.pth", "mel_stats.pth", "vocab.json")
COMPANIONS = ("speakers_xtts.pth", "LICENSE.txt")  # a base may have them, and what is made from it keeps them

NO_XTTS = "config.json has values that no XTTS model can be made with; take the one that came with model.pth"

# The stock recipe's optimizer (coqui recipes/ljspeech/xtts_v2/train_gpt_xtts.py); weight decay is a knob.
ADAMW = {"betas": [0.9, 0.96], "eps": 1e-8}


class StudyModel(GPTTrainer):
    """The stock model; a batch brings the DVAE codes of its clips instead of having them computed at every step."""

    @torch.no_grad()
    def format_batch_on_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        """As the stock method, but for `audio_codes` (batch, codes), which were made clip by clip, without padding."""
        clips, slices, channels, samples = batch["conditioning"].size()
        mel = self.torch_mel_spectrogram_style_encoder(
            batch.pop("conditioning").view(clips * slices, channels, samples)
        )
        batch["cond_mels"] = mel.view(clips, slices, mel.size(1), mel.size(2))
        batch["text_inputs"] = batch.pop("padded_text")
        del batch["wav"]
        return batch

    def load_checkpoint(
        self, config: GPTTrainerConfig, checkpoint_path: str, *, eval: bool = False, strict: bool = True, **_: Any
    ) -> None:
        """As stock in training, from a memory-mapped file: the stock loader holds a second copy of all weights."""
        self.xtts.load_state_dict(read_weights(Path(checkpoint_path)), strict=strict)


class NoInit(TorchFunctionMode):
    """Leaves out `torch.nn.init`, whose result is overwritten by the checkpoint: 2 of 2.5 s of a start (measured)."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


def refused(directory: Path, why: str) -> UserError:
    return UserError(f"base.path {directory}: {why}")


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Raises UserError that names the file of a base for one that is of the wrong kind."""
    try:
        yield
    except WrongKind as error:
        raise refused(path.parent, f"{path.name} {error}") from error


def config_values(directory: Path) -> dict[str, Any]:
    """All of the base's `config.json`. Raises UserError."""
    with named(directory / "config.json"):
        content: dict[str, Any] = read_json(directory / "config.json")
    return content


def training_config(
    directory: Path,
    conditioning_seconds: tuple[float, float] = (3.0, 6.0),
    max_audio_seconds: float = 11.6,
    max_text_tokens: int = 200,
) -> GPTTrainerConfig:
    """A stock `GPTTrainerConfig` for the base in `directory`, the searched knobs left at their defaults.

    The defaults are for what does not depend on the lengths.
    """
    stored = config_values(directory)
    try:
        audio = XttsAudioConfig(**_known(XttsAudioConfig, stored.get("audio", {})))
        args = GPTArgs(
            **{
                **_known(GPTArgs, stored["model_args"]),
                "min_conditioning_length": int(conditioning_seconds[0] * audio.sample_rate),
                "max_conditioning_length": int(conditioning_seconds[1] * audio.sample_rate),
                "max_wav_length": int(max_audio_seconds * audio.sample_rate),
                "max_text_length": max_text_tokens,
                "tokenizer_file": str(directory / "vocab.json"),
                "mel_norm_file": str(directory / "mel_stats.pth"),
                "dvae_checkpoint": str(directory / "dvae.pth"),
                "xtts_checkpoint": str(directory / "model.pth"),
                "gpt_checkpoint": "",
            }
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise refused(directory, NO_XTTS) from error
    return GPTTrainerConfig(
        model_args=args,
        audio=audio,
        optimizer="AdamW",
        optimizer_params=dict(ADAMW),
        optimizer_wd_only_on_weights=True,
        scheduler_after_epoch=False,
        save_checkpoints=False,
        run_eval=True,
        test_sentences=[],
    )


def _known(kind: Any, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in kind.__dataclass_fields__}


def limits(config: GPTTrainerConfig) -> tuple[float, int]:
    """(seconds of audio, text tokens) that the model has positions for (`GPT.__init__`, `GPT.forward`)."""
    args = config.model_args
    codes = args.gpt_max_audio_tokens + 3 - 5  # positions, less START, STOP and 3 codes of padding
    return codes * args.gpt_code_stride_len / config.audio.sample_rate, args.gpt_max_text_tokens


def load_model(config: GPTTrainerConfig) -> StudyModel:
    """The model with its base's weights, on the CPU. Only for a base that passed `base_check.check`."""
    with NoInit():
        model = StudyModel(config)
    model.xtts.tokenizer = Tokenizer(config.model_args.tokenizer_file)
    return model


def trained_weights(source: Path, gpt: Weights) -> Weights:
    """The base's weights with the trained GPT in place of its own, and the mel statistics that training used.

    Raises AssertionError when the GPT lacks a weight of the base's.
    """
    weights = read_weights(source / "model.pth")
    # A checkpoint of the first XTTS has copies of the GPT for inference, which would be loaded over the trained one.
    theirs = {k for k in weights if k.startswith("gpt.") and not k.startswith("gpt.gpt_inference.")}
    ours = {f"gpt.{k}": v for k, v in gpt.items()}
    assert theirs <= ours.keys(), f"the trained GPT lacks {sorted(theirs - ours.keys())[:3]}"
    stats = torch.load(source / "mel_stats.pth", map_location="cpu", weights_only=True)
    return {**{k: v for k, v in weights.items() if not k.startswith("gpt.")}, **ours, "mel_stats": stats}


def gpt_weights(state: Weights) -> Weights:
    """The GPT's tensors of a base's state dict, without their prefix."""
    return {k.removeprefix("gpt."): v for k, v in _flat(state).items() if k.startswith("gpt.")}


def _flat(state: Weights) -> Weights:
    """Keys as `Xtts` names them, without what coqui's trainer adds (`Xtts.get_compatible_checkpoint_state_dict`)."""
    added = ("torch_mel_spectrogram_style_encoder", "torch_mel_spectrogram_dvae", "dvae")
    flat = {k.removeprefix("xtts."): v for k, v in state.items()}
    return {k: v for k, v in flat.items() if k.split(".")[0] not in added}


def read_weights(path: Path) -> Weights:
    """All weights of a base's `model.pth` as `Xtts` names them, memory-mapped. Raises UserError.

    A fine-tuned checkpoint, or a bare state dict, is one.

    An original XTTS-v2 holds a pickled `XttsConfig`, which coqui's loader allows, and then overwrites the user's file
    without it (`Xtts._load_checkpoint`); this one leaves it alone.
    """
    with named(path):
        return _flat(state_dict(read_weights_file(path)))


def new_dvae(codes: int) -> DiscreteVAE:
    """The DVAE as `GPTTrainer.__init__` makes it, for this number of audio codes."""
    return DiscreteVAE(
        channels=80,
        normalization=None,
        positional_dims=1,
        num_tokens=codes,
        codebook_dim=512,
        hidden_dim=512,
        num_resnet_blocks=3,
        kernel_size=3,
        num_layers=2,
        use_transposed_convs=False,
    )


def config_from_dict(values: dict[str, Any]) -> GPTTrainerConfig:
    """The config that `to_dict` wrote, with its nested classes."""
    config = GPTTrainerConfig()
    config.from_dict(values)
    if not isinstance(config.model_args, GPTArgs):
        config.model_args = GPTArgs(**values["model_args"])
    if not isinstance(config.audio, XttsAudioConfig):
        config.audio = XttsAudioConfig(**values["audio"])
    return config
