"""What an answer is made of: a config in words and values, what it is compared with, the next commands."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.errors import UserError
from search.pages.material import Material
from search.settings.bucket import parse_s3
from search.settings.settings import safe_url
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
    """By how much the config's loss lies below another's, and how sure that is."""

    other: str
    by: str
    sure: str


@dataclass(frozen=True)
class Answer:
    """What a page says first. `level` sets its colour: proven, warning or error."""

    level: str
    headline: str
    sure: str
    told: list[str] = field(default_factory=list)
    config: Config | None = None
    of: str = ""  # whom `compared` compares, with the loss
    compared: list[Compared] = field(default_factory=list)
    next: list[tuple[str, str]] = field(default_factory=list)  # (command, what for); a command may be empty


def by(gain: float) -> str:
    return f"{abs(gain):.4f} {'below' if gain > 0 else 'above'}"


def described(material: Material, name: str, point: Hyperparameters) -> Config:
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
        layers = "layer" if point.frozen_layers == 1 else f"{point.frozen_layers} layers"
        parts.append(f"the first {layers} not trained")
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


def command(name: str, options: str) -> str:
    return " ".join(part for part in ("python study.py", name, options) if part)


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
        parse_s3(place)
    except UserError:
        return "***"
    return place
