import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space.hyperparameters import Hyperparameters

VALID: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.01, "milestones": (0.25, 0.5), "gamma": 0.5, "clip_norm": 1.0}

positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)
between = st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True)


@st.composite
def points(draw: st.DrawFn) -> Hyperparameters:
    milestones = tuple(sorted(draw(st.sets(between, max_size=5))))
    return Hyperparameters(
        lr=draw(positive), weight_decay=draw(st.just(0.0) | positive), milestones=milestones,
        gamma=draw(between) if milestones else None, clip_norm=draw(st.none() | positive),
        new_rows_lr_factor=draw(st.just(1.0) | positive), frozen_layers=draw(st.integers(0, 30)),
    )  # fmt: skip


@settings(deadline=None)
@given(points())
def test_survives_json(point: Hyperparameters) -> None:
    assert Hyperparameters(**json.loads(json.dumps(point.to_dict()))) == point


@pytest.mark.parametrize(
    "changed",
    [
        {"lr": 0.0}, {"lr": math.nan}, {"weight_decay": -0.1}, {"milestones": (0.5, 1.0)}, {"milestones": (0.5, 0.5)},
        {"gamma": None}, {"gamma": 1.0}, {"milestones": ()}, {"clip_norm": 0.0}, {"new_rows_lr_factor": 0.0},
        {"frozen_layers": -1}, {"beta": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_knob_that_cannot_act_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changed))):
        Hyperparameters(**{**VALID, **changed})
