"""The search space: which values of each knob a study may try. `space.reader` reads one from TOML."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from space.hyperparameters import Hyperparameters
from space.ranges import Range, WholeRange

# A later milestone is sampled as a share of what the earlier one leaves of the run up to the last place allowed.
# The share keeps away from 0 and 1, and the first from the far end, so that any sampled milestones are distinct.
_SHARE = (0.1, 0.8)
_FIRST_REACH = 0.9


class Trial(Protocol):
    """What `suggest` needs of an `optuna.Trial`."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int) -> int: ...
    def suggest_categorical(self, name: str, choices: list[Any]) -> Any: ...


@dataclass(frozen=True)
class Baseline:
    """A recipe that a study tries first, and that a winner is compared with."""

    name: str
    hyperparameters: Hyperparameters


@dataclass(frozen=True)
class SearchSpace:
    """Ranges of the knobs and the baselines. Optuna's parameters and `Hyperparameters` map one to one.

    `max_milestones` of 0 keeps the learning rate flat; `clip_norm` None never clips; `clip_can_be_off` adds "off".
    `new_rows_lr_factor` and `frozen_layers` None are not searched: factor 1, and no layer.
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
    new_rows_lr_factor: Range | None = None
    frozen_layers: WholeRange | None = None

    def suggest(self, trial: Trial) -> Hyperparameters:
        """Asks `trial` for every parameter that matters to this point, and for no other."""
        params: dict[str, Any] = {}

        def ask(name: str, allowed: Range) -> None:
            params[name] = trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)

        ask("lr", self.lr)
        ask("weight_decay", self.weight_decay)
        if self.max_milestones:
            params["n_milestones"] = trial.suggest_int("n_milestones", 0, self.max_milestones)
            for name in self._milestone_names(params["n_milestones"]):
                ask(name, self._milestone_range(name))
            if params["n_milestones"] and self.gamma:
                ask("gamma", self.gamma)
        if self.clip_norm:
            if self.clip_can_be_off:
                params["clip"] = trial.suggest_categorical("clip", [False, True])
            if params.get("clip", True):
                ask("clip_norm", self.clip_norm)
        if self.new_rows_lr_factor:
            ask("new_rows_lr_factor", self.new_rows_lr_factor)
        if layers := self.frozen_layers:
            params["frozen_layers"] = trial.suggest_int("frozen_layers", layers.low, layers.high)
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
            new_rows_lr_factor=params.get("new_rows_lr_factor", 1.0),
            frozen_layers=int(params.get("frozen_layers", 0)),
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
        params |= self._clip_params(point, fit, clipped)
        if self.new_rows_lr_factor:
            params["new_rows_lr_factor"] = fit("new_rows_lr_factor", point.new_rows_lr_factor, self.new_rows_lr_factor)
        elif point.new_rows_lr_factor != 1:
            clipped.append(f"new_rows_lr_factor {point.new_rows_lr_factor:.3g} -> 1")
        layers = self.frozen_layers.clip(point.frozen_layers) if self.frozen_layers else 0
        if self.frozen_layers:
            params["frozen_layers"] = layers
        if layers != point.frozen_layers:
            clipped.append(f"frozen_layers {point.frozen_layers} -> {layers}")
        return params, clipped

    def _clip_params(
        self, point: Hyperparameters, fit: Callable[[str, float, Range], float], clipped: list[str]
    ) -> dict[str, Any]:
        """The parameters of the clip; what does not fit goes into `clipped`."""
        if self.clip_norm is None:
            if point.clip_norm is not None:
                clipped.append(f"clip_norm {point.clip_norm:.3g} -> off")
            return {}
        params: dict[str, Any] = {}
        if self.clip_can_be_off:
            params["clip"] = point.clip_norm is not None
        elif point.clip_norm is None:
            clipped.append(f"clip_norm off -> {self.clip_norm.high:.3g}")
        if params.get("clip", True):
            params["clip_norm"] = fit("clip_norm", point.clip_norm or self.clip_norm.high, self.clip_norm)
        return params

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
        if (layers := self.frozen_layers) and layers.low < layers.high and "frozen_layers" in params:
            count = params["frozen_layers"]
            if count == layers.high or 0 < count == layers.low:  # fewer than no layer cannot be tried
                found.append(f"frozen_layers {count} lies at the edge of {layers.low} to {layers.high}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """What makes two spaces the same, in plain JSON types (the name and the baselines do not)."""
        values = {name: value for name, value in asdict(self).items() if name not in ("name", "baselines")}
        # Spaces that were written before these knobs existed stay the same.
        later = ("new_rows_lr_factor", "frozen_layers")
        return {name: value for name, value in values.items() if name not in later or value}

    def _ranges(self) -> dict[str, Range]:
        names = ("lr", "weight_decay", "new_rows_lr_factor", "gamma", "clip_norm")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    @staticmethod
    def _milestone_names(count: int) -> list[str]:
        return ["milestone_1", *(f"milestone_{i}_of_rest" for i in range(2, count + 1))][:count]

    def _milestone_range(self, name: str) -> Range:
        if name != "milestone_1":
            return Range(*_SHARE)
        return Range(
            self.milestones.low, self.milestones.low + _FIRST_REACH * (self.milestones.high - self.milestones.low)
        )
