"""The search space: which values of each knob a study may try, read from TOML."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from space.hyperparameters import Hyperparameters

# A later milestone is sampled as a share of what the earlier one leaves of the run up to the last place allowed.
# The share keeps away from 0 and 1, and the first from the far end, so that any sampled milestones are distinct.
_SHARE = (0.1, 0.8)
_FIRST_REACH = 0.9

PRESETS = ("xtts-v2", "miniature")


class Trial(Protocol):
    """What `suggest` needs of an `optuna.Trial`."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int) -> int: ...
    def suggest_categorical(self, name: str, choices: list[Any]) -> Any: ...


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`, both included, uniform in the logarithm when `log`. `low == high` fixes a knob."""

    low: float
    high: float
    log: bool = False

    def clip(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def to_dict(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Baseline:
    """A recipe that a study tries first, and that a winner is compared with."""

    name: str
    hyperparameters: Hyperparameters


@dataclass(frozen=True)
class SearchSpace:
    """Ranges of the knobs and the baselines. Optuna's parameters and `Hyperparameters` map one to one.

    `max_milestones` of 0 keeps the learning rate flat; `clip_norm` None never clips; `clip_can_be_off` adds "off".
    """

    name: str
    lr: Range
    weight_decay: Range
    max_milestones: int
    milestones: Range
    gamma: Range | None
    clip_norm: Range | None
    clip_can_be_off: bool
    baselines: tuple[Baseline, ...]

    def suggest(self, trial: Trial) -> Hyperparameters:
        """Asks `trial` for every parameter that matters to this point, and for no other."""
        params: dict[str, Any] = {
            "lr": trial.suggest_float("lr", self.lr.low, self.lr.high, log=self.lr.log),
            "weight_decay": trial.suggest_float(
                "weight_decay", self.weight_decay.low, self.weight_decay.high, log=self.weight_decay.log
            ),
        }
        if self.max_milestones:
            params["n_milestones"] = trial.suggest_int("n_milestones", 0, self.max_milestones)
            for name in self._milestone_names(params["n_milestones"]):
                reach = self._milestone_range(name)
                params[name] = trial.suggest_float(name, reach.low, reach.high)
            if params["n_milestones"] and self.gamma:
                params["gamma"] = trial.suggest_float("gamma", self.gamma.low, self.gamma.high, log=self.gamma.log)
        if self.clip_norm:
            if self.clip_can_be_off:
                params["clip"] = trial.suggest_categorical("clip", [False, True])
            if params.get("clip", True):
                params["clip_norm"] = trial.suggest_float(
                    "clip_norm", self.clip_norm.low, self.clip_norm.high, log=self.clip_norm.log
                )
        return self.from_params(params)

    def from_params(self, params: Mapping[str, Any]) -> Hyperparameters:
        """The point that a trial's parameters mean."""
        fractions: list[float] = []
        for name in self._milestone_names(int(params.get("n_milestones", 0))):
            # The first is the fraction itself; a later one a share of what is left.
            left = self.milestones.high - fractions[-1] if fractions else 0.0
            fractions.append(fractions[-1] + params[name] * left if fractions else params[name])
        return Hyperparameters(
            lr=params["lr"],
            weight_decay=params["weight_decay"],
            milestones=tuple(fractions),
            gamma=params.get("gamma"),
            clip_norm=params.get("clip_norm"),
        )

    def to_params(self, point: Hyperparameters) -> tuple[dict[str, Any], list[str]]:
        """The inverse of `from_params`, for a point from elsewhere: (parameters, what had to be clipped to fit)."""
        clipped: list[str] = []

        def fit(name: str, value: float, allowed: Range) -> float:
            fitted = allowed.clip(value)
            if abs(fitted - value) > 1e-12 * abs(value):
                clipped.append(f"{name} {value:.3g} -> {fitted:.3g}")
            return fitted

        params: dict[str, Any] = {
            "lr": fit("lr", point.lr, self.lr),
            "weight_decay": fit("weight_decay", point.weight_decay, self.weight_decay),
        }
        if self.max_milestones:
            kept = point.milestones[: self.max_milestones]
            params["n_milestones"] = len(kept)
            previous = 0.0
            for name, fraction in zip(self._milestone_names(len(kept)), kept, strict=True):
                allowed = self._milestone_range(name)
                left = self.milestones.high - previous if previous else 1.0
                params[name] = fit(name, (fraction - previous) / left, allowed)
                previous = previous + params[name] * left
            if kept and self.gamma and point.gamma is not None:
                params["gamma"] = fit("gamma", point.gamma, self.gamma)
        if len(point.milestones) > self.max_milestones:
            clipped.append(f"milestones {len(point.milestones)} -> {self.max_milestones}")
        if self.clip_norm is None:
            if point.clip_norm is not None:
                clipped.append(f"clip_norm {point.clip_norm:.3g} -> off")
            return params, clipped
        if self.clip_can_be_off:
            params["clip"] = point.clip_norm is not None
        elif point.clip_norm is None:
            clipped.append(f"clip_norm off -> {self.clip_norm.high:.3g}")
        if params.get("clip", True):
            params["clip_norm"] = fit("clip_norm", point.clip_norm or self.clip_norm.high, self.clip_norm)
        return params, clipped

    def at_edge(self, params: Mapping[str, Any]) -> list[str]:
        """Parameters within 2 % of an end of their range: the best value may lie outside."""
        found = []
        for name, allowed in self._ranges().items():
            if name not in params or allowed.low == allowed.high:
                continue
            scale = math.log if allowed.log else float
            place = (scale(params[name]) - scale(allowed.low)) / (scale(allowed.high) - scale(allowed.low))
            if not 0.02 <= place <= 0.98:
                found.append(f"{name} {params[name]:.3g} lies at the edge of {allowed.low:.3g} to {allowed.high:.3g}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """What makes two spaces the same, in plain JSON types (the name and the baselines do not)."""
        return {
            "lr": self.lr.to_dict(),
            "weight_decay": self.weight_decay.to_dict(),
            "max_milestones": self.max_milestones,
            "milestones": self.milestones.to_dict(),
            "gamma": self.gamma and self.gamma.to_dict(),
            "clip_norm": self.clip_norm and self.clip_norm.to_dict(),
            "clip_can_be_off": self.clip_can_be_off,
        }

    def _ranges(self) -> dict[str, Range]:
        ranges = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.gamma:
            ranges["gamma"] = self.gamma
        if self.clip_norm:
            ranges["clip_norm"] = self.clip_norm
        return ranges

    @staticmethod
    def _milestone_names(count: int) -> list[str]:
        return ["milestone_1", *(f"milestone_{i}_of_rest" for i in range(2, count + 1))][:count]

    def _milestone_range(self, name: str) -> Range:
        if name != "milestone_1":
            return Range(*_SHARE)
        return Range(
            self.milestones.low, self.milestones.low + _FIRST_REACH * (self.milestones.high - self.milestones.low)
        )


def load_preset(name: str) -> SearchSpace:
    """One of `PRESETS`."""
    if name not in PRESETS:
        raise ValueError(f"space.preset is {name!r}; allowed are {', '.join(PRESETS)}, or name a file with space.file")
    return parse(resources.files("space").joinpath(f"presets/{name}.toml").read_text(encoding="utf-8"), f"{name}.toml")


def load_file(path: Path) -> SearchSpace:
    """The space of a TOML file, laid out like the presets."""
    return parse(path.read_text(encoding="utf-8"), str(path))


def parse(text: str, source: str) -> SearchSpace:
    """A `SearchSpace` from TOML text. Raises ValueError that names `source`, the key, the value and what is allowed."""
    try:
        table = tomllib.loads(text)
        return _Reader(table).space()
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from error


class _Reader:
    """Takes the known keys out of a table; what is left over is unknown."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table

    def space(self) -> SearchSpace:
        version = self.table.pop("version", None)
        if version != 1:
            raise ValueError(f"version is {version!r}; this release reads version 1")
        name = str(self.table.pop("name", "unnamed"))
        lr = self.range("lr", above=0.0)
        weight_decay = self.range("weight_decay", above=-1e-300)
        milestones = self.section("milestones", ("max", "low", "high"), {"max": 0, "low": 0.1, "high": 0.9})
        count = milestones["max"]
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 9:
            raise ValueError(f"milestones.max is {count!r}; it must be a whole number from 0 to 9")
        places = (milestones["low"], milestones["high"])
        if not all(isinstance(place, float) for place in places) or not 0 < places[0] < places[1] < 1:
            raise ValueError(
                f"milestones.low and high are {places[0]!r} and {places[1]!r}; they must be fractions of"
                " the run with 0 < low < high < 1"
            )
        gamma = self.range("gamma", above=0.0, below=1.0) if "gamma" in self.table else None
        if count and gamma is None:
            raise ValueError(
                "gamma is missing; milestones change nothing without it: add [gamma] or set milestones.max = 0"
            )
        if gamma and not count:
            raise ValueError("gamma is given, but milestones.max is 0, so it cannot act: drop one of the two")
        clip_norm, can_be_off = None, False
        if "clip_norm" in self.table:
            if isinstance(self.table["clip_norm"], dict):
                can_be_off = self.table["clip_norm"].pop("off", True)
            if not isinstance(can_be_off, bool):
                raise ValueError(f"clip_norm.off is {can_be_off!r}; it must be true or false")
            clip_norm = self.range("clip_norm", above=0.0)
        entries = self.table.pop("baselines", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"baselines are {entries!r}; give each as a table [[baselines]]")
        baselines = tuple(self.baseline(entry) for entry in entries)
        if self.table:
            raise ValueError(
                f"unknown key {next(iter(self.table))!r}; allowed are version, name, lr, weight_decay, milestones,"
                " gamma, clip_norm, baselines"
            )
        return SearchSpace(
            name,
            lr,
            weight_decay,
            count,
            Range(*places),
            gamma,
            clip_norm,
            can_be_off,
            baselines,
        )

    def section(self, name: str, allowed: tuple[str, ...], defaults: dict[str, Any]) -> dict[str, Any]:
        given = self.table.pop(name, {})
        if not isinstance(given, dict):
            raise ValueError(f"{name} is {given!r}; it must be a table with {', '.join(allowed)}")
        for key in given:
            if key not in allowed:
                raise ValueError(f"unknown key {name}.{key}; allowed are {', '.join(allowed)}")
        return {**defaults, **given}

    def range(self, name: str, above: float, below: float = float("inf")) -> Range:
        if name not in self.table:
            raise ValueError(f"{name} is missing; give [{name}] with low and high, or value")
        found = self.section(name, ("low", "high", "log", "value"), {"log": False})
        if "value" in found:
            if "low" in found or "high" in found:
                raise ValueError(f"{name} has a value and a range; give value, or low and high")
            found["low"] = found["high"] = found["value"]
            found["log"] = False
        for key in ("low", "high"):
            value = found.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < below:
                shown = "0 or above" if above < 0 else f"above {above:g}"
                limit = f" and below {below:g}" if below != float("inf") else ""
                raise ValueError(f"{name}.{key} is {value!r}; it must be a number {shown}{limit}")
        if found["low"] > found["high"]:
            raise ValueError(f"{name}.low is {found['low']}, above {name}.high {found['high']}")
        if found["log"] and found["low"] <= 0:
            raise ValueError(f"{name}.low is {found['low']}; a logarithmic range starts above 0")
        return Range(float(found["low"]), float(found["high"]), bool(found["log"]))

    @staticmethod
    def baseline(entry: dict[str, Any]) -> Baseline:
        values = dict(entry)
        if "name" not in values:
            raise ValueError(f"baseline {entry} has no name")
        try:
            return Baseline(str(values.pop("name")), Hyperparameters.from_dict(values))
        except TypeError as error:
            raise ValueError(
                f"baseline {entry}: allowed are name, lr, weight_decay, milestones, gamma and clip_norm; lr and"
                " weight_decay are needed"
            ) from error
        except ValueError as error:
            raise ValueError(f"baseline {entry}: {error}") from error
