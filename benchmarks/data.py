"""What a step spends on data, with coqui's dataset and with the cache: `python -m benchmarks.data [DATA LANG]`.

CPU seconds of one process for the same draws of the same clips: decoding, resampling, tokens, conditioning mels, and
the DVAE's codes. DATA is a folder with train.csv and eval.csv; without it the miniature's. Prints Markdown; the last
table compares an evaluation of the base on cached batches with one on stock's: of one clip, which are exact, and of
several, whose padding changes the last codes of the shorter clips.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from TTS.tts.layers.xtts.trainer.dataset import XTTSDataset
from TTS.tts.layers.xtts.trainer.gpt_trainer import GPTTrainer

from search.preparation.cache import make_cache_directory
from search.preparation.prepare import prepare
from search.settings.settings import load
from search.training import base, corpus
from search.training.batches import PreparedDataset, training_batches
from search.training.evaluation import Evaluator, Sets, evaluation_sets

BATCHES = 30
BATCH_SIZE = 4


def cpu_seconds(work: Callable[[], object], times: int) -> float:
    """Of this process, all threads, for one call."""
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times


def main() -> None:
    overrides: dict[str, Any] = {}
    if len(sys.argv) == 3:
        folder, language = sys.argv[1:]
        overrides = {"data.path": str(Path(folder).absolute()), "data.eval": "eval.csv", "data.language": language}
    settings = load(None, overrides)
    prepared = prepare(settings, make_cache_directory(), lambda text: print(text, file=sys.stderr))
    config = base.config_from_dict(prepared.coqui_config)
    model = base.load_model(config)
    model.eval()
    clips = corpus.load(Path(prepared.directory) / "corpus")
    tokenizer, rate = model.xtts.tokenizer, config.audio.sample_rate

    def rows(part: list[corpus.Clip]) -> list[dict[str, str]]:
        return [{"audio_file": c.audio_file, "text": c.text, "language": c.language} for c in part]

    theirs = XTTSDataset(config, rows(clips.train), tokenizer, rate)
    ours = PreparedDataset(config, clips.train, clips, tokenizer, is_eval=False)

    def stock_batch() -> dict[str, Any]:
        batch: dict[str, Any] = theirs.collate_fn([theirs[0] for _ in range(BATCH_SIZE)])
        return batch

    source = training_batches(ours, BATCH_SIZE)
    stages: dict[str, tuple[float, float]] = {}
    with torch.no_grad():
        for name, stock, mine in (
            ("reading a batch (decode, resample, tokens)", stock_batch, lambda: next(source)),
            (
                "the same and what the model makes of it (mels, codes)",
                lambda: GPTTrainer.format_batch_on_device(model, stock_batch()),
                lambda: model.format_batch_on_device(next(source)),
            ),
        ):
            pair = []
            for work in (stock, mine):
                work()  # the first call fills libraries' caches
                random.seed(1)
                pair.append(cpu_seconds(work, BATCHES))
            stages[name] = pair[0], pair[1]
        seconds = sum(c.samples for c in clips.train) / len(clips.train) / rate
        print(f"{BATCHES} batches of {BATCH_SIZE} clips of {seconds:.1f} s on average; CPU milliseconds a batch:\n")
        print("| | stock | here | ratio |\n|---|---|---|---|")
        for name, (stock_seconds, our_seconds) in stages.items():
            ratio = stock_seconds / our_seconds
            print(f"| {name} | {1e3 * stock_seconds:.1f} | {1e3 * our_seconds:.2f} | {ratio:.0f} |")

        size = settings.training.eval_batch_size
        cached = Evaluator(model, evaluation_sets(model, clips, 1, prepared.seed, size))(0, 0.0).mel_ce
        held_out = XTTSDataset(config, rows(clips.eval), tokenizer, rate, is_eval=True)
        items = [held_out[i] for i in range(len(held_out))]

        def uncached(size: int) -> float:
            """The same evaluation with every batch made as stock makes it."""
            groups = [items[i : i + size] for i in range(0, len(items), size)]
            made = [GPTTrainer.format_batch_on_device(model, held_out.collate_fn(group)) for group in groups]
            return Evaluator(model, Sets(made, made[:1]))(0, 0.0).mel_ce

        print("\n| evaluation of the base | nats per audio token | relative difference |\n|---|---|---|")
        print(f"| cached | {cached:.6f} | |")
        for count in (1, size):
            value = uncached(count)
            print(f"| stock's batches of {count}, uncached | {value:.6f} | {abs(value / cached - 1):.1e} |")


if __name__ == "__main__":
    main()
