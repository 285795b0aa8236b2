"""The knobs that a study turns."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Hyperparameters:
    """One point of the search: what a run is trained with.

    `milestones` are fractions of the run's optimizer steps, so that the schedule means the same at any horizon.
    At each of them the learning rate is multiplied by `gamma`, which is None exactly when there are none.
    `clip_norm` bounds the gradient's L2 norm; None is off. `new_rows_lr_factor` multiplies the learning rate of the
    vocabulary rows that training starts from new. `frozen_layers` is how many of the GPT's first layers stay untrained.

    Raises ValueError, naming the field, the value and what is allowed, for a point at which a knob could not act.
    """

    lr: float
    weight_decay: float  # AdamW's, decoupled: a step shrinks a weight by lr * weight_decay
    milestones: tuple[float, ...] = ()
    gamma: float | None = None
    clip_norm: float | None = None
    new_rows_lr_factor: float = 1.0  # 1 trains the new rows like all others
    frozen_layers: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"lr is {self.lr!r}; it must be a finite number above 0")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay is {self.weight_decay!r}; it must be a finite number, 0 or above")
        previous = 0.0
        for milestone in self.milestones:
            if not previous < milestone < 1:
                raise ValueError(
                    f"milestones are {list(self.milestones)}; they must be fractions of the run, above 0, below 1 and"
                    " strictly increasing"
                )
            previous = milestone
        if self.milestones and (self.gamma is None or not 0 < self.gamma < 1):
            raise ValueError(
                f"gamma is {self.gamma!r}; with milestones it must lie between 0 and 1, both excluded, or they"
                " change nothing"
            )
        if not self.milestones and self.gamma is not None:
            raise ValueError(
                f"gamma is {self.gamma!r}, but there are no milestones at which it could act; leave it out"
            )
        if self.clip_norm is not None and not (math.isfinite(self.clip_norm) and self.clip_norm > 0):
            raise ValueError(
                f"clip_norm is {self.clip_norm!r}; it must be a finite number above 0, or left out for off"
            )
        if not (math.isfinite(self.new_rows_lr_factor) and self.new_rows_lr_factor > 0):
            raise ValueError(
                f"new_rows_lr_factor is {self.new_rows_lr_factor!r}; it must be a finite number above 0; 1 is off"
            )
        if isinstance(self.frozen_layers, bool) or not isinstance(self.frozen_layers, int) or self.frozen_layers < 0:
            raise ValueError(f"frozen_layers is {self.frozen_layers!r}; it must be a whole number, 0 or above")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` is the inverse, and takes what lacks the later knobs."""
        return {**asdict(self), "milestones": list(self.milestones)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Hyperparameters":
        return cls(**{**values, "milestones": tuple(values.get("milestones", ()))})

    def describe(self) -> str:
        """One line for people: `lr 5.00e-06  wd 0.01    x0.5 at 33% 67%  clip 1`; the last two knobs where they act."""
        schedule = (
            f"x{self.gamma:.2g} at " + " ".join(f"{m:.0%}" for m in self.milestones) if self.milestones else "flat"
        )
        clip = "off" if self.clip_norm is None else f"{self.clip_norm:.2g}"
        rows = f"  new rows x{self.new_rows_lr_factor:.2g}" if self.new_rows_lr_factor != 1 else ""
        frozen = f"  frozen {self.frozen_layers}" if self.frozen_layers else ""
        return f"lr {self.lr:.2e}  wd {self.weight_decay:<6.2g}  {schedule}  clip {clip}{rows}{frozen}"
