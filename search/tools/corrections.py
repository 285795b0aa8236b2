"""What the logs of coqui's trainer mean: its numbers put right, and in sentences what else in them is not so.

Each sentence rests on the log or on the run's config.json, and is left out where they do not show it. The upstream
lines behind the corrections are in docs/parity.md.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from search.tools.run_log import Epoch, Log

TEXT_WEIGHT = 0.01  # GPTArgs.gpt_loss_text_ce_weight
AGREEMENT = 0.98  # share of a log's losses that one accumulation has to explain

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Accumulation:
    """By what the logged training loss was divided; `steps` is None where nothing tells."""

    steps: int | None
    reason: str


@dataclass(frozen=True)
class EpochLosses:
    """One epoch. `train` and `eval` are `loss`: mel CE plus the weighted text CE. Nats; None: not in the log."""

    epoch: int | None
    micro_steps: int | None  # of the whole run at its last printed step; None: evaluated without training
    train_logged: float | None
    train: float | None  # undivided
    train_text_ce: float | None  # per text token, unweighted
    train_mel_ce: float | None
    eval: float | None  # as logged: it is not divided
    eval_text_ce: float | None
    eval_mel_ce: float | None
    gap_logged: float | None  # eval / train_logged
    gap: float | None  # eval / train
    best_model: str | None  # the file that was written after it


def accumulation(log: Log, given: int | None) -> Accumulation:
    """`given`, or the accumulation that the log's components tell: loss = (text + mel) / accumulation."""
    found = _inferred(log)
    if given is not None:
        against = f"; the log's own components say {found.steps}" if found.steps not in (None, given) else ""
        return Accumulation(given, f"accumulation {given}, as given by --accumulation{against}")
    return found


def _inferred(log: Log) -> Accumulation:
    if not log.accumulations:
        return Accumulation(
            None,
            "The accumulation cannot be told: no training step has loss_text_ce and loss_mel_ce beside its loss; give"
            " it by --accumulation (grad_accum_steps of the training script).",
        )
    votes = Counter(
        steps
        for low, high in log.accumulations
        if high - low < 100
        for steps in range(max(1, math.ceil(low)), math.floor(high) + 1)
    )
    middle = median(low for low, _ in log.accumulations)
    steps = max(votes, key=lambda n: (votes[n], -abs(n - middle)), default=None)
    if steps is None or votes[steps] < AGREEMENT * len(log.accumulations):
        least, most = min(low for low, _ in log.accumulations), max(low for low, _ in log.accumulations)
        return Accumulation(
            None,
            f"The accumulation cannot be told: (text + mel) / loss is no one whole number over the log ({least:.3g} to"
            f" {most:.3g}); give it by --accumulation (grad_accum_steps of the training script).",
        )
    of = f"{votes[steps]} of {len(log.accumulations)} logged losses"
    return Accumulation(steps, f"Accumulation {steps}: loss_text_ce + loss_mel_ce is {steps} times loss in {of}.")


def text_weight(config: Config | None) -> float:
    """By which the trainer multiplied the text loss before it logged it."""
    value = _arguments(config).get("gpt_loss_text_ce_weight", TEXT_WEIGHT)
    return float(value) if isinstance(value, int | float) and value > 0 else TEXT_WEIGHT


def corrected(log: Log, steps: int | None, weight: float) -> list[EpochLosses]:
    return [_corrected(epoch, steps, weight) for epoch in log.epochs]


def _corrected(epoch: Epoch, steps: int | None, weight: float) -> EpochLosses:
    def unweighted(values: Mapping[str, float]) -> float | None:
        return None if "loss_text_ce" not in values else values["loss_text_ce"] / weight

    logged, held_out = epoch.train.get("loss"), epoch.eval.get("loss")
    train = None if logged is None or steps is None else logged * steps
    return EpochLosses(
        epoch=epoch.index,
        micro_steps=epoch.micro_steps,
        train_logged=logged,
        train=train,
        train_text_ce=unweighted(epoch.train),
        train_mel_ce=epoch.train.get("loss_mel_ce"),
        eval=held_out,
        eval_text_ce=unweighted(epoch.eval),
        eval_mel_ce=epoch.eval.get("loss_mel_ce"),
        gap_logged=_ratio(held_out, logged),
        gap=_ratio(held_out, train),
        best_model=epoch.best,
    )


def _ratio(held_out: float | None, train: float | None) -> float | None:
    return held_out / train if held_out is not None and train else None


def sentences(
    log: Log, losses: Sequence[EpochLosses], found: Accumulation, config: Config | None, weight: float
) -> list[str]:
    """What the numbers mean and what they do not, the gap first."""
    lines = [found.reason, *_gap(losses, found), *_text(losses, config, weight)]
    if any(e.train_logged is not None and e.eval is not None for e in losses):
        lines.append(
            "A training loss is no eval loss: training has dropout, random conditioning slices and the prompt mask,"
            " evaluation has none of them. Compare eval with eval, or measure the checkpoints: their gap is eval over"
            " training clips, both in eval mode."
        )
    return (
        lines + _partial(log) + _averages(log, config) + _schedule(log, config) + _clip(log, config) + _course(losses)
    )


