"""What is said first: which config, how sure, by how much, and what to do next."""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.special import stdtr, stdtrit

from search import artifacts, export, report
from search.best_config import Confirmation, Difference
from search.command_line import shown
from search.confirmation.race import FALSE_WINS, Fit
from search.errors import UserError
from search.settings import safe_url
from search.study_report.material import Material, lowest
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps


@dataclass(frozen=True)
class Config:
    """A config to copy."""

    name: str
    words: str
    values: str  # JSON, with all digits


@dataclass(frozen=True)
class Compared:
    """By how much the config lies below another, in nats."""

    other: str
    by: str
    sure: str


@dataclass(frozen=True)
class Answer:
    """`level`: proven, warning or error, which colours it."""

    level: str
    headline: str
    sure: str
    told: list[str]
    config: Config | None
    compared: list[Compared]
    next: list[tuple[str, str]]  # (command, what for); a command may be empty


def answer(material: Material, options: str) -> Answer:
    """By the confirmation where it is over, else by the best trial so far."""
    if material.confirmation is not None and material.runs is not None:
        return _confirmed(material, material.confirmation, options)
    if material.best is None:
        return _nothing(material, options)
    return _searched(material, options)


def options_of(given: Mapping[str, Any]) -> str:
    """The common options as a shell takes them, for the commands of the page; passwords are ***."""
    words: list[str] = []
    for entry in given["set_"]:
        key, _, value = entry.partition("=")
        hide = {"study.storage": safe_url, "study.artifacts": safe_place}.get(key.strip())
        words += ["--set", f"{key}={hide(value)}" if hide else entry]
    for name in ("settings", "storage", "study"):
        if given[name] is not None:
            words += [f"--{name}", safe_url(str(given[name])) if name == "storage" else str(given[name])]
    return shlex.join(words)


def safe_place(place: str) -> str:
    """Of artifacts: a folder, or the URL of a bucket; *** for a URL of another form, which may hold a key."""
    if "://" not in place:
        return place
    try:
        artifacts.parse_s3(place)
    except UserError:
        return "***"
    return place


def _command(name: str, options: str) -> str:
    return " ".join(part for part in ("python study.py", name, options) if part)


def _nothing(material: Material, options: str) -> Answer:
    findings = material.findings
    told = [f"{findings.finished} trials have finished, none of them to its end; {material.running} are running."]
    if findings.finished == 1:
        told = [f"1 trial has finished, but not to its end; {material.running} are running."]
    return Answer(
        "warning",
        "There is no answer yet: no trial has completed.",
        "Nothing can be said about a config before one has.",
        told,
        None,
        [],
        [(_command("", options), "starts the search, or continues it")],
    )


def _searched(material: Material, options: str) -> Answer:
    """By one run with one seed, of a part of the full run's steps."""
    findings, best = material.findings, material.best
    assert best is not None and best.trial.value is not None
    gain = findings.base.mel_ce - best.trial.value
    told = report.verdict(findings, best, material.space)[1:]
    if material.runs is not None:
        told.append("A confirmation was started and is not over.")
    compared = [Compared("the untouched base", _by(gain), "one run, no interval")]
    stock = lowest(material.stock) if material.stock else None
    is_stock = material.stock is not None and material.stock.trial.number == best.trial.number
    if stock is not None and material.stock is not None and not is_stock:
        ended = "" if material.stock.trial.value is not None else f"; that was stopped ({material.stock.reason})"
        compared.append(
            Compared("the stock recipe (V0)", _by(stock - best.trial.value), f"one run each, no interval{ended}")
        )
    of = f"{findings.horizon:,} of the {material.full_horizon:,} optimizer steps of a full run"
    sure = f"Not proven: one seed, and {of}."
    confirm = (
        _command("confirm", options),
        "continues the confirmation" if material.runs else "proves it: full runs, several seeds",
    )
    if gain <= 0:
        return Answer(
            "error",
            "Do not fine-tune with any config of this study: none beats the untouched base model.",
            sure,
            told,
            None,
            compared,
            [
                ("", "Use the base as it is; or look into the data (study.py check), widen the space, or lengthen the"
                 " trials (training.epochs, training.truncation), and search anew under another --study."),
                (_command(f"--trials {findings.finished + 20}", options), "searches on with 20 trials more"),
            ],
        )  # fmt: skip
    name = f"trial {best.trial.number}" + (f" ({best.baseline})" if best.baseline else "")
    headline = f"The best config so far is {name}: {best.trial.value:.4f} nats per audio token."
    if is_stock:
        headline += " It is the stock recipe itself."
    return Answer("warning", headline, sure, told, _config(material, name, best.trial.params), compared, [confirm])


