"""What a warm start saves and costs, replayed on recorded curves: between like corpora and unlike ones, both ways.

    python -m benchmarks.warm_start           # the table of docs/experiments.md; --short is an eighth of it

Each pair of corpora has as many pairs of studies: a cold one on the first, and of its trials the project's own warm
start makes another on the second. Beside it the second is searched cold, with the same seeds and luck. The *target* is
the best value of the median cold search of 40 trials: a search's own aim, before any full run. The *mark* is that of
benchmarks.search, after the rate line. Some ten minutes of one core.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import optuna
from optuna.trial import TrialState

from benchmarks.curves.corpora import CORPORA
from benchmarks.figures import show
from benchmarks.replay import strategies, studies
from benchmarks.replay.measures import Mark, mark_of
from benchmarks.replay.simulation import Ended, best, follow, search
from benchmarks.replay.studies import TRIALS, read
from benchmarks.replay.world import World
from search.study import warm_start
from search.study.sampler import make_sampler
from search.study.storage import first_trials
from search.study.warm_start import Memory

STUDIES = 16  # on each pair
EARLIER = 1000  # the seeds of earlier studies begin here, so that none has the luck of a later one
SLOTS = 4
AFTER = (10, 20, 40)  # trials
ENDS = (5, 10, 20, 40)  # trials after which a search may end
REAL = "mboshi"  # recorded speech; the others are generated, and alike


@cache
def cold(corpus: str, index: int) -> list[Ended]:
    return search(strategies.default(), world_of(corpus, index), SLOTS, TRIALS, index)


def warm(corpus: str, index: int, memory: Memory) -> list[Ended]:
    """With what a study recalls of an earlier one."""
    default = strategies.default()
    earlier = warm_start.known(memory, default.settings.search_space())
    queue = tuple(warm_start.queue(memory, first_trials(default.settings)))
    strategy = replace(default, sampler=lambda seed: make_sampler(seed, 1, earlier), queue=queue)
    return search(strategy, world_of(corpus, index), SLOTS, TRIALS, index)


def memory_of(ended: Sequence[Ended]) -> Memory:
    """As `search.study.earlier` reads it from a database."""
    space = strategies.default().settings.search_space()
    done = sorted(t.value for t in ended if t.state == TrialState.COMPLETE and t.value is not None)
    trials = [
        {
            "study": "earlier",
            "number": number,
            "params": space.to_params(trial.point)[0],
            "rank": (done.index(trial.value) + 0.5) / len(done)
            if trial.state == TrialState.COMPLETE and trial.value is not None
            else None,
        }
        for number, trial in enumerate(ended)
    ]
    return {"studies": ["earlier"], "left_out": 0, "trials": trials}


def world_of(corpus: str, index: int) -> World:
    return World(read(corpus), index % 2, index)


def lowest(ended: Sequence[Ended]) -> float:
    """The best value of a search."""
    return min((t.value for t in ended if t.state == TrialState.COMPLETE and t.value is not None), default=math.inf)


@cache
def target(corpus: str, order: int, count: int) -> float:
    """Of the studies that see this recorded seed first: which one it is moves all values."""
    return statistics.median(lowest(cold(corpus, i)) for i in range(order, count, 2))


def trials_to(ended: Sequence[Ended], value: float) -> int:
    """How many trials reach it; one more than there are where none does."""
    return next((n for n in range(1, len(ended) + 1) if lowest(ended[:n]) <= value), len(ended) + 1)


def steps_to(mark: Mark, corpus: str, index: int, ended: Sequence[Ended]) -> float:
    """Optimizer steps of trials and rate line, of the shortest search whose best config holds the mark."""
    world, strategy = world_of(corpus, index), strategies.default()
    steps = 0
    for count in ENDS:
        completed = best(ended[:count], strategy.settings.confirm.top, world)
        found = follow([strategy.stock, *(t.point for t in completed)], world, strategy.settings, SLOTS)
        steps = ended[count - 1].trained + found.spent.trained
        if world.truth(found.best) <= mark.value:
            break
    return steps


@cache
def mark(corpus: str, count: int) -> Mark:
    return mark_of(corpus, [studies.run(strategies.reference(), corpus, False, SLOTS, i) for i in range(count)])


def compare(source: str, corpus: str, count: int) -> dict[str, list[float]]:
    """Warm minus cold, by study: trials to the target, best values in % of the cold gain, steps to the mark."""
    found: dict[str, list[float]] = {}
    for index in range(count):
        both = (cold(corpus, index), warm(corpus, index, memory_of(cold(source, EARLIER + index))))
        aim = target(corpus, index % 2, count)
        percent = (read(corpus).base - aim) / 100
        measured = {"trials to the target": [float(trials_to(ended, aim)) for ended in both]}
        measured |= {f"best after {n}, % of the gain": [lowest(ended[:n]) / percent for ended in both] for n in AFTER}
        measured["steps to the mark"] = [steps_to(mark(corpus, count), corpus, index, ended) for ended in both]
        for name, (before, after) in measured.items():
            found.setdefault(name, []).append(after - before)
    return found


def paired(differences: Sequence[float]) -> tuple[float, float]:
    """(mean, half of its 95 % interval)."""
    return statistics.fmean(differences), 1.96 * statistics.stdev(differences) / math.sqrt(len(differences))


def row(name: str, found: dict[str, list[float]]) -> str:
    cells = ("{:+.1f} ± {:.1f}".format(*paired(values)) for values in found.values())
    return f"| {name} | {' | '.join(cells)} |"


def joined(parts: Sequence[dict[str, list[float]]]) -> dict[str, list[float]]:
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    count = STUDIES // 8 if given.short else STUDIES
    groups: dict[str, list[dict[str, list[float]]]] = {"the same": [], "alike": [], "unlike": []}
    for source in CORPORA:
        for corpus in CORPORA:
            group = "the same" if source == corpus else "unlike" if REAL in (source, corpus) else "alike"
            groups[group].append(found := compare(source, corpus, count))
            if source == corpus == next(iter(CORPORA)):
                print(f"| warm minus cold | {' | '.join(found)} |\n{'|---' * (len(found) + 1)}|")
            print(row(f"{source} → {corpus}", found), flush=True)
    figures: dict[str, float] = {}
    for group, parts in groups.items():
        print(row(f"**{group}**", joined(parts)))
        figures |= {f"{group}: {name}": paired(values)[0] for name, values in joined(parts).items()}
    for corpus in CORPORA:
        needed = [trials_to(cold(corpus, i), target(corpus, i % 2, count)) for i in range(count)]
        figures[f"{corpus}, cold: trials to the target"] = statistics.fmean(needed)
    show("warm_start --short" if given.short else "warm_start", figures, given.record)


if __name__ == "__main__":
    main()