def _gap(losses: Sequence[EpochLosses], found: Accumulation) -> list[str]:
    """The last epoch's: the one that people quote."""
    last = next((e for e in reversed(losses) if e.gap is not None and math.isfinite(e.gap)), None)
    if last is None or last.gap is None or last.gap_logged is None:
        return []
    times = f"{last.gap_logged:.{2 if last.gap_logged < 10 else 1}f}x"
    logged = f"eval {_n(last.eval)} / train {_n(last.train_logged)} = {times}"
    if found.steps == 1:
        return [f"The training loss is logged undivided: the gap of epoch {last.epoch} is as logged, {logged}."]
    return [
        f"The gap of epoch {last.epoch} as logged, {logged}, is an artefact of the accumulation: coqui's trainer"
        f" divides the training loss by its {found.steps} accumulation steps before it logs it, and the eval loss by"
        f" nothing. Undivided the training loss is {_n(last.train)}, and the gap {last.gap:.2f}x."
    ]


def _text(losses: Sequence[EpochLosses], config: Config | None, weight: float) -> list[str]:
    last = next((e for e in reversed(losses) if (e.eval_text_ce or e.train_text_ce) is not None), None)
    if last is None or weight == 1:
        return []
    nats = last.eval_text_ce if last.eval_text_ce is not None else last.train_text_ce
    assert nats is not None
    tokens = _arguments(config).get("gpt_number_text_tokens")
    blind = (
        f"; guessing among {tokens} tokens is {math.log(tokens):.2f}" if isinstance(tokens, int) and tokens > 1 else ""
    )
    return [f"The text loss is logged times {weight:g}: {_n(nats * weight)} is {nats:.2f} nats per text token{blind}."]


def _partial(log: Log) -> list[str]:
    early = [e for e in log.epochs if e.printed and e.printed[1] > 0 and e.printed[0] < 0.8 * e.printed[1]]
    lines = []
    if early and early[-1].printed:
        number, count = early[-1].printed
        lines.append(
            f"In {len(early)} of {len(log.epochs)} epochs no step near the end was printed (in epoch"
            f" {early[-1].index} the last is {number} of {count}): their training loss is the average up to there."
        )
    broken = [e.index for e in log.epochs if any(math.isnan(v) for v in e.train.values())]
    if broken:
        lines.append(
            f"The training average of epoch {broken[0]} is NaN: one loss was NaN, and the running average keeps it."
        )
    return lines


def _averages(log: Log, config: Config | None) -> list[str]:
    """`KeepAverage` takes its first value with weight 0; one value alone stays."""
    if not any(e.eval for e in log.epochs):
        return []
    size = (config or {}).get("eval_batch_size")
    batches = math.ceil(log.eval_samples / size) if log.eval_samples and isinstance(size, int) and size > 0 else None
    lines = []
    if batches is None:
        lines.append("The eval average leaves out the first batch of each evaluation, where there is more than one.")
    elif batches > 1:
        lines.append(
            f"The eval average leaves out the first of its {batches} batches, {size} of {log.eval_samples} clips."
        )
    pooled = [e for e in log.epochs if e.evaluations > 1]
    if pooled:
        lines.append(
            f"Epoch {pooled[0].index} was evaluated {pooled[0].evaluations} times, and its eval is the average of all:"
            " of different weights."
        )
    return lines


def _schedule(log: Log, config: Config | None) -> list[str]:
    """Whether the milestones acted: by the logged rates, and where there are none by the epochs."""
    if config is None or config.get("lr_scheduler") != "MultiStepLR":
        return []
    params = config.get("lr_scheduler_params")
    milestones = params.get("milestones") if isinstance(params, dict) else None
    if not isinstance(milestones, list) or not milestones or not all(isinstance(m, int) for m in milestones):
        return []
    by_epoch = config.get("scheduler_after_epoch") is True
    beyond = by_epoch and min(milestones) >= log.trained_epochs
    why = (
        f" They count epochs (scheduler_after_epoch is true): the first is {min(milestones):,}, and the log shows"
        f" {log.trained_epochs} epochs."
        if beyond
        else ""
    )
    changes = [(a, b) for a, b in zip(log.rates, log.rates[1:], strict=False) if not math.isclose(a[1], b[1])]
    if log.rates and not changes:
        return [
            f"No milestone was ever reached: the rate was {log.rates[0][1]:g} in each of {len(log.rates)} logged"
            f" steps.{why}"
        ]
    if changes:
        (before, rate), (after, new) = changes[0]
        return [f"The rate first changed between micro-steps {before} and {after}, from {rate:g} to {new:g}."]
    return [f"No milestone was ever reached.{why}"] if beyond else []


def _clip(log: Log, config: Config | None) -> list[str]:
    if config is None or "grad_clip" not in config or config["grad_clip"] not in (0, None):
        return []
    norms = " The grad_norm of 0 in the log is no measurement." if log.grad_norms and not any(log.grad_norms) else ""
    return [f"No gradient was clipped by the trainer: grad_clip is {config['grad_clip']} in config.json.{norms}"]


def _course(losses: Sequence[EpochLosses]) -> list[str]:
    """The lowest eval, and where it first rose twice in a row."""
    rows = [(e.epoch, e.eval, e.micro_steps) for e in losses if e.eval is not None and math.isfinite(e.eval)]
    if not rows:
        return []
    lines = []
    if rows[0][2] is None and len(rows) > 1:
        lines.append(f"The eval of epoch {rows[0][0]}, {_n(rows[0][1])}, was made before any training in this log.")
    epoch, value, _ = min(rows, key=lambda row: row[1])
    lines.append(f"The lowest logged eval is that of epoch {epoch}, {_n(value)}.")
    rise = next((c for a, b, c in zip(rows, rows[1:], rows[2:], strict=False) if c[1] > b[1] > a[1]), None)
    if rise:
        lines.append(f"The eval first rose twice in a row at epoch {rise[0]}.")
    return lines


def _arguments(config: Config | None) -> Mapping[str, Any]:
    found = (config or {}).get("model_args")
    return found if isinstance(found, dict) else {}


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"
