"""How much memory a training step needs, computed. The law and how well it holds: docs/memory.md. No torch.

Activations are what autograd keeps from the forward pass for the backward pass. Each number below is a tensor that
some operation of coqui's GPT saves, counted in floats (4 bytes) per position and model channel, with the operation's
name. Measured on a CPU. Derived for a GPU, whose kernels for attention and dropout save other tensors.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["cpu", "cuda"]

FLOAT = 4  # bytes
LATENTS = 32  # positions of the voice (PerceiverResampler, num_latents)
CONTEXT = 600 * 10**6  # bytes that CUDA's context and its libraries take beside the allocator: 0.3 to 0.8 GB by driver
ENCODER_BLOCKS = 6  # of the ConditioningEncoder
PERCEIVER_DEPTH, PERCEIVER_HEADS, PERCEIVER_INNER = 2, 8, 512

# Floats per position and channel that a GPT-2 block saves (transformers' modeling_gpt2, activations.NewGELU).
#   fp32: inputs of ln_1, c_attn, c_proj, ln_2, c_fc: 5; queries, keys, values: 3; the MLP's NewGELU keeps its input,
#   the tanh, 0.5 x and 1 + tanh, and c_proj its input, each of 4 channels for one: 20; two dropout masks, which are
#   floats on a CPU and bytes on a GPU: 2 or 0.5.
#   bf16: inputs of the two norms stay fp32: 2; three matmul inputs halve: 1.5; the masks are bf16 on a CPU: 1; the MLP
#   halves on a CPU: 10. CUDA's autocast computes pow in fp32, and with it all but 0.5 x and the input of c_proj: 16.
#   Queries, keys and values are widened again by the CPU's attention: 3; on a GPU they stay bf16: 1.5.
_BLOCK = {("cpu", "fp32"): 30.0, ("cuda", "fp32"): 28.5, ("cpu", "bf16"): 17.5, ("cuda", "bf16"): 21.5}
# Floats per head and pair of positions: the CPU's attention keeps the softmax, the dropped one and the mask; those of a
# GPU (memory-efficient or flash) keep none of them.
_ATTENTION = {"cpu": 3.0, "cuda": 0.0}
# The same of a block of the ConditioningEncoder, whose attention is written out on any device.
_ENCODER = {"fp32": 8.0, "bf16": 4.5}
_ENCODER_ATTENTION = {"fp32": 1.0, "bf16": 1.5}
# The same around the blocks: dropout of the embeddings, two final norms, inputs of the two heads.
_AROUND = {("cpu", "fp32"): 4.0, ("cuda", "fp32"): 3.25, ("cpu", "bf16"): 3.5, ("cuda", "bf16"): 2.75}


@dataclass(frozen=True)
class Model:
    """The sizes of a GPT that memory depends on."""

    layers: int
    width: int  # channels
    heads: int
    text_tokens: int  # rows of the text embedding
    audio_tokens: int  # of the audio embedding, START and STOP included
    parameters: int  # of the GPT, which is trained


@dataclass(frozen=True)
class Batch:
    """The longest text beside the longest clip: the worst batch that can be drawn."""

    clips: int
    text_tokens: int
    codes: int  # of the longest clip
    frames: int  # mel frames of the longest conditioning slice

    @property
    def positions(self) -> int:
        """Voice, text with START and STOP, codes with START, three of padding and STOP (`GPT.forward`)."""
        return LATENTS + self.text_tokens + 2 + self.codes + 5


@dataclass(frozen=True)
class Memory:
    """Bytes that a training process needs, by what for."""

    kind: Kind
    precision: str
    batch: Batch
    weights: int
    gradients: int
    optimizer: int  # AdamW's two averages
    activations: int  # kept from forward to backward
    transient: int  # gradients and copies of the largest tensors, in the backward pass or in the optimizer step
    context: int  # of CUDA

    @property
    def state(self) -> int:
        return self.weights + self.gradients + self.optimizer

    @property
    def peak(self) -> int:
        """The larger of the end of the forward pass, and of the optimizer's step, when activations are gone."""
        return self.state + self.activations + self.transient + self.context


@dataclass(frozen=True)
class Probe:
    """Peak memory of two training steps on the largest possible batch, as measured by the device's allocator."""

    device: str  # its name
    total: int  # bytes that the device has
    batch_size: int  # of the settings
    peak: int | None  # bytes at that batch size; None: out of memory
    largest: int  # batch size that was measured to fit; 0: none does
    more: bool  # whether sizes above `largest` were not tried

    @property
    def fits(self) -> bool:
        return self.peak is not None


def activations(model: Model, batch: Batch, precision: str, kind: Kind) -> int:
    """Bytes that autograd keeps of one forward pass. TF32 keeps what fp32 does."""
    form = "bf16" if precision == "bf16" else "fp32"
    half = 0.5 if form == "bf16" else 1.0
    positions, width, frames = batch.positions, model.width, batch.frames
    floats = model.layers * (_BLOCK[kind, form] * width * positions + _ATTENTION[kind] * model.heads * positions**2)
    floats += _AROUND[kind, form] * width * positions
    if kind == "cuda":
        floats += 1.25 * positions**2  # the causal mask with the padding, as truths and as numbers; one for all blocks
        floats += model.layers * model.heads * positions  # log-sum-exp
    floats += model.text_tokens * (batch.text_tokens + 2) + model.audio_tokens * (batch.codes + 5)  # log-softmax
    floats += ENCODER_BLOCKS * (_ENCODER[form] * width * frames + _ENCODER_ATTENTION[form] * model.heads * frames**2)
    context = LATENTS + frames
    inner = int(width * 8 / 3)  # of the perceiver's GEGLU
    floats += (
        PERCEIVER_DEPTH
        * half
        * (
            context * (width + 2 * PERCEIVER_INNER + PERCEIVER_HEADS * LATENTS)
            + LATENTS * (2 * width + 2 * PERCEIVER_INNER + 4 * inner)
        )
    )
    return int(FLOAT * batch.clips * floats) + (2 * _matmul_weights(model) if form == "bf16" else 0)


def _matmul_weights(model: Model) -> int:
    """Parameters that autocast copies to bf16, and keeps for the backward pass."""
    width = model.width
    encoder = 80 * width + ENCODER_BLOCKS * 4 * width**2
    inner = int(width * 8 / 3)
    perceiver = PERCEIVER_DEPTH * (4 * width * PERCEIVER_INNER + 3 * inner * width)
    return model.layers * 12 * width**2 + (model.text_tokens + model.audio_tokens) * width + encoder + perceiver


def needed(model: Model, batch: Batch, precision: str, kind: Kind, fused: bool = False) -> Memory:
    """What a training process needs at its peak, weights in fp32.

    In the backward pass the gradients of the two logits and the logits themselves live beside the activations. In the
    optimizer's step torch's default AdamW on a GPU (foreach) holds one more copy of all trained weights, the `fused`
    one none. The larger of the two counts.
    """
    kept = activations(model, batch, precision, kind)
    logits = model.text_tokens * (batch.text_tokens + 2) + model.audio_tokens * (batch.codes + 5)
    backward = kept + 2 * FLOAT * batch.clips * logits
    step = FLOAT * model.parameters if kind == "cuda" and not fused else 0
    return Memory(
        kind=kind,
        precision=precision,
        batch=batch,
        weights=FLOAT * model.parameters,
        gradients=FLOAT * model.parameters,
        optimizer=2 * FLOAT * model.parameters,
        activations=kept,
        transient=max(backward, step) - kept,
        context=CONTEXT if kind == "cuda" else 0,
    )
