"""What the settings of precision and speed, and the knobs beyond coqui's, change on a CPU: figures of docs/training.md.

    python -m benchmarks.numerics

All runs are of the miniature, from one seed, on the same batches and with the same dropout masks. Times are compared
in one run, as ratios.
"""

import itertools
import statistics
import tempfile
from collections import deque
from dataclasses import replace
from typing import Any

import torch

from search.preparation.cache import cache_directory
from search.preparation.prepare import prepare
from search.settings.settings import load
from search.training.run import Setup, build
from search.trial import Prepared, TrialSpec
from space.hyperparameters import Hyperparameters

STEPS = 100
POINT = Hyperparameters(1e-3, 0.3, (0.5,), 0.5, 1.0)


def train(prepared: Prepared, point: Hyperparameters = POINT, **given: Any) -> tuple[Setup, list[float], float]:
    """(run, training loss of each step, evaluation after the last one)."""
    with tempfile.TemporaryDirectory() as folder:
        spec = TrialSpec(
            study="numerics",
            number=0,
            hyperparameters=point,
            seed=1,
            horizon=STEPS,
            evaluation_steps=[STEPS],
            batch_size=2,
            accumulation=1,
            eval_batch_size=20,
            prepared=prepared.directory,
            directory=folder,
            **{"precision": "fp32", **given},
        )
        run = build(spec)
        deque(run.trainer.steps(run.batches, STEPS), maxlen=0)
    return run, [step.loss for step in run.trainer.recorder.history], run.evaluator(STEPS, 0.0).mel_ce


def held(run: Setup) -> float:
    """Megabytes of optimizer state."""
    states = run.trainer.optimizer[0].state.values()
    tensors = itertools.chain.from_iterable(state.values() for state in states)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6


def main() -> None:
    torch.set_num_threads(1)
    prepared = prepare(load(None, {}), cache_directory(), lambda _: None)
    reference, expected, expected_evaluation = train(prepared)
    seconds = reference.trainer.recorder.train_seconds
    print(f"{STEPS} optimizer steps; relative to fp32 and torch's default AdamW")
    print(f"{'':<22}{'loss, median':>14}{'loss, most':>14}{'evaluation':>14}{'time':>8}{'state, MB':>11}")
    print(f"{'default':<22}{0:>14}{0:>14}{0:>14}{1:>8.2f}{held(reference):>11.1f}")
    knobs = {"1 frozen layer of 2": replace(POINT, frozen_layers=1)}
    if prepared.new_rows:
        knobs["new rows x0.5"] = replace(POINT, new_rows_lr_factor=0.5)
    settings: dict[str, dict[str, Any]] = {"fused_adamw": {"fused_adamw": True}, "bf16": {"precision": "bf16"}}
    runs = {**settings, **{name: {"point": point} for name, point in knobs.items()}}
    for name, given in runs.items():
        run, found, evaluation = train(prepared, **given)
        apart = [abs(a / b - 1) for a, b in zip(found, expected, strict=True)]
        print(
            f"{name:<22}{statistics.median(apart):>14.1e}{max(apart):>14.1e}"
            f"{abs(evaluation / expected_evaluation - 1):>14.1e}"
            f"{run.trainer.recorder.train_seconds / seconds:>8.2f}{held(run):>11.1f}"
        )


if __name__ == "__main__":
    main()
