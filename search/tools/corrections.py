"""What the logs of coqui's trainer mean: its numbers corrected, and sentences on what else in them misleads.

Each sentence rests on the log or on the run's config.json, and is left out where they do not show it. The upstream
lines behind the corrections are in docs/parity.md.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from search.ties import ranked
from search.tools.run_log import Epoch, TrainerLog

TEXT_WEIGHT = 0.01  # GPTArgs.gpt_loss_text_ce_weight
AGREEMENT = 0.98  # share of a log's losses that one accumulation has to explain
DIGITS = 5e-3  # relative error of a ratio: half of the last of five printed decimals, of a loss above 0.001
GIVE = "give it by --accumulation (grad_accum_steps of the training script)."

Config = Mapping[str, Any]


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


def accumulation(log: TrainerLog, given: int | None) -> tuple[int | None, str]:
    """What the logged training loss was divided by, None where nothing tells; and how that is known.

    It is `given`, or what the log's components tell: loss = (text + mel) / accumulation.
    """
    ratios = log.accumulations
    steps = max(1, round(median(ratios))) if ratios else None
    agreeing = sum(math.isclose(ratio, steps or 0, rel_tol=DIGITS) for ratio in ratios)
    is_sure = steps is not None and agreeing >= AGREEMENT * len(ratios)
    if given is not None:
        against = f"; the log's own components say {steps}" if is_sure and steps != given else ""
        return given, f"Accumulation {given}, as given by --accumulation{against}."
    if is_sure:
        of = f"{agreeing} of {len(ratios)} logged losses"
        return steps, f"Accumulation {steps}: loss_text_ce + loss_mel_ce is {steps} times loss in {of}."
    why = "no training step has loss_text_ce and loss_mel_ce beside its loss"
    if ratios:
        range_ = f"{min(ratios):.3g} to {max(ratios):.3g}"
        why = f"(text + mel) / loss is not the same whole number throughout the log ({range_})"
    return None, f"The accumulation is unknown: {why}; {GIVE}"


def text_weight(config: Config) -> float:
    """What the trainer multiplied the text loss by before it logged it."""
    value = config.get("model_args", {}).get("gpt_loss_text_ce_weight", TEXT_WEIGHT)
    return float(value) if isinstance(value, int | float) and 0 < value < 1e9 else TEXT_WEIGHT


def corrected(epoch: Epoch, steps: int | None, weight: float) -> EpochLosses:
    def text_ce(values: Mapping[str, float]) -> float | None:
        return values["loss_text_ce"] / weight if "loss_text_ce" in values else None

    def gap(train: float | None) -> float | None:
        return held_out / train if held_out is not None and train else None

    logged, held_out = epoch.train.get("loss"), epoch.eval.get("loss")
    train = None if logged is None or steps is None else logged * steps
    return EpochLosses(
        epoch=epoch.index,
        micro_steps=epoch.micro_steps,
        train_logged=logged,
        train=train,
        train_text_ce=text_ce(epoch.train),
        train_mel_ce=epoch.train.get("loss_mel_ce"),
        eval=held_out,
        eval_text_ce=text_ce(epoch.eval),
        eval_mel_ce=epoch.eval.get("loss_mel_ce"),
        gap_logged=gap(logged),
        gap=gap(train),
        best_model=epoch.best,
    )


def sentences(log: TrainerLog, losses: Sequence[EpochLosses], steps: int | None, config: Config) -> Iterator[str]:
    """What the numbers mean and what they do not, the gap first. `steps` is the accumulation."""
    yield from _gap(losses, steps)
    yield from _text(losses, config)
    if any(e.train_logged is not None and e.eval is not None for e in losses):
        yield (
            "A training loss is not an eval loss: training has dropout, random conditioning slices and the prompt mask,"
            " evaluation has none of them. Compare eval with eval, or measure the checkpoints: their gap is eval over"
            " training clips, both in eval mode."
        )
    if any(e.eval is not None for e in losses):
        # `KeepAverage` takes its first value with weight 0.
        yield "The eval average leaves out the first batch of each evaluation, where there is more than one."
    yield from _schedule(log, config)
    if "grad_clip" in config and config["grad_clip"] in (0, None):
        yield f"The trainer clipped no gradient: grad_clip is {config['grad_clip']} in config.json."
    yield from _course([e for e in losses if e.eval is not None and math.isfinite(e.eval)])


def _gap(losses: Sequence[EpochLosses], steps: int | None) -> Iterator[str]:
    """On the last epoch's gap: the one that people quote."""
    last = next((e for e in reversed(losses) if e.gap is not None and math.isfinite(e.gap)), None)
    if last is None or last.gap_logged is None:
        return
    logged = f"eval {nats(last.eval)} / train {nats(last.train_logged)} = {times(last.gap_logged)}"
    if steps == 1:
        yield f"The training loss is logged undivided: the gap of epoch {last.epoch} is as logged, {logged}."
    else:
        yield (
            f"The gap of epoch {last.epoch} as logged, {logged}, is an artefact of the accumulation: coqui's trainer"
            f" divides the training loss by its {steps} accumulation steps before it logs it, and does not divide"
            f" the eval loss. Undivided, the training loss is {nats(last.train)}, and the gap {last.gap:.2f}x."
        )


