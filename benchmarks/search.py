"""What a search saves, replayed on recorded curves: steps to a good config, regret, real wins and false ones.

    python -m benchmarks.search              # the tables of docs/experiments.md; --short is a tenth of them
    python -m benchmarks.search --vary       # the default with one setting changed at a time, in fewer studies
    python -m benchmarks.search --slots 16   # and 1; the tables have 4

Every strategy searches the same worlds (benchmarks/replay/world.py) in as many seeded studies, a table a corpus. The
quality of a config is the mean of the lowest evaluations of its full runs. The mark is the quality of the best of 40
unpruned full-length random runs, in the median study, and one deviation between seeds. *Fewest* are the steps of the
shortest search after which nine of ten studies hold the mark.
"""

import argparse
import math
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import optuna

from benchmarks.curves.corpora import CORPORA, STEPS
from benchmarks.figures import show
from benchmarks.replay import strategies
from benchmarks.replay.measures import BUDGET, Mark, cost_after, fewest, mark_of, quality, upper_bound
from benchmarks.replay.simulation import Strategy, prove
from benchmarks.replay.studies import Study, race_of_equals, read, run
from benchmarks.replay.world import World, truths

# The law of size: a training step takes 6 floating-point operations a parameter and token (Kaplan et al. 2020).
PARAMETERS = 442.8e6  # of XTTS-v2's GPT with 7,528 text tokens
TOKENS = 16 * 350  # of a step: 16 clips with 32 latents, some 60 tokens of text and 255 of audio
FLOPS = 40e12  # sustained on one GPU, assumed
FULL_RUN = 1270  # optimizer steps: ten epochs of 2,020 clips

STUDIES = 210  # of the default and of the reference, on each corpus
RIVALS = 3  # of so many of them each other strategy has one
RACES = 2000  # of equals, and of a real gain
GAIN = 4.0  # deviations between seeds


