"""What the two-increase rule costs good runs and saves on others, for the rules that were tried. `benchmarks.facts`.

A rule says whether the last of some evaluations ends a run, given the base's evaluation. Rejected ones live
here alone.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.curves.corpora import EVALUATIONS, FULL, SHARES
from benchmarks.curves.table import Table
from benchmarks.replay.world import truths
from search.study.noise import seed_sd
from search.study.pruners import TwoIncreasePruner, rises

Rule = Callable[[float, Sequence[float]], bool]

NOTICED = 0.005  # nats: a run that loses more is spoilt
TEST = ("amharic-10", "amharic-50")  # no rule was chosen on these
# The real speech that today's rule did not end: the evaluations after the lowest are given, those before are likely.
HELD_OUT = (3.76, (2.6, 2.0, 1.75, 1.65, 1.61, 1.59, 1.596, 1.605, 1.618, 1.622))
HELD_OUT_DEVIATION = 0.006  # between its seeds


def ours(n_increases: int = 2, min_delta: float | None = None) -> Rule:
    """The project's rule; "auto" without a `min_delta`."""

    def ends(base: float, values: Sequence[float]) -> bool:
        return TwoIncreasePruner(n_increases, "auto" if min_delta is None else min_delta, base).fires(values)

    return ends


def above_lowest(limit: Callable[[float, Sequence[float]], float]) -> Rule:
    """Two rises that end more than `limit` above the lowest, or three of any size."""

    def ends(base: float, values: Sequence[float]) -> bool:
        count = rises(values)
        return count > 2 or (count == 2 and values[-1] - min(values) > limit(base, values))

    return ends


def of_gain(share: float) -> Rule:
    """Of all that was gained since the base."""
    return above_lowest(lambda base, values: share * max(0.0, base - min(values)))


def of_mean_gain(share: float) -> Rule:
    """Of what an evaluation gained on average up to the lowest; a half is the project's rule."""
    return above_lowest(lambda base, values: share * max(0.0, base - min(values)) / (values.index(min(values)) + 1))


def of_seeds(deviation: float, factor: float) -> Rule:
    """Of the deviation between seeds, which a study with repeats measures."""
    return above_lowest(lambda _, __: factor * deviation)


def of_roughness(factor: float) -> Rule:
    """Of the run's own noise: the median of its second differences, as a standard deviation."""

    def limit(base: float, values: Sequence[float]) -> float:
        all_values = [base, *values]
        bends = [abs(a - 2 * b + c) for a, b, c in zip(all_values, all_values[1:], all_values[2:], strict=False)]
        return factor * statistics.median(bends) / 0.6745 / math.sqrt(6)

    return above_lowest(limit)


def undone(count: int) -> Rule:
    """Above where the run stood `count` evaluations before its lowest."""

    def limit(base: float, values: Sequence[float]) -> float:
        at = values.index(min(values)) + 1  # in the values with the base before them
        return [base, *values][max(0, at - count)] - min(values)

    return above_lowest(limit)


def tried(deviation: float) -> dict[str, Rule]:
    return {
        "two rises": ours(min_delta=0.0),
        "three rises": ours(3, 0.0),
        "two, 0.02 each": ours(min_delta=0.02),
        "two, a seed deviation each": ours(min_delta=deviation),
        "auto": ours(),
        "auto, n_increases 3": ours(3),
        "0.35 of the mean gain": of_mean_gain(0.35),
        "0.45 of the mean gain": of_mean_gain(0.45),
        "0.6 of the mean gain": of_mean_gain(0.6),
        "the mean gain": of_mean_gain(1.0),
        "5 % of the gain": of_gain(0.05),
        "10 % of the gain": of_gain(0.1),
        "2 seed deviations": of_seeds(deviation, 2.0),
        "the roughness x2": of_roughness(2.0),
        "the last gain undone": undone(1),
        "the last two undone": undone(2),
    }