def _text(losses: Sequence[EpochLosses], config: Config) -> Iterator[str]:
    weight, tokens = text_weight(config), config.get("model_args", {}).get("gpt_number_text_tokens")
    values = [e.train_text_ce if e.eval_text_ce is None else e.eval_text_ce for e in losses]
    last = next((value for value in reversed(values) if value is not None), None)
    if last is None or weight == 1:
        return
    known = isinstance(tokens, int) and tokens > 1
    chance = f"; guessing among {tokens} tokens is {math.log(int(tokens or 1)):.2f}" if known else ""
    yield f"The text loss is logged times {weight:g}: {nats(last * weight)} is {last:.2f} nats per text token{chance}."


def _schedule(log: TrainerLog, config: Config) -> Iterator[str]:
    """Whether the milestones acted: by the logged rates, and where there are none by the epochs."""
    milestones = config.get("lr_scheduler_params", {}).get("milestones")
    known = isinstance(milestones, list) and milestones and all(isinstance(m, int) for m in milestones)
    if config.get("lr_scheduler") != "MultiStepLR" or not known:
        return
    beyond = config.get("scheduler_after_epoch") is True and min(milestones) >= log.trained_epochs
    why = (
        f" They count epochs (scheduler_after_epoch is true): the first is {min(milestones):,}, and the log shows"
        f" {log.trained_epochs} epochs."
    )
    rates = log.rates
    if rates and all(math.isclose(rate, rates[0]) for rate in rates):
        logged = f"the rate was {rates[0]:g} in each of {len(rates)} logged steps"
        yield f"No milestone was ever reached: {logged}.{why if beyond else ''}"
    elif beyond and not rates:
        yield f"No milestone was ever reached.{why}"


def _course(rows: Sequence[EpochLosses]) -> Iterator[str]:
    """The lowest eval, and where it first rose twice in a row."""
    if not rows:
        return
    if rows[0].micro_steps is None and len(rows) > 1:
        yield f"The eval of epoch {rows[0].epoch}, {nats(rows[0].eval)}, was made before any training in this log."
    lowest = lowest_eval(rows)
    yield f"The lowest logged eval is that of epoch {lowest.epoch}, {nats(lowest.eval)}."
    evals = [e.eval or 0.0 for e in rows]
    rise = next((i for i in range(2, len(rows)) if evals[i] > evals[i - 1] > evals[i - 2]), None)
    if rise:
        yield f"The eval first rose twice in a row at epoch {rows[rise].epoch}."


def lowest_eval(rows: Sequence[EpochLosses]) -> EpochLosses:
    """The epoch with the lowest logged eval, the first of ties. `rows` is not empty, and has finite evals."""
    return ranked(rows, lambda e: math.nan if e.eval is None else e.eval)[0]


def nats(value: float | None) -> str:
    """Three or four digits; nothing for None."""
    return "" if value is None else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"


def times(value: float | None) -> str:
    """A gap; nothing for None."""
    return "" if value is None else f"{value:.{2 if value < 10 else 1}f}x"
