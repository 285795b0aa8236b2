"""The knobs that a study turns."""

from dataclasses import asdict
from itertools import pairwise
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Hyperparameters:
    """One point of the search, independent of the length of a run. A knob that could not act is refused."""

    lr: Positive = Field(description="learning rate of AdamW before the first milestone")
    weight_decay: float = Field(
        ge=0, description="of AdamW, decoupled: each step shrinks a weight by lr * weight_decay"
    )
    milestones: tuple[Fraction, ...] = Field(
        default=(), description="fractions of the run's optimizer steps, strictly increasing"
    )
    gamma: Fraction | None = Field(
        default=None, description="factor on the learning rate at each milestone; null if there are no milestones"
    )
    clip_norm: Positive | None = Field(default=None, description="upper bound of the gradient's L2 norm; null: off")
    # What was written before these two existed lacks them.
    new_rows_lr_factor: Positive = Field(
        default=1.0, description="factor on the learning rate of new vocabulary rows; 1: off"
    )
    frozen_layers: Count = Field(default=0, description="number of first GPT layers that are not trained")

    @model_validator(mode="after")
    def _act(self) -> "Hyperparameters":
        if any(one >= other for one, other in pairwise(self.milestones)):
            raise ValueError(f"milestones are {list(self.milestones)}; they must be strictly increasing")
        if bool(self.milestones) != (self.gamma is not None):
            raise ValueError(
                f"gamma is {self.gamma}, and milestones are {list(self.milestones)}: neither acts without the other"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, which the constructor takes."""
        return {**asdict(self), "milestones": list(self.milestones)}

    def describe(self) -> str:
        """One line for people: `lr 5.00e-06  wd 0.01    x0.5 at 33% 67%  clip 1`; the last two knobs where they act."""
        schedule = (
            f"x{self.gamma:.2g} at " + " ".join(f"{m:.0%}" for m in self.milestones) if self.milestones else "flat"
        )
        clip = "off" if self.clip_norm is None else f"{self.clip_norm:.2g}"
        rows = f"  new rows x{self.new_rows_lr_factor:.2g}" if self.new_rows_lr_factor != 1 else ""
        frozen = f"  frozen {self.frozen_layers}" if self.frozen_layers else ""
        return f"lr {self.lr:.2e}  wd {self.weight_decay:<6.2g}  {schedule}  clip {clip}{rows}{frozen}"
