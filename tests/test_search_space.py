import re
from importlib import resources
from typing import Any

import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler

from space.hyperparameters import Hyperparameters
from space.reader import PRESETS, load_preset, parse
from space.search_space import SearchSpace

NEW_ROWS = "[new_rows_lr_factor]\nlow = 0.1\nhigh = 10.0\nlog = true\n"
FROZEN = "[frozen_layers]\nlow = 0\nhigh = 12\n"
SPACES = {name: load_preset(name) for name in PRESETS}
PRESET = resources.files("space").joinpath("presets/xtts-v2.toml").read_text("utf-8")
# The preset shows the later dimensions as comments.
SPACES["every dimension"] = parse(re.sub(r"^# (\[|low|high|log)", r"\1", PRESET, flags=re.MULTILINE), "every dimension")
presets = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())

MINIMAL = "version = 1\n[lr]\nlow = 1e-5\nhigh = 1e-3\n[weight_decay]\nvalue = 0\n"
FULL = """
version = 1
[lr]
low = 1e-5
high = 1e-3
log = true
[weight_decay]
low = 0
high = 0.1
[milestones]
max = 2
low = 0.2
high = 0.8
[gamma]
low = 0.1
high = 0.9
[clip_norm]
low = 0.5
high = 2.0
off = false
"""


class Drawn(BaseSampler):
    """Takes every value that is not in `given` from hypothesis, ends of the ranges included."""

    def __init__(self, data: st.DataObject, given: dict[str, Any]) -> None:
        self.data, self.given = data, given

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: BaseDistribution) -> Any:
        if param_name in self.given:
            return self.given[param_name]
        match param_distribution:
            case FloatDistribution(low=low, high=high):
                return self.data.draw(st.floats(low, high), label=param_name)
            case IntDistribution(low=low, high=high):
                return self.data.draw(st.integers(low, high), label=param_name)
            case CategoricalDistribution(choices=choices):
                return self.data.draw(st.sampled_from(choices), label=param_name)
        raise AssertionError(param_distribution)


def sample(space: SearchSpace, data: st.DataObject, **given: Any) -> tuple[Hyperparameters, optuna.Trial]:
    trial = optuna.create_study(sampler=Drawn(data, given)).ask()
    return space.suggest(trial), trial


def numbers(point: Hyperparameters) -> tuple[float, ...]:
    """The point for comparisons with a tolerance; a knob that is off is 0, which no point may hold."""
    rest = (point.gamma or 0.0, point.clip_norm or 0.0, point.new_rows_lr_factor, point.frozen_layers)
    return (point.lr, point.weight_decay, *rest, *point.milestones)


@presets
@settings(deadline=None)
@given(data=st.data())
def test_from_params_and_to_params_are_inverse(space: SearchSpace, data: st.DataObject) -> None:
    point, trial = sample(space, data)
    assert space.from_params(trial.params) == point
    assert type(point.frozen_layers) is int
    params, clipped = space.to_params(point)
    assert clipped == []
    assert params == pytest.approx(trial.params, rel=1e-9, abs=0)
    assert {name: type(value) for name, value in params.items()} == {k: type(v) for k, v in trial.params.items()}


@presets
@settings(deadline=None)
@given(data=st.data())
def test_a_change_of_any_parameter_changes_the_point(space: SearchSpace, data: st.DataObject) -> None:
    point, trial = sample(space, data)
    name = data.draw(st.sampled_from(sorted(trial.params)), label="changed")
    others = {key: value for key, value in trial.params.items() if key != name}
    other, changed = sample(space, data, **others)
    assume(changed.params[name] != pytest.approx(trial.params[name], rel=1e-6, abs=0))
    assert numbers(other) != pytest.approx(numbers(point), rel=1e-9, abs=0)


@presets
def test_a_trial_is_asked_only_for_what_matters(space: SearchSpace) -> None:
    study = optuna.create_study()
    plain = {"lr": space.lr.low, "weight_decay": space.weight_decay.low, "n_milestones": 0, "clip": False}
    rich = {**plain, "n_milestones": 2, "milestone_1": 0.2, "milestone_2_of_rest": 0.5, "gamma": 0.5}
    rich |= {"clip": True, "clip_norm": 1.0}
    if space.frozen_layers:
        plain, rich = ({**params, "new_rows_lr_factor": 0.5, "frozen_layers": 3} for params in (plain, rich))
    for params in (plain, rich):
        study.enqueue_trial(params)
        trial = study.ask()
        space.suggest(trial)
        assert trial.params == params
        study.tell(trial, 1.0)


