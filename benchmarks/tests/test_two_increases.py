"""What the two-increase rule takes and saves, on curves made by hand and on the recorded ones."""

import statistics

import pytest

from benchmarks.curves.corpora import FULL
from benchmarks.curves.record import steps_of
from benchmarks.curves.table import Table, read
from benchmarks.two_increases import HELD_OUT, NOTICED, Run, of_mean_gain, ours, runs
from space.hyperparameters import Hyperparameters

BASE = 6.0


@pytest.mark.parametrize(
    ("values", "lost", "saved", "turned"),
    [
        ([5.0, 4.0, 3.0, 2.0], 0.0, 0.0, False),
        ([4.0, 2.0, 3.0, 4.0, 5.0], 0.0, 0.2, True),
        ([4.0, 2.0, 3.0, 4.0, 1.0], 1.0, 0.2, False),
        ([5.0, 4.0, 2.0, 3.0, 4.0], 0.0, 0.0, True),  # not asked at the end
    ],
)
def test_what_a_run_loses_and_saves(values: list[float], lost: float, saved: float, turned: bool) -> None:
    run = Run(values, True)
    assert run.ended(ours(), BASE) == (lost, pytest.approx(saved))
    assert run.turned == turned


def test_good_runs_are_those_of_the_best_fifth_of_the_configs() -> None:
    """A full run is as good as its config, so that a lucky seed of a bad one is not."""
    points = [Hyperparameters(1e-4 * (i + 1), 0.01) for i in range(10)]
    curves = {
        (config, seed, FULL): [3.0 + config + (-5 if (config, seed) == (9, 2) else 0) for _ in steps_of(FULL)]
        for config in range(10)
        for seed in (1, 2)
    }
    curves[8, 2, FULL] = curves[8, 2, FULL][:3]  # diverged
    found = runs(Table("by hand", points, BASE, curves, 10), FULL, 10)
    assert len(found) == 19 and {len(run.values) for run in found} == {10}
    assert sorted(run.values[0] for run in found if run.is_good) == [3.0, 3.0, 4.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize("corpus", ["amharic-small", "amharic-large", "mboshi"])
def test_the_default_spoils_hardly_a_good_run_and_saves_about_what_0_02_nats_did(corpus: str) -> None:
    table = read(corpus)
    found = runs(table, FULL, 10)
    auto, before = ([run.ended(rule, table.base) for run in found] for rule in (ours(), ours(min_delta=0.02)))
    spoilt = [lost > NOTICED for (lost, _), run in zip(auto, found, strict=True) if run.is_good]
    assert statistics.fmean(spoilt) <= 0.01
    # On mboshi, where few runs overfit, it saves a little less: what the number ends there are also good runs.
    assert statistics.fmean(saved for _, saved in auto) > statistics.fmean(saved for _, saved in before) - 0.005
    for run in found:
        assert run.ended(of_mean_gain(0.5), table.base) == run.ended(ours(), table.base)


def test_the_held_out_run_ends_before_its_horizon() -> None:
    base, values = HELD_OUT
    assert Run(values, True).ended(ours(min_delta=0.02), base) == (0.0, 0.0)
    assert Run(values, True).ended(ours(), base) == (0.0, pytest.approx(0.1))
