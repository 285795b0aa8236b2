"""The base model: checked, and loaded into the stock `GPTTrainer`."""

import math
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from TTS.tts.configs.xtts_config import XttsAudioConfig
from TTS.tts.layers.xtts.dvae import DiscreteVAE
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTArgs, GPTTrainer, GPTTrainerConfig
from TTS.tts.models.xtts import Xtts

from search.errors import UserError
from search.settings.settings import Settings
from search.training.file_kinds import WrongKind, read_json, refuse_no_weights
from search.training.tokenizer import Tokenizer
from search.training.weights_file import read_weights_file, state_dict

Weights = dict[str, torch.Tensor]

FILES = ("config.json", "model.pth", "dvae.pth", "mel_stats.pth", "vocab.json")
COMPANIONS = (
    "speakers_xtts.pth",
    "LICENSE.txt",
)  # of XTTS-v2: a base may have them, and what is made from it keeps them

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
        self.xtts.load_state_dict(_flat(_load(Path(checkpoint_path))), strict=strict)


class NoInit(TorchFunctionMode):
    """Leaves out `torch.nn.init`, whose result is overwritten by the checkpoint: 2 of 2.5 s of a start (measured)."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


def refuse_broken(directory: Path) -> None:
    """Raises UserError for a file of the base that is missing, or plainly something else: a web page, a half."""
    for name in (*FILES, "speakers_xtts.pth"):
        path = directory / name
        try:
            if name.endswith(".json"):
                read_json(path)
            elif name in FILES or path.exists():
                refuse_no_weights(path)
        except WrongKind as error:
            raise _refused(directory, f"{name} {error}") from error
    _tokenizer(directory)
    read_config(directory)


def read_config(directory: Path) -> dict[str, Any]:
    """The base's `config.json`."""
    content = config_values(directory)
    try:
        found = {"model_args": dict(content["model_args"]), "audio": dict(content.get("audio", {}))}
    except (AttributeError, ValueError, KeyError, TypeError) as error:
        why = "config.json has no model_args, so it is not an XTTS base's; take the one that came with model.pth"
        raise _refused(directory, why) from error
    rate = found["audio"].get("sample_rate", 22050)
    if not isinstance(rate, int) or rate <= 0:
        wrong = f"config.json has {rate!r} as audio.sample_rate, which is no number above 0"
        why = f"{wrong}; take the one that came with model.pth"
        raise _refused(directory, why)
    return found


def config_values(directory: Path) -> dict[str, Any]:
    """All of the base's `config.json`. Raises UserError."""
    try:
        content: dict[str, Any] = read_json(directory / "config.json")
    except WrongKind as error:
        raise _refused(directory, f"config.json {error}") from error
    return content


