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
from space.schedule import to_steps
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

    def __init__(self, data: st.DataObject, given: dict[str, Any] | None = None) -> None:
        self.data, self.given = data, given or {}

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


def sample(
    space: SearchSpace, data: st.DataObject, given: dict[str, Any] | None = None
) -> tuple[Hyperparameters, optuna.Trial]:
    trial = optuna.create_study(sampler=Drawn(data, given)).ask()
    return space.suggest(trial), trial


def numbers(point: Hyperparameters) -> tuple[float, ...]:
    """The point for comparisons with a tolerance; a knob that is off is 0, which no point may hold."""
    rest = (point.gamma or 0.0, point.clip_norm or 0.0, point.new_rows_lr_factor, point.frozen_layers)
    return (point.lr, point.weight_decay, *rest, *point.milestones)


@presets
@settings(deadline=None)
@given(data=st.data())
def test_every_sampled_point_is_inside_the_space(space: SearchSpace, data: st.DataObject) -> None:
    point, _ = sample(space, data)
    assert space.gamma
    assert space.clip_norm
    assert space.lr.low <= point.lr <= space.lr.high
    assert space.weight_decay.low <= point.weight_decay <= space.weight_decay.high
    assert len(point.milestones) <= space.max_milestones
    assert all(space.milestones.low <= m < space.milestones.high for m in point.milestones)
    assert (point.gamma is None) == (not point.milestones)
    assert point.gamma is None or space.gamma.low <= point.gamma <= space.gamma.high
    assert point.clip_norm is None or space.clip_norm.low <= point.clip_norm <= space.clip_norm.high
    if space.new_rows_lr_factor and space.frozen_layers:
        assert space.new_rows_lr_factor.low <= point.new_rows_lr_factor <= space.new_rows_lr_factor.high
        assert space.frozen_layers.low <= point.frozen_layers <= space.frozen_layers.high
    else:
        assert (point.new_rows_lr_factor, point.frozen_layers) == (1, 0)


@presets
@settings(deadline=None)
@given(data=st.data(), spare=st.integers(0, 5) | st.integers(0, 10**5))
def test_every_sampled_schedule_acts_at_any_horizon(space: SearchSpace, data: st.DataObject, spare: int) -> None:
    point, _ = sample(space, data)
    horizon = len(point.milestones) + 1 + spare
    steps = to_steps(point.milestones, horizon)
    assert len(steps) == len(point.milestones)
    assert all(a < b for a, b in zip((0, *steps), (*steps, horizon), strict=True))


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
    other, changed = sample(space, data, others)
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


def test_a_later_milestone_is_a_share_of_what_is_left() -> None:
    params = {"lr": 1e-4, "weight_decay": 0.0, "n_milestones": 2, "milestone_1": 0.4, "milestone_2_of_rest": 0.25}
    point = parse(FULL, "full").from_params({**params, "gamma": 0.5, "clip_norm": 1.0})
    assert point.milestones == pytest.approx((0.4, 0.5))


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
    ("point", "fitted", "clipped"),
    [
        (Hyperparameters(1e-6, 0.0, (), None, 1.0), Hyperparameters(1e-5, 0.0, (), None, 1.0), ["lr 1e-06 -> 1e-05"]),
        (
            Hyperparameters(1e-4, 0.5, (), None, 1.0),
            Hyperparameters(1e-4, 0.1, (), None, 1.0),
            ["weight_decay 0.5 -> 0.1"],
        ),
        (Hyperparameters(1e-4, 0.0, (), None, 9.0), Hyperparameters(1e-4, 0.0, (), None, 2.0), ["clip_norm 9 -> 2"]),
        (Hyperparameters(1e-4, 0.0), Hyperparameters(1e-4, 0.0, (), None, 2.0), ["clip_norm off -> 2"]),
        (
            Hyperparameters(1e-4, 0.0, (0.1,), 0.95, 1.0),
            Hyperparameters(1e-4, 0.0, (0.2,), 0.9, 1.0),
            ["milestone_1 0.1 -> 0.2", "gamma 0.95 -> 0.9"],
        ),
        (
            Hyperparameters(1e-4, 0.0, (0.3, 0.55, 0.7), 0.5, 1.0),
            Hyperparameters(1e-4, 0.0, (0.3, 0.55), 0.5, 1.0),
            ["milestones 3 -> 2"],
        ),
    ],
)
def test_a_point_outside_is_clipped_and_said_so(
    point: Hyperparameters, fitted: Hyperparameters, clipped: list[str]
) -> None:
    space = parse(FULL, "full")
    params, said = space.to_params(point)
    assert said == clipped
    assert numbers(space.from_params(params)) == pytest.approx(numbers(fitted))


def test_a_space_without_schedule_or_clip_says_what_it_leaves_out() -> None:
    space = parse(MINIMAL, "minimal")
    params, clipped = space.to_params(Hyperparameters(1e-4, 0.0, (0.5,), 0.5, 1.0))
    assert params == {"lr": 1e-4, "weight_decay": 0.0}
    assert clipped == ["milestones 1 -> 0", "clip_norm 1 -> off"]