@pytest.mark.parametrize(("preset", "stock_lr"), [("xtts-v2", 5e-6), ("miniature", 1e-3)])
def test_the_baselines_are_as_their_author_meant_them_and_fit(preset: str, stock_lr: float) -> None:
    space = SPACES[preset]
    expected = {
        "V0": Hyperparameters(stock_lr, 0.01),
        "V1": Hyperparameters(stock_lr * 2 / 5, 0.01, (1 / 3, 2 / 3), 0.5, 1.0),
        "V2": Hyperparameters(stock_lr / 5, 0.05, (1 / 6, 1 / 3, 1 / 2), 0.5, 1.0),
    }
    assert [baseline.name for baseline in space.baselines] == list(expected)
    for baseline in space.baselines:
        params, clipped = space.to_params(baseline.hyperparameters)
        assert clipped == []
        for point in (baseline.hyperparameters, space.from_params(params)):
            assert numbers(point) == pytest.approx(numbers(expected[baseline.name]), rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("declared", "point", "trained", "clipped"),
    [
        ("full", {"lr": 1e-6}, {"lr": 1e-5}, ["lr 1e-06 -> 1e-05"]),
        ("full", {"clip_norm": 9.0}, {"clip_norm": 2.0}, ["clip_norm 9 -> 2"]),
        ("full", {"clip_norm": None}, {"clip_norm": 2.0}, ["clip_norm off -> 2"]),
        (
            "full", {"milestones": (0.1,), "gamma": 0.95}, {"milestones": (0.2,), "gamma": 0.9},
            ["milestone_1 0.1 -> 0.2", "gamma 0.95 -> 0.9"],
        ),
        ("", {"milestones": (0.5,), "gamma": 0.5}, {"clip_norm": None}, ["milestones 1 -> 0", "clip_norm 1 -> off"]),
        (
            "full", {"new_rows_lr_factor": 0.25, "frozen_layers": 3}, {},
            ["new_rows_lr_factor 0.25 -> 1", "frozen_layers 3 -> 0"],
        ),
        (
            NEW_ROWS + FROZEN, {"new_rows_lr_factor": 20.0, "frozen_layers": 13, "clip_norm": None},
            {"new_rows_lr_factor": 10.0, "frozen_layers": 12, "clip_norm": None},
            ["new_rows_lr_factor 20 -> 10", "frozen_layers 13 -> 12"],
        ),
    ],
)  # fmt: skip
def test_a_point_outside_is_clipped_and_said_so(
    declared: str, point: dict[str, Any], trained: dict[str, Any], clipped: list[str]
) -> None:
    space = parse(FULL if declared == "full" else MINIMAL + declared, "space")
    inside = {"lr": 1e-4, "weight_decay": 0.0, "clip_norm": 1.0}
    params, said = space.to_params(Hyperparameters(**{**inside, **point}))
    assert said == clipped
    assert numbers(space.from_params(params)) == pytest.approx(numbers(Hyperparameters(**{**inside, **trained})))


@pytest.mark.parametrize(
    ("declared", "params", "found"),
    [
        ("", {"lr": 1e-4, "weight_decay": 0.05, "gamma": 0.5, "clip_norm": 1.0}, ""),
        ("", {"lr": 1.05e-5}, "lr 1.05e-05 lies at the edge of 1e-05 to 0.001"),
        ("", {"lr": 2e-5}, ""),  # 15 % of the logarithmic range, 1 % of the linear one
        (FROZEN, {"frozen_layers": 0}, ""),  # fewer than none cannot be tried
        (FROZEN, {"frozen_layers": 12}, "frozen_layers 12 lies at the edge of 0 to 12"),
        (FROZEN.replace("= 0", "= 2"), {"frozen_layers": 2}, "frozen_layers 2 lies at the edge of 2 to 12"),
        (NEW_ROWS, {"new_rows_lr_factor": 0.1}, "new_rows_lr_factor 0.1 lies at the edge of 0.1 to 10"),
    ],
)
def test_a_value_at_the_edge_is_told(declared: str, params: dict[str, float], found: str) -> None:
    assert parse(FULL + declared, "space").at_edge(params) == ([found] if found else [])


def test_to_dict_tells_spaces_apart() -> None:
    """By their ranges alone; a study from before the later knobs is of the same space as one that lacks them."""
    plain = parse(FULL, "space").to_dict()
    for old, new in (("low = 1e-5", "low = 2e-5"), ("log = true", "log = false"), ("max = 2", "max = 3")):
        assert parse(FULL.replace(old, new), "space").to_dict() != plain
    named = 'name = "other"\n' + FULL + '[[baselines]]\nname = "V0"\nlr = 1e-3\nweight_decay = 0.01\n'
    assert parse(named, "space").to_dict() == plain
    layers = {"frozen_layers": {"low": 0, "high": 12, "log": False}}
    assert parse(FULL + FROZEN, "space").to_dict() == {**plain, **layers}
