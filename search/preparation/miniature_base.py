"""Writes the miniature base model: the file layout of an XTTS-v2 base, a GPT of 1/260 of its parameters.

`miniature_weights.npz` holds what `benchmarks.miniature_weights` learnt: the GPT in int8 with a scale per row, the
codebook of the DVAE and the mel statistics. Everything else is deterministic noise. Integers times float32 scales and a
float32 generator without transcendental functions give the same bits on every machine.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig
from TTS.tts.layers.xtts.dvae import DiscreteVAE
from TTS.tts.models.xtts import Xtts

from search.training.base import new_dvae

WEIGHTS = Path(__file__).with_name("miniature_weights.npz")
CODES = 256  # audio codes; XTTS-v2 has 1,024

# Rows of a noise matrix are windows of one pool, this many numbers apart, so that torch.save, which keeps shared
# storage shared, writes a few MB where the stock DVAE and HiFi-GAN, whose sizes are fixed in coqui's code, take 300.
_ROW_STRIDE = 17


def noise(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Uniform noise of He's variance 2 / fan-in as a strided view: float32, `shape` of at least two dimensions."""
    fan_in = math.prod(shape[1:])
    pool = np.random.default_rng(seed).random(_ROW_STRIDE * (shape[0] - 1) + fan_in, dtype=np.float32)
    pool = (pool * np.float32(2) - np.float32(1)) * np.float32(math.sqrt(6 / fan_in))
    inner = [math.prod(shape[i + 1 :]) for i in range(1, len(shape))]
    return torch.from_numpy(pool).as_strided(shape, (_ROW_STRIDE, *inner))


def noise_state(model: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """A state dict for `model`: noise for matrices, zero biases, unit scales. Buffers keep what the class gives them.

    Buffers (windows, filter banks) are rounded to bf16's precision: cosines may differ in the last bit elsewhere.
    """
    parameters = {name for name, _ in model.named_parameters()}
    state = {}
    for i, (name, value) in enumerate(model.state_dict().items()):
        shape = tuple(value.shape)
        if name not in parameters:
            state[name] = value.to(torch.bfloat16).to(value.dtype) if value.is_floating_point() else value
        elif math.prod(shape[1:]) > 1:
            state[name] = noise(shape, seed * 1000 + i)
        elif name.endswith("bias"):
            state[name] = torch.zeros(1).expand(shape)
        else:
            state[name] = torch.ones(1).expand(shape)
    return state


def dvae() -> DiscreteVAE:
    """The DVAE as `GPTTrainer` builds it, for `CODES` codes, with the encoder's noise and no codebook yet."""
    model = new_dvae(CODES)
    model.load_state_dict(noise_state(model, seed=1), strict=False)
    return model.eval()


def config() -> XttsConfig:
    """The miniature's `config.json`: XTTS-v2's keys, smaller numbers."""
    args = XttsArgs(
        gpt_layers=2,
        gpt_n_model_channels=128,
        gpt_n_heads=4,
        gpt_max_audio_tokens=300,
        gpt_max_text_tokens=204,
        gpt_num_audio_tokens=CODES + 2,
        gpt_start_audio_token=CODES,
        gpt_stop_audio_token=CODES + 1,
        gpt_use_perceiver_resampler=True,
        decoder_input_dim=128,
    )
    return XttsConfig(model_args=args, audio=XttsAudioConfig(), languages=["en"])


def dequantise(values: np.ndarray, scale: np.ndarray) -> torch.Tensor:
    """float32 weights of `values`' shape."""
    rows = values.reshape(len(values), -1).astype(np.float32) * scale
    return torch.from_numpy(rows.reshape(values.shape))


def write_base(directory: Path) -> None:
    """config.json, model.pth, dvae.pth, mel_stats.pth and vocab.json into the empty folder `directory`."""
    learnt = np.load(WEIGHTS)
    (directory / "vocab.json").write_bytes(learnt["vocab"].tobytes())
    torch.save(torch.from_numpy(learnt["mel_stats"]), directory / "mel_stats.pth")

    dvae_state = noise_state(dvae(), seed=1)
    dvae_state["codebook.embed"] = dequantise(learnt["codebook"], learnt["codebook|scale"]).T.contiguous()
    dvae_state["codebook.embed_avg"] = dvae_state["codebook.embed"]  # the class draws one; it matters to training only
    torch.save(dvae_state, directory / "dvae.pth")

    settings = config()
    state = noise_state(Xtts(settings), seed=2)
    state["mel_stats"] = torch.from_numpy(learnt["mel_stats"])
    for key in learnt.files:
        if key.startswith("gpt.") and not key.endswith("|scale"):
            scale = f"{key}|scale"
            state[key] = dequantise(learnt[key], learnt[scale]) if scale in learnt else torch.from_numpy(learnt[key])
    torch.save({"model": state}, directory / "model.pth")
    (directory / "config.json").write_text(json.dumps(settings.to_dict(), indent=2), encoding="utf-8")
