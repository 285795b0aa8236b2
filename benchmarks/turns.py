"""Where full runs turn, and where a line of corrections ends: `python -m benchmarks.turns`, for docs/experiments.md.

Of the constant rates, which were recorded with eight seeds. The rules were chosen on three corpora and the first four
seeds; the other seeds and corpora are the test.
"""

import math
import statistics
from collections.abc import Sequence

from benchmarks.curves.corpora import CORPORA, EVALUATIONS, FULL, VARIANTS, Corpus
from benchmarks.curves.table import Table, read
from benchmarks.replay.simulation import full_rule, line_run
from search.confirmation.candidates import Candidate
from search.confirmation.rate_line import LineRun, rate_line
from search.settings.settings import Settings
from search.trial import evaluation_steps
from space.hyperparameters import Hyperparameters

CHOSEN_ON = ("amharic-small", "amharic-large", "mboshi")
CHOSEN_SEEDS = (1, 2, 3, 4)


def unstopped(table: Table, corpus: Corpus, config: int, seed: int) -> LineRun:
    """A recorded full run at all its evaluations."""
    curve = table.curves[config, seed, FULL]
    steps = evaluation_steps(corpus.steps, EVALUATIONS[FULL])[: len(curve)]
    return LineRun(table.points[config], corpus.steps, steps, curve, diverged=len(curve) < EVALUATIONS[FULL])


def show_turns(corpora: Sequence[Corpus]) -> None:
    """Of runs that turned before three quarters of their length."""
    print("| corpus | clips | batch | steps | rate: runs that turned, median step, sum of rates | median | a clip |")
    print("|---" * 7 + "|")
    for corpus in corpora:
        table, told, all_times = read(corpus.name), [], []
        for config in range(table.design, len(table.points)):
            runs = [unstopped(table, corpus, config, seed) for seed in table.seeds_of(config)]
            turned = [run for run in runs if run.turned and not run.diverged]
            if len(turned) * 2 <= len(runs):
                continue
            time = statistics.median(run.time for run in turned)
            all_times.append(time)
            step = statistics.median(run.step for run in turned)
            told.append(f"{table.points[config].lr:.1e}: {len(turned)}/{len(runs)}, {step:.0f}, {time:.3g}")
        median = statistics.median(all_times) if all_times else math.nan
        print(
            f"| {corpus.name} | {corpus.train_clips} | {corpus.batch_size} | {corpus.steps} | {'; '.join(told)}"
            f" | {median:.3g} | {median / corpus.train_clips:.2g} |"
        )


class Rates:
    """The constant rates of a corpus; any rate has the curve of the nearest."""

    def __init__(self, corpus: str) -> None:
        self.table = read(corpus)
        self.configs = range(self.table.design, len(self.table.points))

    def nearest(self, point: Hyperparameters) -> int:
        return min(self.configs, key=lambda config: abs(math.log(self.table.points[config].lr / point.lr)))

    def truth(self, config: int) -> float:
        values = (self.table.curves[config, seed, FULL] for seed in self.table.seeds_of(config))
        return statistics.fmean(min(curve) if len(curve) == EVALUATIONS[FULL] else math.inf for curve in values)

    def deviation(self) -> float:
        """Between seeds, at the best rate."""
        best = min(self.configs, key=self.truth)
        return statistics.stdev(min(self.table.curves[best, seed, FULL]) for seed in self.table.seeds_of(best))

    def end(self, start: int, seed: int, settings: Settings) -> int:
        """The config at which a line from `start` ends, by runs with one seed."""
        rule, named, ended = full_rule(settings, self.table.base), [Candidate("start", self.table.points[start])], {}
        while missing := (line := rate_line(named, ended, 100)).missing:
            for config in missing:
                curve = self.table.curves[self.nearest(config.point), seed, FULL]
                run, _ = line_run(config.point, curve, rule, settings.training.full_evaluations)
                ended[config.name] = run
        return self.nearest(min(line.runs, key=line.lowest).point)


def show_lines() -> None:
    """How far above the best rate a line ends that starts at each, in deviations between seeds."""
    print("\n| corpus | seeds | start: median of the start, of the end, worst end | all ends, median | starts |")
    print("|---" * 5 + "|")
    settings = Settings()
    for name in CORPORA:
        rates = Rates(name)
        lowest, deviation = min(map(rates.truth, rates.configs)), rates.deviation()
        for seeds, kind in ((CHOSEN_SEEDS, "chosen on"), ((5, 6, 7, 8), "unused")):
            kind = kind if name in CHOSEN_ON else "unused corpus"
            told, every, starts = [], [], []
            for start in rates.configs:
                ends = [(rates.truth(rates.end(start, seed, settings)) - lowest) / deviation for seed in seeds]
                own = (rates.truth(start) - lowest) / deviation
                every += ends
                starts.append(own)
                rate = rates.table.points[start].lr
                told.append(f"{rate:.1e}: {own:.1f}, {statistics.median(ends):.1f}, {max(ends):.1f}")
            print(
                f"| {name} | {seeds[0]}-{seeds[-1]}, {kind} | {'; '.join(told)} | {statistics.median(every):.2f}"
                f" | {statistics.median(starts):.2f} |"
            )


def main() -> None:
    show_turns([*CORPORA.values(), *VARIANTS.values()])
    show_lines()


if __name__ == "__main__":
    main()
