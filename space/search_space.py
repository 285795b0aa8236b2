"""The search space: which values of each knob a study may try. `space.reader` reads one from TOML."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from space.hyperparameters import Count, Fraction, Hyperparameters, Positive

if TYPE_CHECKING:
    from optuna import Trial

Number = TypeVar("Number", int, float)


class Part(BaseModel):
    """A part of a space: frozen, finite, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(Part, Generic[Number]):
    """Values from `low` to `high`, both included; uniform in the logarithm when `log`.

    `value = x` fixes a knob: it stands for low = high = x.
    """

    low: Number
    high: Number
    log: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fixed(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "value" not in given:
            return given
        if "low" in given or "high" in given:
            raise ValueError("give value, or low and high")
        rest = {name: entry for name, entry in given.items() if name != "value"}
        return {**rest, "low": given["value"], "high": given["value"]}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low is {self.low}, above high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}; a logarithmic range starts above 0")
        return self

    def clip(self, value: Number) -> Number:
        return min(max(value, self.low), self.high)


class ClipRange(Range[Number], Generic[Number]):
    """`off` adds "no clip" to the values."""

    off: bool = True


# A later milestone is sampled as a share of what the earlier one leaves of the run up to the last place allowed.
# The share keeps away from 0 and 1, and the first from the far end, so that any sampled milestones are distinct.
_SHARE = Range[float](low=0.1, high=0.8)
_FIRST_REACH = 0.9


