"""The values that a knob may take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`, both included, uniform in the logarithm when `log`. `low == high` fixes a knob."""

    low: float
    high: float
    log: bool = False

    def clip(self, value: float) -> float:
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class WholeRange:
    """Whole numbers from `low` to `high`, both included. `low == high` fixes a knob."""

    low: int
    high: int

    def clip(self, value: int) -> int:
        return min(max(value, self.low), self.high)