@dataclass(frozen=True)
class Run:
    """Evaluations of a run to its end, and whether it is among the best fifth."""

    values: Sequence[float]
    is_good: bool

    @property
    def turned(self) -> bool:
        """Whether its lowest evaluation lies in the first three quarters, and its end above."""
        low = min(self.values)
        return self.values.index(low) + 1 < 0.75 * len(self.values) and self.values[-1] > low

    def ended(self, rule: Rule, base: float) -> tuple[float, float]:
        """(nats lost, share of the run saved) by `rule`, which is not asked at the end."""
        for count in range(1, len(self.values)):
            if rule(base, self.values[:count]):
                return min(self.values[:count]) - min(self.values), 1 - count / len(self.values)
        return 0.0, 0.0


def runs(table: Table, share: float, evaluations: int) -> list[Run]:
    """Of one length, evaluated so often. A full run is as good as its config, a truncated one as its own lowest."""
    every = EVALUATIONS[share] // evaluations
    whole = {
        (config, seed): curve[every - 1 :: every]
        for (config, seed, length), curve in table.curves.items()
        if length == share and len(curve) == EVALUATIONS[share]
    }
    true = truths(table)
    quality = {key: true[key[0]] if share == FULL else min(curve) for key, curve in whole.items()}
    ranked = sorted(true if share == FULL else quality.values())
    return [Run(curve, quality[key] <= ranked[len(ranked) // 5]) for key, curve in whole.items()]


def lengths() -> Iterator[tuple[float, int]]:
    """(share of a full run, evaluations)."""
    yield from ((FULL, 10), (FULL, 20))
    for share in SHARES:
        yield share, EVALUATIONS[share]
        if EVALUATIONS[share] == 10:
            yield share, 5


def deviation_of(table: Table) -> float:
    """Between the lowest evaluations of full runs that differ in their seed alone, of the better half; 0 without."""
    true = truths(table)
    better = [config for config, value in enumerate(true) if value <= statistics.median(true)]
    groups = [[min(table.curves[config, seed, FULL]) for seed in table.seeds_of(config)] for config in better]
    return seed_sd(groups)[0] or 0.0


def show_two_increases(tables: Sequence[Table]) -> None:
    """A table for each length of run: where rules were chosen, and apart from it where they were tested."""
    for share, evaluations in lengths():
        for tested in (False, True):
            found = [(table, runs(table, share, evaluations)) for table in tables if (table.corpus in TEST) == tested]
            found = [(table, of) for table, of in found if of]
            if found:
                title = f"{'tested' if tested else 'chosen'} on: {share:g} of a run, {evaluations} evaluations"
                _show(f"{title}; good runs: spoilt, saved; others: saved; turned: saved (%)", found)
    base, values = HELD_OUT
    print("\nEvaluations of 10 until the held-out run ends:")
    for name, rule in tried(HELD_OUT_DEVIATION).items():
        print(f"  {name}: {next((n for n in range(1, 10) if rule(base, values[:n])), 10)}")


def _show(title: str, found: Sequence[tuple[Table, Sequence[Run]]]) -> None:
    print(f"\n| {title} | " + " | ".join(f"{table.corpus}, {len(of)} runs" for table, of in found) + " |")
    print("|---" * (len(found) + 1) + "|")
    rules = [(table, of, tried(deviation_of(table))) for table, of in found]
    for name in tried(0.0):
        print(f"| {name} | " + " | ".join(_cell(known[name], table.base, of) for table, of, known in rules) + " |")


def _cell(rule: Rule, base: float, found: Sequence[Run]) -> str:
    ends = [(run, *run.ended(rule, base)) for run in found]
    parts = [
        [lost > NOTICED for run, lost, _ in ends if run.is_good],
        [saved for run, _, saved in ends if run.is_good],
        [saved for run, _, saved in ends if not run.is_good],
        [saved for run, _, saved in ends if run.turned],
    ]
    spoilt, good, others, turned = (100 * statistics.fmean(part) if part else math.nan for part in parts)
    return f"{spoilt:.1f}, {good:.0f}; {others:.1f}; {turned:.1f}"
