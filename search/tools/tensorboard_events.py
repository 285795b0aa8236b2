"""The scalars that coqui's trainer writes for TensorBoard, as a `TrainerLog`: for a run whose text log is gone."""

import logging
from pathlib import Path

from search.errors import UserError
from search.text import printable
from search.tools.run_log import COMPONENTS, Epoch, TrainerLog

# trainer/logging/base_dash_logger.py: the scopes of train_step_stats, train_epoch_stats and eval_stats
STEP, TRAIN, EVAL = "TrainIterStats/", "TrainEpochStats/avg_", "EvalStats/avg_"

Scalars = dict[str, dict[int, float]]  # tag -> micro-steps of the run -> value


def read_events(path: Path) -> TrainerLog:
    """The log of the event files in the folder `path`, or of the one file. Raises UserError where they hold none."""
    scalars = _scalars(path)
    log = TrainerLog(path.name, _epochs(scalars))
    if not log.epochs:
        raise UserError(f"{printable(str(path))}: its TensorBoard events hold no epoch of coqui's trainer")
    parts = [scalars.get(STEP + name, {}) for name in COMPONENTS]
    for step, loss in scalars.get(STEP + "loss", {}).items():
        if all(step in part for part in parts):
            log.add_step(repr(loss), [repr(part[step]) for part in parts])
    log.rates += scalars.get(STEP + "current_lr", {}).items()
    log.grad_norms += scalars.get(STEP + "grad_norm", {}).values()
    return log


def _scalars(path: Path) -> Scalars:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # a quarter of a second

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    only_scalars = {"scalars": 0, "images": 1, "audio": 1, "histograms": 1, "compressedHistograms": 1, "tensors": 1}
    try:
        events = EventAccumulator(str(path), size_guidance=only_scalars)
        events.Reload()
        tags = events.Tags()["scalars"]
        return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in tags}
    except Exception as error:  # damaged records raise many kinds
        raise UserError(f"{printable(str(path))}: its TensorBoard events cannot be read: {error}") from error


def _epochs(scalars: Scalars) -> list[Epoch]:
    """An epoch ends where its training averages were written; an evaluation before the first step is epoch 0 alone.

    Evaluations within an epoch are left out: the one at its end has the same average with its own batches added.
    """
    trained, evaluated = set(scalars.get(TRAIN + "loss", {})), set(scalars.get(EVAL + "loss", {}))
    ends = trained | (evaluated & {0}) or evaluated

    def values(scope: str, step: int) -> dict[str, float]:
        return {tag.removeprefix(scope): v[step] for tag, v in scalars.items() if tag.startswith(scope) and step in v}

    return [
        Epoch(index, step or None, train=values(TRAIN, step), eval=values(EVAL, step))
        for index, step in enumerate(sorted(ends))
    ]