def _confirmed(material: Material, found: Confirmation, options: str) -> Answer:
    assert material.runs is not None
    fit = material.runs.race().fit
    chosen = export.recommended(found)
    point = Hyperparameters.from_dict(chosen.hyperparameters.model_dump())
    level = f"{100 * found.level:.0f} %"
    compared = []
    if found.over_stock and math.isfinite(found.over_stock.estimate):
        compared.append(
            Compared(
                f"the stock recipe ({material.settings.stock_recipe().name})",
                _by(found.over_stock.estimate),
                _sure(found.over_stock, level, _p(fit, found.over_stock)),
            )
        )
    if found.over_base:
        certain = _sure(found.over_base, level, None)
        compared.append(Compared("the untouched base", _by(found.over_base.estimate), certain))
    seeds = max((len(candidate.runs) for candidate in found.candidates), default=0)
    ran = f"{len(found.candidates)} configs, up to {seeds} seeds each, {material.full_horizon:,} optimizer steps"
    sure = f"By full runs: {ran}."
    told = [found.text]
    late = [] if material.best is None else [material.best.trial.number]
    if late and late[0] not in {candidate.trial for candidate in found.candidates}:
        told.append(f"Trial {late[0]}, now the best of the search, is not in the confirmation; run it again to add it.")
    if found.verdict == "do not fine-tune":
        told_next = [("", "Use the base as it is.")]
        headline = "Do not fine-tune: no config is proven better than the untouched base model."
        return Answer("error", headline, sure, told, None, compared, told_next)
    if found.verdict == "better than the stock recipe":
        level_name, headline = "proven", f"Use {found.winner}: it is better than the stock recipe."
    else:
        level_name = "warning"
        headline = f"Use the stock recipe ({found.exported}): no config is proven better than it."
    path = shown((material.settings.directory / "best_config.json").absolute())
    steps = [] if export.confirmation_at(material.settings.directory / "best_config.json", found.study.removesuffix(
        ".confirm")) else [(_command("export", options), f"writes {path}")]  # fmt: skip
    steps.append((f"python study.py train {shlex.quote(path)} --output full", "trains it in full"))
    return Answer(level_name, headline, sure, told, _described(material, found.exported, point), compared, steps)


def _p(fit: Fit, found: Difference) -> float | None:
    """Of the difference, one-sided and corrected as its interval is: at most 0.05 exactly where that excludes 0."""
    if found.low is None or fit.freedom <= 0:
        return None
    others = max(1, sum(map(math.isfinite, fit.means.values())) - 1)
    tests = others * 2 * FALSE_WINS / (1 - fit.level)
    reach = found.estimate - found.low
    if reach <= 0:
        return 0.0
    t = found.estimate / reach * float(stdtrit(fit.freedom, 1 - FALSE_WINS / tests))
    return min(1.0, float(stdtr(fit.freedom, -t)) * tests)


def _sure(found: Difference, level: str, p: float | None) -> str:
    if found.low is None or found.high is None:
        return "no interval: too few runs"
    said = f"{level} interval {found.low:.4f} to {found.high:.4f}"
    if p is None:
        return said
    return said + (", p below 0.0001" if p < 1e-4 else f", p {p:.2g}")


def _by(gain: float) -> str:
    return f"{abs(gain):.4f} {'below' if gain > 0 else 'above'}"


def _config(material: Material, name: str, params: Mapping[str, Any]) -> Config | None:
    """None where the space given cannot read the trial's parameters."""
    try:
        return _described(material, name, material.space.from_params(params))
    except (KeyError, ValueError):
        return None


def _described(material: Material, name: str, point: Hyperparameters) -> Config:
    horizon = material.full_horizon
    steps = to_steps(point.milestones, horizon)
    parts = [f"learning rate {point.lr:.3g}", f"weight decay {point.weight_decay:.3g}"]
    if steps:
        at = " and ".join(f"{m:.0%} (step {s})" for m, s in zip(point.milestones, steps, strict=True))
        parts.append(f"the rate times {point.gamma:.3g} after {at} of the full run's {horizon:,} optimizer steps")
    else:
        parts.append(f"a constant rate over the full run's {horizon:,} optimizer steps")
    clip = point.clip_norm
    parts.append("no gradient clip" if clip is None else f"gradients clipped at an L2 norm of {clip:.3g}")
    if point.new_rows_lr_factor != 1:
        parts.append(f"new vocabulary rows at {point.new_rows_lr_factor:.3g} times the rate")
    if point.frozen_layers:
        parts.append(f"the first {point.frozen_layers} layers not trained")
    words = "; ".join(parts) + "."
    training = material.settings.training
    values = {
        **point.to_dict(),
        "milestone_steps": list(steps),
        "horizon": horizon,
        "batch_size": training.batch_size,
        "accumulation": training.accumulation,
    }
    text = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    return Config(name, words[0].upper() + words[1:], f"{{\n{text}\n}}")
