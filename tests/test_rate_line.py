"""The rate line, by made-up runs: which full runs are next, whatever has ended so far."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from search.confirmation.candidates import Candidate
from search.confirmation.rate_line import Line, LineRun, fixed_rates, rate_line, sum_of_rates
from search.settings.sections import LINE_RUNS
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps

HORIZON, EVERY = 1000, 50
V0 = Candidate("V0", Hyperparameters(1e-3, 0.01), 0, 3.6)
TRIAL = Candidate("trial 7", Hyperparameters(4e-3, 0.02), 7, 3.3)
DECAYING = Candidate("trial 8", Hyperparameters(4e-3, 0.02, (0.5,), 0.1), 8, 3.2)
Run = Callable[[Candidate], LineRun]


def ended(config: Candidate, *values: float, diverged: bool = False) -> LineRun:
    """Evaluated every 50 of 1000 optimizer steps."""
    return LineRun(config.point, HORIZON, [EVERY * i for i in range(1, len(values) + 1)], values, diverged)


def overfits(tau: float, noise: float = 0.0) -> Run:
    """Runs are at their lowest once their learning rates have summed to `tau`, and lower if that is at their end."""

    def run(config: Candidate) -> LineRun:
        own = 2.0 + 0.3 * abs(math.log10(sum_of_rates(config.point, HORIZON, HORIZON) / tau))
        sums = [sum_of_rates(config.point, step, HORIZON) for step in range(EVERY, HORIZON + 1, EVERY)]
        wobble = random.Random(config.name)
        return ended(config, *(own + abs(math.log(s / tau)) + wobble.gauss(0, noise) for s in sums))

    return run


def flat(lowest: dict[str, float]) -> Run:
    """Runs that do not turn, by name."""
    return lambda config: ended(config, 4.0, 3.0, lowest[config.name])


def followed(run: Run, *starts: Candidate, order: random.Random | None = None) -> Line:
    """The line to its end, by runs that end one by one: the first that is missing, or any by chance."""
    done: dict[str, LineRun] = {}
    asked: list[str] = []
    while missing := (line := rate_line(starts, done, HORIZON)).missing:
        asked += [config.name for config in missing if config.name not in asked]
        config = order.choice(missing) if order else missing[0]
        done[config.name] = run(config)
    assert sorted(asked) == sorted(config.name for config in line.runs)
    return line


def names(configs: list[Candidate]) -> list[str]:
    return [config.name for config in configs]


# One run


RUNS = {  # evaluations, whether it turned, the step of the lowest
    "to its end": ((4.0, *[3.0] * 18, 2.0), False, 1000),
    "turned": ((4.0, 3.0, 3.1), True, 100),
    "at three quarters": ((*[3.0] * 14, 2.0, 2.1), False, 750),
    "just before, and rose": ((*[3.0] * 13, 2.0, 2.1), True, 700),
    "the last is the lowest": ((4.0, 3.0), False, 100),  # stopped by the user's rules, not by a rise
    "ties, of which the first counts": ((4.0, 3.0 + 1e-12, 3.0, 3.1), True, 100),
    "came to nothing": ((), False, 0),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_turned_if_it_was_at_its_lowest_long_before_its_end_and_rose(name: str) -> None:
    values, turned, step = RUNS[name]
    run = ended(V0, *values)
    assert (run.turned, run.step, run.time) == (turned, step, pytest.approx(step * 1e-3))
    assert run.lowest == min(values, default=math.inf)
    diverged = ended(V0, *values, diverged=True)
    assert (diverged.turned, diverged.lowest, diverged.step) == (True, math.inf, step)


@pytest.mark.parametrize("milestones", [(), (0.5,), (0.1, 0.3333, 0.9), (0.997, 0.998, 0.999)])
def test_the_sum_of_rates_is_that_of_the_schedule_that_trains(milestones: tuple[float, ...]) -> None:
    point = Hyperparameters(3e-4, 0.0, milestones, 0.3 if milestones else None)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=point.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, to_steps(milestones, 777), point.gamma or 1.0)
    total = 0.0
    for step in range(1, 778):
        total += optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
        assert sum_of_rates(point, step, 777) == pytest.approx(total)


# The line


LINES: dict[str, tuple[Run, list[str]]] = {  # how runs end, and which are made, by the start
    "the stock recipe is corrected at most fourfold, and the trial starts where it turned": (
        overfits(tau=0.2), ["V0", "V0 at 0.25 x lr", "trial 7 at 0.05 x lr"]
    ),
    "in two digits": (overfits(tau=0.35), ["V0", "V0 at 0.35 x lr", "trial 7 at 0.088 x lr"]),
    "a correction is at least to half": (overfits(tau=0.7), ["V0", "V0 at 0.5 x lr", "trial 7 at 0.18 x lr"]),
    "and goes on while it turns": (
        overfits(tau=0.02), ["V0", "V0 at 0.25 x lr", "trial 7 at 0.013 x lr", "trial 7 at 0.0052 x lr"]
    ),
    "only the trial turns": (overfits(tau=2.0), ["V0", "trial 7", "trial 7 at 0.5 x lr"]),
    "only the trial turns, and its correction is at V0's rate": (overfits(tau=1.0), ["V0", "trial 7"]),
    "what a noisy turn made worse is half undone": (
        lambda config: ended(config, 2.0, 2.1) if config.name == "V0" else ended(config, 4.0, 3.0),
        ["V0", "V0 at 0.25 x lr", "trial 7 at 0.013 x lr", "V0 at 0.5 x lr"],
    ),
    "nothing turns": (
        flat({"V0": 2.5, "trial 7": 2.4, "trial 7 at 0.5 x lr": 2.45}), ["V0", "trial 7", "trial 7 at 0.5 x lr"]
    ),
    "nothing turns, half the rate is better, and a quarter is V0's": (
        flat({"V0": 2.5, "trial 7": 2.4, "trial 7 at 0.5 x lr": 2.3}), ["V0", "trial 7", "trial 7 at 0.5 x lr"]
    ),
    "nothing turns, and the stock recipe is the best": (
        flat({"V0": 2.3, "trial 7": 2.4, "V0 at 0.5 x lr": 2.4}), ["V0", "trial 7", "V0 at 0.5 x lr"]
    ),
    "the stock recipe diverges at once": (
        lambda config: ended(config, diverged=True) if config.point.lr > 9e-4 else overfits(9)(config),
        ["V0", "V0 at 0.25 x lr", "trial 7 at 0.062 x lr", "V0 at 0.12 x lr"],
    ),
    "the stock recipe came to nothing": (
        lambda config: ended(config) if config.name == "V0" else overfits(9)(config),
        ["V0", "trial 7", "trial 7 at 0.5 x lr"],
    ),
    "all come to nothing": (ended, ["V0", "trial 7"]),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_the_line_goes_where_the_runs_turn_and_no_order_changes_it(name: str) -> None:
    run, expected = LINES[name]
    line = followed(run, V0, TRIAL)
    assert names(line.runs) == expected and len(expected) <= LINE_RUNS == 4
    for config, start in ((c, TRIAL if c.name.startswith("trial") else V0) for c in line.runs):
        assert config.point == replace(start.point, lr=config.factor * start.point.lr)
        assert config.scaled_from == (None if config.factor == 1 else start.name)
    for seed in range(5):
        assert followed(run, V0, TRIAL, order=random.Random(seed)).runs == line.runs


def lower_is_better(config: Candidate) -> LineRun:
    """Down to a rate of 1e-3. Only rates from 1e-2 on turn, and late."""
    own = 2.0 + abs(math.log10(config.point.lr / 1e-3))
    return ended(config, *[own + 1] * 13, own, *([own + 0.1] if config.point.lr >= 1e-2 else [own - 0.1] * 7))


@pytest.mark.parametrize(
    ("stock", "trial", "expected"),
    [
        # Half, while it helps. A turn that is told of a higher rate does not end that.
        (1e-4, 6e-3, ["V0", "trial 7", "trial 7 at 0.5 x lr", "trial 7 at 0.25 x lr"]),
        (1e-4, 1.2e-2, ["V0", "trial 7", "trial 7 at 0.5 x lr", "trial 7 at 0.25 x lr"]),
        (1e-4, 1e-3, ["V0", "trial 7", "trial 7 at 0.5 x lr"]),
        # The stock recipe is the best, and far below the trial: the best rate is between the two.
        (4e-4, 6e-3, ["V0", "trial 7", "V0 at 3.9 x lr", "V0 at 1.9 x lr"]),
        # The stock recipe is far too high, and turns: the trial's rate is no reason to go up.
        (8e-2, 1e-3, ["V0", "V0 at 0.5 x lr", "trial 7", "V0 at 0.25 x lr"]),
    ],
)  # fmt: skip
def test_a_stock_rate_that_is_wrong_leaves_the_line_to_the_trial(
    stock: float, trial: float, expected: list[str]
) -> None:
    starts = [replace(c, point=replace(c.point, lr=lr)) for c, lr in ((V0, stock), (TRIAL, trial))]
    assert names(followed(lower_is_better, *starts).runs) == expected


def test_the_stock_recipe_runs_first_and_then_all_that_its_end_tells() -> None:
    starts, first = [V0, TRIAL], overfits(tau=0.2)(V0)
    line = rate_line(starts, {}, HORIZON)
    assert (names(line.missing), line.sum_of_rates) == (["V0"], None)
    line = rate_line(starts, {"V0": first}, HORIZON)
    assert (names(line.missing), line.sum_of_rates) == (["V0 at 0.25 x lr", "trial 7 at 0.05 x lr"], pytest.approx(0.2))
    other = {"V0": first, "an audited trial": ended(TRIAL, 2.0, 2.1)}
    assert rate_line(starts, other, HORIZON).sum_of_rates == line.sum_of_rates


@pytest.mark.parametrize("tau", [0.03, 0.1, 0.3, 0.5, 0.7, 2.0])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_schedule_is_capped_by_the_sum_that_it_applies_and_the_last_rate_is_near_the_law_s(
    tau: float, noise: float
) -> None:
    line = followed(overfits(tau, noise=noise), V0, DECAYING)
    assert len(line.runs) <= LINE_RUNS
    if tau < 0.7:  # V0 turns: its steps sum to 1
        first = next(config for config in line.runs if config.scaled_from == "trial 8")
        assert line.ended[first.name].whole == pytest.approx(line.ended["V0"].time, rel=0.05)
    wholes = [run.whole for run in line.ended.values()]
    assert min(abs(math.log(whole / tau)) for whole in wholes) <= math.log(1.3)


def test_several_trials_have_two_runs_more_each_and_none_is_run_twice() -> None:
    same = replace(V0, name="trial 9", point=replace(V0.point, lr=2.5e-4))  # where V0's correction lands
    line = followed(overfits(tau=0.2), V0, TRIAL, same, DECAYING)
    assert len(line.runs) <= LINE_RUNS + 4
    assert len({config.point for config in line.runs}) == len(line.runs)
    assert {"V0 at 0.25 x lr", "trial 7 at 0.05 x lr", "trial 8 at 0.091 x lr"} < {*names(line.runs)} - {"trial 9"}


def test_a_space_of_one_point_has_a_line_of_the_stock_recipe_alone() -> None:
    assert names(followed(overfits(tau=0.2), V0).runs) == ["V0", "V0 at 0.25 x lr"]
    assert names(followed(flat({"V0": 2.0, "V0 at 0.5 x lr": 2.1}), V0).runs) == ["V0", "V0 at 0.5 x lr"]


@pytest.mark.parametrize(
    ("starts", "multiples", "expected"),
    [
        ([V0, TRIAL, DECAYING], [0.3, 0.3, 0.1], ["trial 7", "trial 8", "trial 7 at 0.3 x lr", "trial 7 at 0.1 x lr"]),
        ([V0, TRIAL], [], ["trial 7"]),
        ([V0], [0.5], []),
    ],
)
def test_fixed_multiples_are_of_the_best_trial_and_run_at_once(
    starts: list[Candidate], multiples: list[float], expected: list[str]
) -> None:
    line = fixed_rates(starts, multiples, {"V0": ended(V0, 2.0)})
    assert names(line.missing) == expected and names(line.runs) == ["V0", *expected]
