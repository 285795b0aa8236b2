"""Replays of searches on recorded curves, here of a table made by hand: what is replayed, and what is counted."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from optuna.pruners import NopPruner
from optuna.trial import TrialState

from benchmarks.curves.corpora import FULL, SHARES, STEPS
from benchmarks.curves.record import steps_of
from benchmarks.curves.table import Table
from benchmarks.replay import measures, simulation, strategies
from benchmarks.replay.measures import Mark
from benchmarks.replay.simulation import Ended, Strategy, settings_for
from benchmarks.replay.studies import CHECKPOINTS, Checkpoint, Study
from benchmarks.replay.world import NullWorld, World, truths
from search.study.settling import FEWEST
from space.hyperparameters import Hyperparameters

SHORT = 0.2
STOCK = Hyperparameters(1e-3, 0.01)  # the miniature's
GOOD = 10 ** (-4.4 + 0.1 * 9)
RATES = [10 ** (-4.4 + 0.1 * i) for i in range(24)]  # with GOOD and the stock recipe's among them
FALL = {step: 2 * math.exp(-step / 8) for step in range(STEPS + 1)}


def floor(lr: float) -> float:
    return 2 + 0.4 * abs(math.log10(lr / GOOD))


def made(floors: Callable[[float], float] = floor, noise: float = 0.003, name: str = "made") -> Table:
    """Flat configs, one a rate, and one with a milestone, of two seeds: each curve falls to the floor of its rate."""
    points = [*(Hyperparameters(lr, 0.01) for lr in RATES), Hyperparameters(GOOD, 0.01, (0.7,), 0.1)]
    curves = {}
    draw = np.random.default_rng(1)
    for config, point in enumerate(points):
        for seed in (1, 2):
            shift = {step: draw.normal(0, noise) for step in range(STEPS + 1)}
            for share in (FULL, *SHARES) if seed == 1 else (FULL,):
                branch = 0.0 if not point.milestones or share == FULL else 0.25  # what its own milestones change
                curves[config, seed, share] = [
                    floors(point.lr) + FALL[step] + shift[step] + branch * (step > 0.7 * share * STEPS)
                    for step in steps_of(share)
                ]
    return Table(name, points, 5.0, curves, len(points))


@pytest.fixture(scope="module")
def table() -> Table:
    return made()


# The world


def test_a_recorded_point_and_a_near_one_have_its_curve(table: Table) -> None:
    world = World(table, 0, 0)
    for config, point in enumerate(table.points):
        for near in (point, replace(point, lr=1.05 * point.lr), replace(point, weight_decay=0.02, clip_norm=9.0)):
            assert world.nearest(near) == config
            assert world.curve(near, FULL, 0) == table.curves[config, 1, FULL]
            assert world.curve(near, SHORT, 0) == table.curves[config, 1, SHORT]
            assert world.curve(near, FULL, 1) == table.curves[config, 2, FULL]
    assert World(table, 1, 0).curve(table.points[3], FULL, 0) == table.curves[3, 2, FULL]


def test_a_rate_that_drops_is_another_config_s(table: Table) -> None:
    late = Hyperparameters(GOOD, 0.01, (0.65,), 0.1)
    assert World(table, 0, 0).nearest(late) == len(table.points) - 1
    assert World(table, 0, 0).nearest(replace(late, milestones=(0.98,))) == 9


def test_the_truth_is_the_mean_of_the_seeds_lowest(table: Table) -> None:
    lowest = [min(table.curves[4, seed, FULL]) for seed in (1, 2)]
    assert World(table, 0, 0).truth(table.points[4]) == pytest.approx(sum(lowest) / 2)


def test_a_config_that_diverged_with_a_seed_is_the_worst() -> None:
    cut = made(name="cut")
    cut.curves[0, 2, FULL][7:] = []
    assert World(cut, 0, 0).truth(cut.points[0]) == math.inf


def test_truncated_runs_of_the_second_seed_are_exact_before_their_first_milestone(table: Table) -> None:
    stepped, config = table.points[-1], len(table.points) - 1
    world = World(table, 1, 0)
    second, first = (dict(zip(steps_of(FULL), table.curves[config, seed, FULL], strict=True)) for seed in (2, 1))
    found = dict(zip(steps_of(SHORT), world.curve(stepped, SHORT, 0), strict=True))
    short = dict(zip(steps_of(SHORT), table.curves[config, 1, SHORT], strict=True))
    shared = sorted(found.keys() & second.keys())
    before = [step for step in shared if step <= 0.7 * SHORT * STEPS]
    assert before and len(before) < len(shared)
    assert [found[s] for s in before] == pytest.approx([second[s] for s in before])
    # After it: the first seed's run of its own, with the difference of the seeds' full runs.
    after = [step for step in shared if step not in before]
    assert [found[s] for s in after] == pytest.approx([short[s] + second[s] - first[s] for s in after])


def test_in_a_null_world_all_configs_are_equal(table: Table) -> None:
    world = NullWorld(table, 0, 3)
    assert len({world.truth(point) for point in table.points}) == 1
    assert world.truth(STOCK) in truths(table)
    found = truths(table)
    worst, best = table.points[found.index(max(found))], table.points[found.index(min(found))]
    assert max(found) - min(found) > 0.1
    one, other = (world.curve(point, FULL, 0) for point in (worst, best))
    assert one != other
    assert one == pytest.approx(other, abs=0.05)
    assert len({world.key(point) for point in table.points}) == len(table.points)
    seeds = [world.curve(STOCK, FULL, seed) for seed in range(6)]
    assert seeds == [world.curve(STOCK, FULL, seed) for seed in range(6)]
    assert len({tuple(curve) for curve in seeds}) >= 4


# The simulation


def default(**pruning: object) -> Strategy:
    given = {"startup_trials": 2, "min_delta": 0.0, **pruning}
    return strategies.default(share=SHORT, **given)


def unpruned() -> Strategy:
    return replace(strategies.unpruned("random", strategies.random, SHORT), pruner=lambda *_: NopPruner())


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_steps_are_counted_exactly(table: Table, slots: int) -> None:
    ended = simulation.search(unpruned(), World(table, 0, 0), slots, 11, seed=1)
    horizon = round(SHORT * STEPS)
    assert [t.state for t in ended] == [TrialState.COMPLETE] * 11
    assert ended[-1].trained == 11 * horizon
    assert ended[-1].clock == math.ceil(11 / slots) * horizon
    assert [t.trained for t in ended] == sorted(t.trained for t in ended)
    for trial in ended:  # the slots' trials go in step: what is trained is what all of them had by then
        assert horizon * math.ceil(trial.clock / horizon) == trial.clock
        assert 0 < trial.trained <= min(11 * horizon, slots * trial.clock)


@pytest.mark.parametrize("slots", [1, 3])
def test_pruned_trials_count_what_they_trained(table: Table, slots: int) -> None:
    seen: list[int] = []

    class Counting(World):
        def curve(self, point: Hyperparameters, share: float, seed: int) -> list[float]:
            seen.append(self.nearest(point))
            return super().curve(point, share, seed)

    ended = simulation.search(default(), Counting(table, 0, 0), slots, 20, seed=1)
    assert len(ended) == len(seen) == 20
    pruned = [t for t in ended if t.state == TrialState.PRUNED]
    assert pruned
    steps = 0
    for trial in ended:
        curve = World(table, 0, 0).curve(trial.point, SHORT, 0)
        ran = curve.index(trial.value) + 1 if trial.state == TrialState.PRUNED else len(curve)  # type: ignore[arg-type]
        steps += steps_of(SHORT)[ran - 1]
    assert ended[-1].trained == steps < 20 * round(SHORT * STEPS)


def test_two_increases_complete_with_the_best_and_the_median_prunes() -> None:
    """Curves of good rates rise from the fifth evaluation on; the others lie higher all the way."""
    table = made(noise=0.0, name="rising")
    for config, point in enumerate(table.points):
        curve = table.curves[config, 1, SHORT]
        if 0.5 < point.lr / GOOD < 2:
            curve[4:] = [curve[3] + 0.1 * i for i in range(1, len(curve) - 3)]
    world = World(table, 0, 0)
    ended = simulation.search(default(warmup_evaluations=2), world, 1, 40, seed=2)
    assert {t.state for t in ended} == {TrialState.COMPLETE, TrialState.PRUNED}
    reasons = set()
    before = 0
    for trial in ended:
        curve = world.curve(trial.point, SHORT, 0)
        ran = steps_of(SHORT).index(trial.trained - before) + 1
        before = trial.trained
        if trial.state == TrialState.PRUNED:
            reasons.add("median")
            assert trial.value == curve[ran - 1]
        elif ran < len(curve):
            reasons.add("two increases")
            assert (ran, trial.value) == (6, curve[3])
        else:
            reasons.add("finished")
            assert trial.value == min(curve)
    assert reasons == {"median", "two increases", "finished"}


def test_a_diverged_trial_is_pruned_at_its_last_finite_evaluation() -> None:
    table = made(noise=0.0, name="diverging")
    for config in range(len(table.points)):
        table.curves[config, 1, SHORT][3:] = []
    ended = simulation.search(unpruned(), World(table, 0, 0), 1, 3, seed=1)
    assert [t.state for t in ended] == [TrialState.PRUNED] * 3
    assert ended[-1].trained == 3 * steps_of(SHORT)[3]
    assert all(t.value == World(table, 0, 0).curve(t.point, SHORT, 0)[2] for t in ended)


@pytest.mark.parametrize("slots", [1, 4])
def test_a_seed_gives_one_search_and_another_seed_another(table: Table, slots: int) -> None:
    def points(seed: int) -> list[Ended]:
        return simulation.search(default(), World(table, 0, 0), slots, 12, seed)

    assert points(1) == points(1) != points(2)


@pytest.mark.parametrize(("slots", "trials"), [(1, 1), (4, 6), (9, 5)])
def test_no_more_trials_than_asked_for(table: Table, slots: int, trials: int) -> None:
    assert len(simulation.search(default(), World(table, 0, 0), slots, trials, seed=1)) == trials


def test_a_settled_search_starts_no_further_trial_and_its_running_ones_end(table: Table) -> None:
    settled = replace(strategies.by_name("the default, until settled"), sampler=strategies.random)
    ended = simulation.search(settled, World(table, 0, 0), 4, 40, seed=1)
    assert FEWEST <= len(ended) < 40
    whole = simulation.search(replace(settled, until_settled=False), World(table, 0, 0), 4, 40, seed=1)
    assert [t.point for t in ended[: len(ended) - 3]] == [t.point for t in whole[: len(ended) - 3]]


def test_the_former_way_is_one_of_what_is_compared_also_where_the_stock_rate_is_wrong(table: Table) -> None:
    former = strategies.by_name("the former way, stock rate x 4")
    assert former.share == 0.2 and former.stock.lr == pytest.approx(4 * STOCK.lr)
    found = simulation.follow([former.stock, table.points[12]], World(table, 0, 0), former.settings, 4)
    assert [point.lr for point, _ in found.runs] == pytest.approx([4e-3, *(RATES[12] * f for f in (1, 0.5, 0.25))])


def test_the_baselines_are_tried_first(table: Table) -> None:
    ended = simulation.search(default(median=False, two_increases=False), World(table, 0, 0), 1, 3, seed=1)
    baselines = [b.hyperparameters for b in default().settings.search_space().baselines]
    assert [t.point for t in ended][: len(baselines)] == baselines[:3]


def test_the_best_are_one_a_curve(table: Table) -> None:
    ended = [
        Ended(Hyperparameters(lr, 0.01), state, value, 20, 20.0)
        for lr, state, value in [
            (RATES[2], TrialState.COMPLETE, 2.4),
            (RATES[5] * 1.01, TrialState.COMPLETE, 2.3),
            (RATES[5], TrialState.COMPLETE, 2.2),
            (RATES[7], TrialState.PRUNED, 2.0),
            (RATES[9], TrialState.COMPLETE, 2.9),
        ]
    ]
    found = simulation.best(ended, 2, World(table, 0, 0))
    assert [(t.point.lr, t.value) for t in found] == [(RATES[5], 2.2), (RATES[2], 2.4)]


# The rate line and the race


def test_the_line_follows_the_turn_of_the_stock_recipe(table: Table) -> None:
    """A run at rate r of this table is at its lowest once its rates sum to TURN."""
    turning = made_turning()
    settings = settings_for(SHORT)
    found = simulation.follow([STOCK, Hyperparameters(4e-3, 0.01)], World(turning, 0, 0), settings, 2)
    rates = [point.lr for point, _ in found.runs]
    assert rates[0] == STOCK.lr and found.best.lr == pytest.approx(TURN / STEPS, rel=0.2)
    assert found.finalist == found.best
    assert found.spent.trained < len(rates) * STEPS, "runs that turned ended early"
    assert STEPS <= found.spent.clock <= found.spent.trained
    flat = simulation.follow([STOCK, Hyperparameters(GOOD, 0.01)], World(table, 0, 0), settings, 1)
    assert flat.runs[0][0] == STOCK and flat.best.lr == GOOD and flat.spent.clock == flat.spent.trained


TURN = 0.02


def made_turning() -> Table:
    turning = made(name="turning", noise=0.0)
    for (config, _, share), curve in turning.curves.items():
        lr = turning.points[config].lr
        times = [lr * step / TURN for step in steps_of(share)]
        curve[:] = [2 + 0.3 * abs(math.log(time)) + 0.01 * math.log10(lr / 1e-5) for time in times]
    return turning


def test_a_real_gain_is_proven_and_its_steps_are_counted(table: Table) -> None:
    settings, good = settings_for(SHORT), Hyperparameters(GOOD, 0.01)
    raced = simulation.prove(good, STOCK, World(table, 0, 0), settings, 1)
    assert raced.is_won and raced.spent == simulation.Spent(6 * STEPS, 6 * STEPS)  # after three seeds of each
    apart = simulation.prove(good, STOCK, World(table, 0, 0), settings, 2)
    assert apart.spent == simulation.Spent(6 * STEPS, 3 * STEPS)


def test_a_worse_config_is_out_after_its_first_seed_and_none_proves_nothing(table: Table) -> None:
    settings = settings_for(SHORT)
    raced = simulation.prove(Hyperparameters(RATES[0], 0.01), STOCK, World(table, 0, 0), settings, 1)
    assert not raced.is_won and raced.spent.trained == 2 * STEPS
    alone = simulation.prove(None, STOCK, World(table, 0, 0), settings, 1)
    assert not alone.is_won and alone.spent.trained == STEPS


# The measures


def checkpoint(
    trials: int, truth: float = 2.0, exported: float = 2.0, searched: int = 100, raced: int = 50
) -> Checkpoint:
    return Checkpoint(
        trials=trials,
        searched=searched,
        followed=20,
        raced=raced,
        clock=searched / 2,
        confirmed_clock=searched / 2 + raced,
        truth=truth,
        naive_win=True,
        exported_truth=exported,
        declares_win=False,
    )


def study(index: int = 0, **given: float) -> Study:
    return Study("made", index, [checkpoint(count, **given) for count in CHECKPOINTS], 2.5)  # type: ignore[arg-type]


MARK = Mark(2.0, 0.1, 1.9)


def test_the_cost_of_a_search_before_and_with_its_race() -> None:
    studies = [study(0, truth=2.05, exported=2.3, searched=100, raced=40), study(1, truth=2.2, exported=2.2, raced=0)]
    studies[1] = study(1, truth=2.2, exported=2.05, searched=300, raced=0)
    found = measures.cost_after(studies, MARK, 2)
    assert (found.trials, found.steps, found.confirmed) == (CHECKPOINTS[2], 220.0, 240.0)
    assert (found.reached, found.reached_confirmed) == (0.5, 0.5)


def test_the_fewest_steps_after_which_most_studies_hold_the_mark() -> None:
    points = [checkpoint(n, truth=2.0 if n >= 12 else 3.0, exported=3.0, searched=10 * n) for n in CHECKPOINTS]
    studies = [Study("made", 0, points, 2.5)]
    assert (found := measures.fewest(studies, MARK, False)).trials == 12 and found.steps == 140.0
    never = measures.fewest(studies, MARK, True)
    assert (never.confirmed, never.reached_confirmed) == (math.inf, 0.0)


def test_the_quality_of_what_is_exported() -> None:
    found = measures.quality([study(0, truth=2.0, exported=2.4), study(1, truth=2.2, exported=2.6)], MARK)
    assert (found.regret, found.regret_exported) == (pytest.approx(2.0), pytest.approx(6.0))
    assert (found.beats_stock, found.declares_win, found.naive_win) == (0.5, 0.0, 1.0)


def test_the_bound_of_a_share() -> None:
    assert measures.upper_bound(0, 58) == pytest.approx(1 - 0.05 ** (1 / 58))
    assert measures.upper_bound(5, 5) == 1.0