def training_config(
    directory: Path, conditioning_seconds: tuple[float, float], max_audio_seconds: float, max_text_tokens: int
) -> GPTTrainerConfig:
    """A stock `GPTTrainerConfig` for the base in `directory`, the searched knobs left at their defaults."""
    stored = read_config(directory)
    audio = XttsAudioConfig(**{k: v for k, v in stored["audio"].items() if k in XttsAudioConfig.__dataclass_fields__})
    known = {k: v for k, v in stored["model_args"].items() if k in GPTArgs.__dataclass_fields__}
    args = GPTArgs(
        **{
            **known,
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


def check(directory: Path) -> None:
    """Raises UserError unless the files of `directory` belong together: every weight there, a row for every token."""
    refuse_broken(directory)
    state = _load(directory / "model.pth")
    _check_rows(directory, state)
    xtts, dvae = _shapes(directory)
    xtts.pop("mel_stats", None)  # GPTTrainer reads mel_stats.pth instead
    _compare(directory, "model.pth", _flat(state), xtts)
    stored, stats = (_read(directory / name) for name in ("dvae.pth", "mel_stats.pth"))
    stored = stored if isinstance(stored, dict) else {}
    _compare(directory, "dvae.pth", stored, dvae)
    if not isinstance(stats, torch.Tensor) or stats.shape != (80,):
        what = tuple(stats.shape) if isinstance(stats, torch.Tensor) else f"a {type(stats).__name__}"
        why = f"mel_stats.pth is {what}; XTTS has 80 mel channels: take the one that came with model.pth"
        raise _refused(directory, why)
    _refuse_not_finite(directory, "model.pth", _flat(state))
    _refuse_not_finite(directory, "dvae.pth", {key: stored[key] for key in dvae})
    if not bool((stats > 0).all() and torch.isfinite(stats).all()):
        raise _refused(directory, "mel_stats.pth holds values that are not positive numbers; fetch the base again")


def _refuse_not_finite(directory: Path, name: str, weights: Weights) -> None:
    for key, value in weights.items():
        if bad := int((~torch.isfinite(value)).sum()):
            step = "fetch the base again, or take a checkpoint from before its training diverged"
            found = f"{bad:,} of its {value.numel():,} values"
            raise _refused(directory, f"{name}: {key} is not finite (NaN or infinite) in {found}; {step}")


def refuse_loss(directory: Path, *losses: float) -> None:
    """Raises UserError, with the largest weight, for losses of the untouched base that are not finite."""
    if all(map(math.isfinite, losses)):
        return
    sizes = {
        key: float(value.abs().max()) for key, value in read_weights(directory).items() if value.is_floating_point()
    }
    key = max(sizes, key=sizes.__getitem__)
    shown = ", ".join(f"{loss:g}" for loss in losses)
    raise _refused(
        directory,
        f"its loss before any training is {shown}; the largest weight is in {key} ({sizes[key]:.2g}); fetch it again",
    )


def _check_rows(directory: Path, state: Weights) -> None:
    """Raises UserError unless the vocabulary is one of XTTS and each of its tokens has a row."""
    tokenizer, weights = _tokenizer(directory), gpt_weights(state)
    for token in ("[START]", "[STOP]"):
        if tokenizer.tokenizer.token_to_id(token) is None:
            raise _refused(directory, f"vocab.json has no {token}; it is not an XTTS vocabulary")
    tokens = tokenizer.get_number_tokens()
    for name in ("text_embedding.weight", "text_head.weight", "text_head.bias"):
        if name not in weights:
            raise _refused(directory, f"model.pth {_other_model(state, name)}")
        if (rows := weights[name].shape[0]) == tokens:
            continue
        step = "take the two from the same base"
        if rows < tokens:
            step += (
                "; a vocabulary that was extended elsewhere goes with the original base through"
                " study.py extend-vocab --vocabulary FILE"
            )
        raise _refused(directory, f"model.pth has {rows} rows in gpt.{name}, vocab.json has {tokens} tokens; {step}")


def _other_model(state: Weights, name: str) -> str:
    """What weights are that lack the GPT's `name`."""
    if name in state:
        return "is a checkpoint of the GPT alone, as a full run keeps it; take the model.pth of its ready/"
    if "codebook.embed" in state:
        return "is a DVAE; take the model.pth of the base, and leave this file dvae.pth"
    return f"has no gpt.{name}; it is not an XTTS model: take the model.pth of the base"


def _tokenizer(directory: Path) -> Tokenizer:
    try:
        return Tokenizer(directory / "vocab.json")
    except Exception as error:  # tokenizers raises plain Exception for a file that it cannot use
        why = "vocab.json is JSON, but no vocabulary of tokenizers; take the one that came with model.pth"
        raise _refused(directory, why) from error


def _compare(directory: Path, name: str, found: Weights, expected: dict[str, tuple[int, ...]]) -> None:
    step = "take all files from the same base"
    for key, shape in expected.items():
        if key not in found:
            raise _refused(directory, f"{name} lacks {key}, which its config.json calls for; {step}")
        if (there := tuple(found[key].shape)) != shape:
            raise _refused(directory, f"{key} is {there} in {name} and {shape} by config.json and vocab.json; {step}")
    if more := [key for key in found if key.startswith("gpt.gpt.") and key not in expected]:
        raise _refused(directory, f"{name} has {more[0]}, which its config.json does not call for; {step}")


def _refused(directory: Path, why: str) -> UserError:
    return UserError(f"base.path {directory}: {why}")


def limits(config: GPTTrainerConfig) -> tuple[float, int]:
    """(seconds of audio, text tokens) that the model has positions for (`GPT.__init__`, `GPT.forward`)."""
    args = config.model_args
    codes = args.gpt_max_audio_tokens + 3 - 5  # positions, less START, STOP and 3 codes of padding
    return codes * args.gpt_code_stride_len / config.audio.sample_rate, args.gpt_max_text_tokens


def check_limits(settings: Settings, directory: Path) -> None:
    """Raises UserError for lengths that the base has no positions for."""
    data = settings.data
    config = training_config(directory, settings.conditioning_seconds, data.max_audio_seconds, data.max_text_tokens)
    seconds, tokens = limits(config)
    if data.max_audio_seconds > seconds:
        raise UserError(
            f"data.max_audio_seconds is {data.max_audio_seconds}; the base has positions for {seconds:.1f} s: lower it"
        )
    if data.max_text_tokens > tokens:
        raise UserError(
            f"data.max_text_tokens is {data.max_text_tokens}; the base has positions for {tokens}: lower it"
        )


def load_model(config: GPTTrainerConfig) -> StudyModel:
    """The model with its base's weights, on the CPU. Only for a base that passed `check`: nothing else sets weights."""
    with NoInit():
        model = StudyModel(config)
    model.xtts.tokenizer = Tokenizer(config.model_args.tokenizer_file)
    return model


def trained_weights(source: Path, gpt: Weights) -> Weights:
    """The base's weights with the trained GPT in place of its own, and the mel statistics that training used.

    Raises AssertionError when the GPT lacks a weight of the base's.
    """
    weights = _flat(_load(source / "model.pth"))
    # A checkpoint of the first XTTS has copies of the GPT for inference, which would be loaded over the trained one.
    theirs = {k for k in weights if k.startswith("gpt.") and not k.startswith("gpt.gpt_inference.")}
    ours = {f"gpt.{k}": v for k, v in gpt.items()}
    assert theirs <= ours.keys(), f"the trained GPT lacks {sorted(theirs - ours.keys())[:3]}"
    stats = torch.load(source / "mel_stats.pth", map_location="cpu", weights_only=True)
    return {**{k: v for k, v in weights.items() if not k.startswith("gpt.")}, **ours, "mel_stats": stats}


def read_weights(directory: Path) -> Weights:
    """All weights of the base in `directory` as `Xtts` names them, memory-mapped. Raises UserError."""
    return _flat(_load(directory / "model.pth"))


def gpt_weights(state: Weights) -> Weights:
    """The GPT's tensors of a base's state dict, without their prefix."""
    return {k.removeprefix("gpt."): v for k, v in _flat(state).items() if k.startswith("gpt.")}


def _flat(state: Weights) -> Weights:
    """Keys as `Xtts` names them, without what coqui's trainer adds (`Xtts.get_compatible_checkpoint_state_dict`)."""
    added = ("torch_mel_spectrogram_style_encoder", "torch_mel_spectrogram_dvae", "dvae")
    flat = {k.removeprefix("xtts."): v for k, v in state.items()}
    return {k: v for k, v in flat.items() if k.split(".")[0] not in added}


def _load(path: Path) -> Weights:
    """The state dict of a base's `model.pth`, memory-mapped. A fine-tuned checkpoint, or a bare state dict, is one.

    An original XTTS-v2 holds a pickled `XttsConfig`, which coqui's loader allows, and then overwrites the user's file
    without it (`Xtts._load_checkpoint`); this one leaves it alone.
    """
    try:
        return state_dict(_read(path))
    except WrongKind as error:
        raise _refused(path.parent, f"{path.name} {error}") from error


def _read(path: Path) -> Any:
    try:
        return read_weights_file(path)
    except WrongKind as error:
        raise _refused(path.parent, f"{path.name} {error}") from error


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


def _shapes(directory: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """The weights of Xtts, and those of the DVAE that make codes. None is set, so that no page of them is touched."""
    try:
        config = training_config(directory, (3.0, 6.0), 11.6, 200)
        with NoInit():
            model = Xtts(config)
            model.tokenizer = Tokenizer(directory / "vocab.json")
            model.init_models()
            dvae = new_dvae(config.model_args.gpt_num_audio_tokens - 2)
    except UserError:
        raise
    except Exception as error:  # a wrong value fails somewhere in coqui, transformers or torch
        why = "config.json has values that no XTTS model can be made with; take the one that came with model.pth"
        raise _refused(directory, why) from error
    return (
        {k: tuple(v.shape) for k, v in model.state_dict().items()},
        {k: tuple(v.shape) for k, v in dvae.state_dict().items() if k.startswith("encoder.") or k == "codebook.embed"},
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
