"""The law of search/check/memory.py beside what autograd really saves: `python -m benchmarks.memory`.

Real forward passes of coqui's GPT, in training mode and with its conditioning, on a CPU. Counted are the storages that
autograd's hooks see, each once, without the model's own parameters and buffers. Prints Markdown: that table, and what
the law gives for XTTS-v2 on a GPU with the longest clips and texts.
"""

import logging
import sys

import torch
from TTS.tts.layers.xtts.gpt import GPT

from search.check.memory import Batch, Model, activations, needed

MINIATURE = Model(2, 128, 4, 126, 258, 0)
FULL_WIDTH = Model(1, 1024, 16, 6681, 1026, 0)  # XTTS-v2's, with fewer layers: each is like the others
TWO_LAYERS = Model(2, 1024, 16, 6681, 1026, 0)
XTTS = Model(30, 1024, 16, 6681, 1026, 441_000_000)

CASES = (
    ("miniature", MINIATURE, Batch(2, 20, 30, 87), "fp32"),
    ("miniature", MINIATURE, Batch(4, 60, 120, 87), "fp32"),
    ("miniature", MINIATURE, Batch(4, 60, 120, 87), "bf16"),
    ("one layer", FULL_WIDTH, Batch(2, 60, 100, 517), "fp32"),
    ("one layer", FULL_WIDTH, Batch(2, 200, 250, 517), "fp32"),
    ("one layer", FULL_WIDTH, Batch(4, 60, 100, 517), "fp32"),
    ("two layers", TWO_LAYERS, Batch(2, 60, 100, 517), "fp32"),
    ("two layers", TWO_LAYERS, Batch(2, 200, 250, 259), "fp32"),
    ("one layer", FULL_WIDTH, Batch(2, 200, 250, 517), "bf16"),
    ("two layers", TWO_LAYERS, Batch(4, 60, 100, 517), "bf16"),
)


def measured(model: Model, batch: Batch, precision: str) -> int:
    """Bytes that autograd saves in one forward pass of a GPT with random weights."""
    torch.manual_seed(0)
    gpt = GPT(
        layers=model.layers, model_dim=model.width, heads=model.heads, max_text_tokens=402, max_mel_tokens=605,
        number_text_tokens=model.text_tokens, num_audio_tokens=model.audio_tokens, start_text_token=1,
        start_audio_token=model.audio_tokens - 2, stop_audio_token=model.audio_tokens - 1, use_perceiver_resampler=True,
    ).train()  # fmt: skip
    own = {tensor.untyped_storage().data_ptr() for tensor in (*gpt.parameters(), *gpt.buffers())}
    saved: dict[int, torch.UntypedStorage] = {}  # kept alive, or a freed one's place would be counted once for two

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return tensor

    clips, text, codes = batch.clips, batch.text_tokens, batch.codes
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        losses = gpt(
            torch.randint(2, model.text_tokens, (clips, text)), torch.full((clips,), text),
            torch.randint(0, model.audio_tokens - 2, (clips, codes)), torch.full((clips,), codes * 1024),
            cond_mels=torch.randn(clips, 1, 80, batch.frames),
            cond_idxs=torch.tensor([[0, batch.frames * 256]] * clips),
        )  # fmt: skip
    del losses
    return sum(storage.nbytes() for storage in saved.values())


def main() -> None:
    logging.disable(logging.WARNING)
    print("| model | clips | text tokens | codes | mel frames | precision | measured, MB | law, MB | difference |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, model, batch, precision in CASES:
        found, law = measured(model, batch, precision), activations(model, batch, precision, "cpu")
        print(
            f"| {name} | {batch.clips} | {batch.text_tokens} | {batch.codes} | {batch.frames} | {precision}"
            f" | {found / 1e6:.1f} | {law / 1e6:.1f} | {law / found - 1:+.1%} |"
        )
        sys.stdout.flush()
    print("\n| clips a batch | precision | state, GB | activations, GB | transient, GB | peak, GB |")
    print("|---|---|---|---|---|---|")
    for clips in (2, 4, 8, 16):
        for precision in ("fp32", "bf16"):
            sizes = needed(XTTS, Batch(clips, 200, 250, 517), precision, "cuda")
            parts = (sizes.state, sizes.activations, sizes.transient, sizes.peak)
            print(f"| {clips} | {precision} | " + " | ".join(f"{part / 1e9:.1f}" for part in parts) + " |")


if __name__ == "__main__":
    main()
