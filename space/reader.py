"""Search spaces in TOML: the presets, and a user's own files."""

import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from space.hyperparameters import Hyperparameters
from space.ranges import Range, WholeRange
from space.search_space import Baseline, SearchSpace

PRESETS = ("xtts-v2", "miniature")


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
        new_rows = self.range("new_rows_lr_factor", above=0.0) if "new_rows_lr_factor" in self.table else None
        frozen_layers = self.whole_range("frozen_layers") if "frozen_layers" in self.table else None
        entries = self.table.pop("baselines", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"baselines are {entries!r}; give each as a table [[baselines]]")
        baselines = tuple(self.baseline(entry) for entry in entries)
        if self.table:
            raise ValueError(
                f"unknown key {next(iter(self.table))!r}; allowed are version, name, lr, weight_decay, milestones,"
                " gamma, clip_norm, new_rows_lr_factor, frozen_layers, baselines"
            )
        return SearchSpace(
            name, lr, weight_decay, count, Range(*places), gamma, clip_norm, can_be_off, baselines, new_rows,
            frozen_layers,
        )  # fmt: skip

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
        shown = "0 or above" if above < 0 else f"above {above:g}"
        limit = f" and below {below:g}" if below != float("inf") else ""
        found = self.ends(
            name, ("low", "high", "log", "value"), f"a number {shown}{limit}",
            lambda value: isinstance(value, int | float) and above < value < below,
        )  # fmt: skip
        is_log = bool(found.get("log")) and "value" not in found
        if is_log and found["low"] <= 0:
            raise ValueError(f"{name}.low is {found['low']}; a logarithmic range starts above 0")
        return Range(float(found["low"]), float(found["high"]), is_log)

    def whole_range(self, name: str) -> WholeRange:
        found = self.ends(
            name, ("low", "high", "value"), "a whole number, 0 or above",
            lambda value: isinstance(value, int) and value >= 0,
        )  # fmt: skip
        return WholeRange(found["low"], found["high"])

    def ends(self, name: str, allowed: tuple[str, ...], what: str, fits: Callable[[Any], bool]) -> dict[str, Any]:
        """The section `name`; its `value` stands for `low` and `high`, which must be `what` `fits` accepts."""
        found = self.section(name, allowed, {})
        if "value" in found:
            if "low" in found or "high" in found:
                raise ValueError(f"{name} has a value and a range; give value, or low and high")
            found["low"] = found["high"] = found["value"]
        for key in ("low", "high"):
            value = found.get(key)
            if isinstance(value, bool) or not fits(value):
                raise ValueError(f"{name}.{key} is {value!r}; it must be {what}")
        if found["low"] > found["high"]:
            raise ValueError(f"{name}.low is {found['low']}, above {name}.high {found['high']}")
        return found

    @staticmethod
    def baseline(entry: dict[str, Any]) -> Baseline:
        values = dict(entry)
        if "name" not in values:
            raise ValueError(f"baseline {entry} has no name")
        try:
            return Baseline(str(values.pop("name")), Hyperparameters.from_dict(values))
        except TypeError as error:
            raise ValueError(
                f"baseline {entry}: allowed are name, lr, weight_decay, milestones, gamma, clip_norm,"
                " new_rows_lr_factor and frozen_layers; lr and weight_decay are needed"
            ) from error
        except ValueError as error:
            raise ValueError(f"baseline {entry}: {error}") from error
