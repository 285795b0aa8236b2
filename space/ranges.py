"""The values that a knob may take, as its section of a space gives them."""

from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

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
