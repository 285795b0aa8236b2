import dataclasses
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
        lr=draw(positive),
        weight_decay=draw(st.floats(min_value=0, allow_infinity=False, allow_nan=False)),
        milestones=milestones,
        gamma=draw(between) if milestones else None,
        clip_norm=draw(st.none() | positive),
        new_rows_lr_factor=draw(st.just(1.0) | positive),
        frozen_layers=draw(st.integers(0, 30)),
    )


@settings(deadline=None)
@given(points())
def test_survives_json(point: Hyperparameters) -> None:
    assert Hyperparameters.from_dict(json.loads(json.dumps(point.to_dict()))) == point


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"milestones": (0.0, 0.5)}, r"milestones are \[0.0, 0.5\]"),
        ({"milestones": (0.5, 1.0)}, r"milestones are \[0.5, 1.0\]"),
        ({"milestones": (0.5, 0.5)}, r"milestones are \[0.5, 0.5\]"),
        ({"gamma": None}, "gamma is None"),
        ({"gamma": 1.0}, "gamma is 1.0"),
        ({"milestones": ()}, "gamma is 0.5"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"clip_norm": math.nan}, "clip_norm is nan"),
        ({"new_rows_lr_factor": 0.0}, "new_rows_lr_factor is 0.0"),
        ({"new_rows_lr_factor": math.nan}, "new_rows_lr_factor is nan"),
        ({"frozen_layers": -1}, "frozen_layers is -1"),
        ({"frozen_layers": True}, "frozen_layers is True"),
    ],
)
def test_a_knob_that_cannot_act_is_refused(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}"):
        Hyperparameters(**{**VALID, **changed})


@pytest.mark.parametrize("change", [{"weight_decay": 0.0}, {"clip_norm": None}, {"milestones": (), "gamma": None}])
def test_a_knob_that_is_off_is_accepted(change: dict[str, Any]) -> None:
    values = {**VALID, "new_rows_lr_factor": 1.0, "frozen_layers": 0, **change}
    assert dataclasses.asdict(Hyperparameters(**values)) == values


def test_a_point_from_before_the_later_knobs_has_them_off() -> None:
    point = Hyperparameters.from_dict(VALID)
    assert (point.new_rows_lr_factor, point.frozen_layers) == (1.0, 0)
    assert point == Hyperparameters.from_dict(point.to_dict())


@pytest.mark.parametrize(
    ("point", "line"),
    [
        (Hyperparameters(5e-6, 0.01), "lr 5.00e-06  wd 0.01    flat  clip off"),
        (Hyperparameters(5e-6, 0.01, (1 / 3, 2 / 3), 0.5, 1.0), "lr 5.00e-06  wd 0.01    x0.5 at 33% 67%  clip 1"),
        (
            Hyperparameters(5e-6, 0.01, new_rows_lr_factor=2.5, frozen_layers=4),
            "lr 5.00e-06  wd 0.01    flat  clip off  new rows x2.5  frozen 4",
        ),
    ],
)
def test_describe(point: Hyperparameters, line: str) -> None:
    assert point.describe() == line