def _one(name: str, corpus: str, null: bool, slots: int, index: int) -> Study:
    """By its name: what makes samplers and pruners does not cross processes."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return run(strategies.by_name(name), corpus, null, slots, index)


class Replays:
    """Studies of strategies on one corpus, run on all cores."""

    def __init__(self, pool: ProcessPoolExecutor, corpus: str, count: int, slots: int) -> None:
        self._pool, self._corpus, self._count, self._slots = pool, corpus, count, slots

    def of(self, strategy: Strategy, share: float = 1.0) -> list[Study]:
        jobs = [(strategy.name, self._corpus, False, self._slots, i) for i in range(math.ceil(share * self._count))]
        return list(self._pool.map(_one, *zip(*jobs, strict=True), chunksize=4))

    def races(self, count: int, gain: float) -> int:
        """How many of so many races declare a win, where all configs but the stock recipe have that gain."""
        jobs = [(self._corpus, i, gain) for i in range(count)]
        return sum(self._pool.map(race_of_equals, *zip(*jobs, strict=True), chunksize=20))


def row(studies: list[Study], mark: Mark) -> dict[str, float]:
    """The figures of a strategy on a corpus; savings are factors against 40 unpruned full-length runs."""
    all_trials = cost_after(studies, mark, -1)
    search, confirmed = (fewest(studies, mark, c) for c in (False, True))
    found = quality(studies, mark)
    return {
        "trials": statistics.median(study.checkpoints[-1].trials for study in studies),
        "40 trials, steps": all_trials.steps,
        "reached": all_trials.reached,
        "confirmed, steps": all_trials.confirmed,
        "reached, confirmed": all_trials.reached_confirmed,
        "fewest trials": search.trials,
        "fewest steps": search.steps,
        "fewest trials, confirmed": confirmed.trials,
        "fewest confirmed, steps": confirmed.confirmed,
        "regret": found.regret,
        "regret, exported": found.regret_exported,
        "beats stock": found.beats_stock,
        "says so": found.declares_win,
        "would say so unproven": found.naive_win,
    }


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    names = list(next(iter(rows.values())))
    lines = [f"| strategy | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for name, values in rows.items():
        lines.append(f"| {name} | " + " | ".join(_figure(n, values[n]) for n in names) + " |")
    return "\n".join(lines)


def gpu_hours(steps: float) -> float:
    """Of XTTS-v2 by the law of size, where the recorded full runs stand for `FULL_RUN` optimizer steps."""
    return steps * FULL_RUN / STEPS * 6 * PARAMETERS * TOKENS / FLOPS / 3600


def _figure(name: str, value: float) -> str:
    if math.isinf(value):
        return "never"
    if "steps" in name:
        return f"{value:,.0f} ({BUDGET / value:.1f}x)"
    if "regret" in name:
        return f"{value:.2f}"
    return f"{value:.0f}" if "trials" in name else f"{value:.1%}"


def oracle(corpus: str, count: int) -> float:
    """Mean steps of who knows the best recorded config, and only races it with the stock recipe."""
    strategy, recorded = strategies.default(), read(corpus)
    best = recorded.points[min(range(len(recorded.points)), key=truths(recorded).__getitem__)]
    worlds = (World(recorded, i % 2, i) for i in range(count))
    raced = [prove(best, strategy.stock, world, strategy.settings, 1) for world in worlds]
    return sum(found.spent.trained for found in raced) / count


def show_corpus(pool: ProcessPoolExecutor, corpus: str, given: argparse.Namespace) -> dict[str, float]:
    """Prints the table of a corpus; returns the default's figures, none where `--only` leaves it out."""
    count = given.studies or (21 if given.short else 63 if given.vary else STUDIES)
    replays = Replays(pool, corpus, count, given.slots)
    mark, recorded = mark_of(corpus, replays.of(strategies.reference())), read(corpus)
    print(
        f"\n{corpus}: base {recorded.base:.4f}, stock {truths(recorded)[0]:.4f}, best of all {mark.lowest:.4f}, best of"
        f" 40 random {mark.best_of_40:.4f}, deviation between seeds {mark.deviation:.4f}, mark {mark.value:.4f};"
        f" an oracle's race {oracle(corpus, count):.0f} steps"
    )
    chosen = strategies.varied() if given.vary else [*strategies.compared(), *strategies.wrong()]
    if given.short:
        chosen = [s for s in chosen if s.name in (strategies.DEFAULT, "random, unpruned", "TPE + Hyperband")]
    rows = {}
    for strategy in chosen:
        if given.only and given.only not in strategy.name:
            continue
        began = time.monotonic()
        share = 1.0 if strategy.name in (strategies.DEFAULT, strategies.reference().name) else 1 / RIVALS
        rows[strategy.name] = row(replays.of(strategy, share), mark)
        print(f"{corpus}, {strategy.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(rows))
    if (own := rows.get(strategies.DEFAULT)) is None:
        return {}
    hours = (f"{gpu_hours(own[name]):.1f}" for name in ("40 trials, steps", "confirmed, steps"))
    print(f"the default: {' and '.join(hours)} GPU hours for 40 trials and a rate line, and confirmed")
    if not given.vary:
        races = 100 if given.short else RACES
        false, true = (replays.races(races, gain) for gain in (0.0, GAIN))
        bound = upper_bound(false, races)
        print(f"of {races} races of equals {false / races:.1%} are won (at most {bound:.1%} with 95 % confidence);")
        print(f"of {races} with a gain of {GAIN:g} deviations {true / races:.1%}")
        own |= {"false wins": false / races}
    return own


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--vary", action="store_true")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--studies", type=int)
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=CORPORA)
    parser.add_argument("--only", help="strategies whose names have this in them")
    given = parser.parse_args()
    figures: dict[str, float] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for corpus in given.corpora:
            if own := show_corpus(pool, corpus, given):
                figures |= {
                    f"{corpus}: saving before the race (factor)": BUDGET / own["40 trials, steps"],
                    f"{corpus}: saving, confirmed (factor)": BUDGET / own["confirmed, steps"],
                    f"{corpus}: false wins (share)": own.get("false wins", 0.0),
                }
    if figures and not given.vary:
        show("search --short" if given.short else "search", figures, given.record)


if __name__ == "__main__":
    main()