@pytest.mark.parametrize(
    ("declared", "point", "clipped", "trained"),
    [
        ("", {}, [], (1.0, 0)),
        (
            "",
            {"new_rows_lr_factor": 0.25, "frozen_layers": 3},
            ["new_rows_lr_factor 0.25 -> 1", "frozen_layers 3 -> 0"],
            (1.0, 0),
        ),
        (NEW_ROWS + FROZEN, {}, [], (1.0, 0)),  # V0 within the space
        (NEW_ROWS + FROZEN, {"new_rows_lr_factor": 0.25, "frozen_layers": 3}, [], (0.25, 3)),
        (
            NEW_ROWS + FROZEN,
            {"new_rows_lr_factor": 20.0, "frozen_layers": 13},
            ["new_rows_lr_factor 20 -> 10", "frozen_layers 13 -> 12"],
            (10.0, 12),
        ),
        (
            "[new_rows_lr_factor]\nvalue = 0.5\n[frozen_layers]\nvalue = 2\n",
            {},
            ["new_rows_lr_factor 1 -> 0.5", "frozen_layers 0 -> 2"],
            (0.5, 2),
        ),
    ],
)
def test_a_recipe_has_the_later_knobs_as_far_as_the_space_has(
    declared: str, point: dict[str, Any], clipped: list[str], trained: tuple[float, int]
) -> None:
    space = parse(MINIMAL + declared, "minimal")
    params, said = space.to_params(Hyperparameters(1e-4, 0.0, **point))
    assert said == clipped
    fitted = space.from_params(params)
    assert (fitted.new_rows_lr_factor, fitted.frozen_layers) == trained
    assert {"new_rows_lr_factor", "frozen_layers"} <= params.keys() if declared else len(params) == 2


@pytest.mark.parametrize(
    ("declared", "params", "found"),
    [
        (FROZEN, {"frozen_layers": 0}, []),  # fewer than none cannot be tried
        (FROZEN, {"frozen_layers": 6}, []),
        (FROZEN, {"frozen_layers": 12}, ["frozen_layers 12 lies at the edge of 0 to 12"]),
        (FROZEN.replace("= 0", "= 2"), {"frozen_layers": 2}, ["frozen_layers 2 lies at the edge of 2 to 12"]),
        ("[frozen_layers]\nvalue = 2\n", {"frozen_layers": 2}, []),
        ("", {}, []),
        (NEW_ROWS, {"new_rows_lr_factor": 1.0}, []),
        (NEW_ROWS, {"new_rows_lr_factor": 0.1}, ["new_rows_lr_factor 0.1 lies at the edge of 0.1 to 10"]),
    ],
)
def test_the_edges_of_the_later_knobs(declared: str, params: dict[str, Any], found: list[str]) -> None:
    assert parse(MINIMAL + declared, "minimal").at_edge(params) == found


def test_only_declared_dimensions_make_spaces_different() -> None:
    """A study from before there were these knobs is of the same space."""
    plain = parse(MINIMAL, "a").to_dict()
    assert not {"new_rows_lr_factor", "frozen_layers"} & plain.keys()
    assert parse(MINIMAL + NEW_ROWS + FROZEN, "b").to_dict() == {
        **plain,
        "new_rows_lr_factor": {"low": 0.1, "high": 10.0, "log": True},
        "frozen_layers": {"low": 0, "high": 12},
    }


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"lr": 1e-4, "weight_decay": 0.05, "gamma": 0.5, "clip_norm": 1.0}, []),
        ({"lr": 1e-3}, ["lr 0.001 lies at the edge of 1e-05 to 0.001"]),
        ({"lr": 1.05e-5}, ["lr 1.05e-05 lies at the edge of 1e-05 to 0.001"]),
        ({"lr": 2e-5}, []),  # 15 % of the logarithmic range, 1 % of the linear one
        ({"weight_decay": 0.0, "gamma": 0.899}, 2),
        ({"clip_norm": 0.5}, 1),
    ],
)
def test_at_edge(params: dict[str, float], found: list[str] | int) -> None:
    edges = parse(FULL, "full").at_edge(params)
    assert (len(edges) if isinstance(found, int) else edges) == found


def test_a_fixed_knob_is_asked_for_and_has_no_edge() -> None:
    space = parse(MINIMAL, "minimal")
    trial = optuna.create_study().ask()
    assert space.suggest(trial).weight_decay == 0
    assert trial.params.keys() == {"lr", "weight_decay"}
    assert space.at_edge({"lr": 5e-4, "weight_decay": 0.0}) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("low = 1e-5", "low = 2e-5"),
        ("log = true", "log = false"),
        ("high = 0.1", "high = 0.2"),
        ("max = 2", "max = 3"),
        ("high = 0.8", "high = 0.7"),
        ("high = 0.9", "high = 0.8"),
        ("high = 2.0", "high = 3.0"),
        ("off = false", "off = true"),
    ],
)
def test_to_dict_tells_spaces_apart(old: str, new: str) -> None:
    assert FULL.count(old) == 1
    assert parse(FULL, "a").to_dict() != parse(FULL.replace(old, new), "b").to_dict()


def test_to_dict_leaves_out_the_name_and_the_baselines() -> None:
    named = 'name = "other"\n' + FULL + '[[baselines]]\nname = "V0"\nlr = 1e-3\nweight_decay = 0.01\n'
    assert parse(named, "a").to_dict() == parse(FULL, "b").to_dict()
