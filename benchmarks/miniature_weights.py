"""Makes the miniature base's weights: a codebook by k-means, a GPT trained on generated English.

`make miniature-weights`: ten to twenty minutes on a CPU. The result is committed: training elsewhere gives other bits.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import BpeTrainer
from TTS.tts.layers.tortoise.arch_utils import TorchMelSpectrogram
from TTS.tts.layers.xtts.gpt import GPT
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.models.xtts import Xtts

from search.preparation import miniature_base as base
from search.preparation.miniature_texts import ENGLISH, sentences

_LOWEST, _LONGEST = 11_025, 22_050  # samples of conditioning audio, as in the miniature's settings


def vocabulary() -> str:
    """A tokenizer like XTTS-v2's: BPE over white-space-split words, [START] and the language among the last ids."""
    tokenizer = Tokenizer(BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    trainer = BpeTrainer(
        vocab_size=96,
        special_tokens=["[STOP]", "[UNK]", "[SPACE]"],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz.,?!'-"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(ENGLISH, 1000, seed=5), trainer)
    tokenizer.add_special_tokens(["[START]", "[en]"])
    return tokenizer.to_str(pretty=True)


def read(directory: Path, table: str) -> list[tuple[str, torch.Tensor]]:
    """(text, waveform of shape (samples,)) of each clip."""
    lines = (directory / table).read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split("|") for line in lines]
    return [(text, torch.from_numpy(soundfile.read(directory / name, dtype="float32")[0])) for name, text, _ in rows]


def quantise(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8 of `weight`'s shape, float32 scale a row) with the largest value of each row at 127."""
    rows = weight.reshape(len(weight), -1)
    scale = (np.abs(rows).max(axis=1, keepdims=True) / 127 + 1e-12).astype(np.float32)
    return np.round(rows / scale).astype(np.int8).reshape(weight.shape), scale


def kmeans(points: torch.Tensor, count: int, rounds: int = 40) -> torch.Tensor:
    """`count` centres (count, dim) of `points` (n, dim); empty clusters restart at random points."""
    generator = torch.Generator().manual_seed(3)
    centres = points[torch.randperm(len(points), generator=generator)[:count]].clone()
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        for c in range(count):
            members = points[nearest == c]
            pick = torch.randint(len(points), (1,), generator=generator)
            centres[c] = members.mean(0) if len(members) else points[pick][0]
    return centres


def train(
    gpt: GPT, clips: list[dict], held_out: list[dict], style: TorchMelSpectrogram, steps: int, batch: int
) -> None:
    """Plain AdamW with a cosine, on the stock forward pass; prints the held-out mel cross-entropy on the way."""
    rng = np.random.default_rng(1)
    optimiser = torch.optim.AdamW(gpt.parameters(), lr=1.5e-3, betas=(0.9, 0.96), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, steps, pct_start=0.1)
    start = time.time()
    for step in range(steps):
        chosen = [clips[i] for i in rng.integers(len(clips), size=batch)]
        text_loss, mel_loss = losses(gpt, chosen, style, rng)
        (0.1 * text_loss + mel_loss).backward()
        torch.nn.utils.clip_grad_norm_(gpt.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        if (step + 1) % 200 == 0:
            gpt.eval()
            with torch.no_grad():
                text_ce, mel_ce = losses(gpt, held_out, style, np.random.default_rng(2))
            gpt.train()
            others = f"held out mel {mel_ce:.3f} text {text_ce:.3f}"
            print(f"step {step + 1}  train {mel_loss:.3f}  {others}  {time.time() - start:.0f} s", flush=True)


def losses(
    gpt: GPT, clips: list[dict], style: TorchMelSpectrogram, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(text, mel) cross-entropy of a batch by the stock GPT, conditioned on a random slice of each clip."""
    text = torch.zeros(len(clips), max(len(c["tokens"]) for c in clips), dtype=torch.long)
    codes = torch.zeros(len(clips), max(len(c["codes"]) for c in clips), dtype=torch.long)
    slices = torch.zeros(len(clips), _LONGEST)
    for i, clip in enumerate(clips):
        text[i, : len(clip["tokens"])] = clip["tokens"]
        codes[i, : len(clip["codes"])] = clip["codes"]
        length = min(int(rng.integers(_LOWEST, _LONGEST + 1)), len(clip["wav"]) // 2)
        first = int(rng.integers(0, len(clip["wav"]) - length + 1))
        slices[i, :length] = clip["wav"][first : first + length]
    lengths = torch.tensor([len(c["tokens"]) for c in clips])
    samples = torch.tensor([len(c["wav"]) for c in clips])
    text_loss, mel_loss, _ = gpt(text, lengths, codes, samples, cond_mels=style(slices).unsqueeze(1))
    return text_loss, mel_loss


def main(output: Path, steps: int, batch: int) -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, "-m", "search.preparation.miniature_speech", "english", str(folder)], check=True
        )
        parts = {part: read(folder, f"{part}.csv") for part in ("train", "eval")}
        (folder / "vocab.json").write_text(vocabulary(), encoding="utf-8")
        tokenizer = VoiceBpeTokenizer(folder / "vocab.json")
        plain = TorchMelSpectrogram(mel_norm_file=None)
        stats = torch.cat([plain(wav[None])[0] for _, wav in parts["train"]], dim=1).abs().mean(dim=1)
        torch.save(stats, folder / "mel_stats.pth")
        mel = TorchMelSpectrogram(mel_norm_file=str(folder / "mel_stats.pth"))
        style = TorchMelSpectrogram(filter_length=2048, mel_norm_file=str(folder / "mel_stats.pth"))

        encoder = base.dvae().encoder
        with torch.no_grad():
            encoded = {p: [encoder(mel(wav[None]))[0].T for _, wav in parts[p]] for p in parts}
        codebook, scale = quantise(kmeans(torch.cat(encoded["train"]), base.CODES).numpy())
        centres = base.dequantise(codebook, scale)
        clips: dict[str, list[dict]] = {part: [] for part in parts}
        for part, made in clips.items():
            for (text, wav), points in zip(parts[part], encoded[part], strict=True):
                tokens, codes = torch.tensor(tokenizer.encode(text, "en")), torch.cdist(points, centres).argmin(1)
                made.append({"tokens": tokens, "wav": wav, "codes": codes})
        counts = torch.cat([c["codes"] for c in clips["eval"]]).bincount(minlength=base.CODES) + 1e-9
        share = counts / counts.sum()
        print(f"entropy of the held-out codes {-(share * share.log()).sum():.2f} of {np.log(base.CODES):.2f} nats")

        settings = base.config()
        settings.model_args.gpt_number_text_tokens = tokenizer.get_number_tokens()
        settings.model_args.gpt_start_text_token = tokenizer.tokenizer.token_to_id("[START]")
        settings.model_args.gpt_stop_text_token = 0
        model = Xtts(settings)
        model.init_models()
        gpt = model.gpt
        gpt.train()
        train(gpt, clips["train"], clips["eval"], style, steps, batch)
        learnt = {
            "vocab": np.frombuffer((folder / "vocab.json").read_bytes(), dtype=np.uint8),
            "mel_stats": stats.numpy(),
            "codebook": codebook,
            "codebook|scale": scale,
        }
        for key, value in gpt.state_dict().items():
            array = value.numpy()
            if array.ndim >= 2:
                learnt[f"gpt.{key}"], learnt[f"gpt.{key}|scale"] = quantise(array)
            else:
                learnt[f"gpt.{key}"] = array
        np.savez_compressed(output, allow_pickle=False, **learnt)


if __name__ == "__main__":
    main(base.WEIGHTS, steps=1600, batch=12)