class Baseline(Part):
    """A recipe that a study tries first, and that a winner is compared with: `name`, and the knobs beside it."""

    name: str
    hyperparameters: Hyperparameters

    @model_validator(mode="before")
    @classmethod
    def _beside(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "hyperparameters" in given:
            return given
        knobs = dict(given)
        name = {"name": knobs.pop("name")} if "name" in given else {}
        return {**name, "hyperparameters": knobs}


class Milestones(Part):
    """Where the learning rate may drop: at most `max` times, at fractions of the run's optimizer steps."""

    max: int = Field(default=0, ge=0, le=9)
    low: Fraction = 0.1
    high: Fraction = 0.9

    @model_validator(mode="after")
    def _ordered(self) -> "Milestones":
        if self.low >= self.high:
            raise ValueError(f"low is {self.low}, not below high {self.high}")
        return self


class SearchSpace(Part):
    """Ranges of the knobs and the baselines, as in a file. Optuna's parameters and `Hyperparameters` map one to one.

    `clip_norm` None never clips. `new_rows_lr_factor` and `frozen_layers` None are not searched: factor 1, no layer.
    """

    version: Literal[1]
    name: str = "unnamed"
    lr: Range[Positive]
    weight_decay: Range[Annotated[float, Field(ge=0)]]
    milestones: Milestones = Milestones()
    gamma: Range[Fraction] | None = None
    clip_norm: ClipRange[Positive] | None = None
    new_rows_lr_factor: Range[Positive] | None = None
    frozen_layers: Range[Count] | None = None
    baselines: tuple[Baseline, ...] = ()

    @model_validator(mode="after")
    def _act(self) -> "SearchSpace":
        if bool(self.milestones.max) != (self.gamma is not None):
            raise ValueError(
                f"milestones.max is {self.milestones.max}, and [gamma] is {'given' if self.gamma else 'missing'}:"
                " neither acts without the other; give both or none"
            )
        return self

    def suggest(self, trial: "Trial") -> Hyperparameters:
        """Asks `trial` for every parameter that matters to this point, and for no other."""
        params: dict[str, Any] = {}

        def ask(name: str, allowed: Range[float]) -> None:
            params[name] = trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)

        ask("lr", self.lr)
        ask("weight_decay", self.weight_decay)
        if self.milestones.max:
            params["n_milestones"] = trial.suggest_int("n_milestones", 0, self.milestones.max)
            for name in self._milestone_names(params["n_milestones"]):
                ask(name, self._milestone_range(name))
            if params["n_milestones"] and self.gamma:
                ask("gamma", self.gamma)
        if self.clip_norm:
            if self.clip_norm.off:
                params["clip"] = trial.suggest_categorical("clip", [False, True])
            if params.get("clip", True):
                ask("clip_norm", self.clip_norm)
        if self.new_rows_lr_factor:
            ask("new_rows_lr_factor", self.new_rows_lr_factor)
        if layers := self.frozen_layers:
            params["frozen_layers"] = trial.suggest_int("frozen_layers", layers.low, layers.high, log=layers.log)
        return self.from_params(params)

    def from_params(self, params: Mapping[str, Any]) -> Hyperparameters:
        """The point that a trial's parameters mean."""
        fractions: list[float] = []
        for name in self._milestone_names(int(params.get("n_milestones", 0))):
            # The first is the fraction itself; a later one a share of what is left.
            left = self.milestones.high - fractions[-1] if fractions else 0.0
            fractions.append(fractions[-1] + params[name] * left if fractions else params[name])
        names = ("lr", "weight_decay", "gamma", "clip_norm", "new_rows_lr_factor", "frozen_layers")
        knobs = {name: params[name] for name in names if name in params}
        return Hyperparameters(milestones=tuple(fractions), **knobs)

    def to_params(self, point: Hyperparameters) -> tuple[dict[str, Any], list[str]]:
        """The inverse of `from_params`, for a point from elsewhere: (parameters, what had to be clipped to fit)."""
        params: dict[str, Any] = {}
        clipped: list[str] = []

        def fit(name: str, value: float, allowed: Range[Any]) -> None:
            params[name] = allowed.clip(value)
            if abs(params[name] - value) > 1e-12 * abs(value):
                clipped.append(f"{name} {value:.3g} -> {params[name]:.3g}")

        fit("lr", point.lr, self.lr)
        fit("weight_decay", point.weight_decay, self.weight_decay)
        if self.milestones.max:
            kept = point.milestones[: self.milestones.max]
            params["n_milestones"] = len(kept)
            previous, left = 0.0, 1.0
            for name, fraction in zip(self._milestone_names(len(kept)), kept, strict=True):
                fit(name, (fraction - previous) / left, self._milestone_range(name))
                previous += params[name] * left
                left = self.milestones.high - previous
            if kept and self.gamma and point.gamma is not None:
                fit("gamma", point.gamma, self.gamma)
        if len(point.milestones) > self.milestones.max:
            clipped.append(f"milestones {len(point.milestones)} -> {self.milestones.max}")
        clip, norm = self.clip_norm, point.clip_norm
        if clip and clip.off:
            params["clip"] = norm is not None
        if clip and params.get("clip", True):
            fit("clip_norm", norm or clip.high, clip)
        if norm is None and "clip_norm" in params:
            clipped.append(f"clip_norm off -> {params['clip_norm']:.3g}")
        elif norm is not None and not clip:
            clipped.append(f"clip_norm {norm:.3g} -> off")
        for name, off in (("new_rows_lr_factor", 1), ("frozen_layers", 0)):
            value = getattr(point, name)
            if allowed := getattr(self, name):
                fit(name, value, allowed)
            elif value != off:
                clipped.append(f"{name} {value:.3g} -> {off}")
        return params, clipped

    def at_edge(self, params: Mapping[str, Any]) -> list[str]:
        """Parameters within 2 % of an end of their range, or whole numbers at one: the best may lie outside."""
        found = []
        for name in ("lr", "weight_decay", "new_rows_lr_factor", "gamma", "clip_norm", "frozen_layers"):
            allowed, value = getattr(self, name), params.get(name)
            if allowed is None or value is None or allowed.low == allowed.high:
                continue
            scale = math.log if allowed.log else float
            place = (scale(value) - scale(allowed.low)) / (scale(allowed.high) - scale(allowed.low))
            # Fewer layers than none cannot be tried.
            if not 0.02 <= place <= 0.98 and not (name == "frozen_layers" and value == 0):
                found.append(f"{name} {value:.3g} lies at the edge of {allowed.low:.3g} to {allowed.high:.3g}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """What makes two spaces the same, in plain JSON types (the name and the baselines do not)."""
        return self.model_dump(exclude={"version", "name", "baselines"}, exclude_none=True)

    @staticmethod
    def _milestone_names(count: int) -> list[str]:
        return ["milestone_1", *(f"milestone_{i}_of_rest" for i in range(2, count + 1))][:count]

    def _milestone_range(self, name: str) -> Range[float]:
        low, high = self.milestones.low, self.milestones.high
        return Range(low=low, high=low + _FIRST_REACH * (high - low)) if name == "milestone_1" else _SHARE
