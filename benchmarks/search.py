"""What a search saves, replayed on recorded curves: steps to a good config, regret, real wins and false ones.

    python -m benchmarks.search              # the table of docs/experiments.md; --short is a tenth of it
    python -m benchmarks.search --vary       # the default with one setting changed at a time, in fewer studies
    python -m benchmarks.search --slots 16   # and 1; the table has 4

Every strategy searches the same worlds (benchmarks/replay/world.py) in as many seeded studies. The quality of a config
is the mean of the lowest evaluations of its full runs. The mark is the quality of the best of 40 unpruned full-length
random runs, in the median study, and one deviation between seeds.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import optuna

from benchmarks.curves.corpora import CORPORA, STEPS
from benchmarks.figures import show
from benchmarks.replay import strategies
from benchmarks.replay.measures import BUDGET, Mark, best_checkpoint, marks, quality, steps_to_mark
from benchmarks.replay.simulation import Strategy
from benchmarks.replay.studies import Study, read, run
from benchmarks.replay.world import truths

# The law of size: a training step takes 6 floating-point operations a parameter and token (Kaplan et al. 2020).
PARAMETERS = 442.8e6  # of XTTS-v2's GPT with 7,528 text tokens
TOKENS = 16 * 350  # of a step: 16 clips with 32 latents, some 60 tokens of text and 255 of audio
FLOPS = 40e12  # sustained on one GPU, assumed
FULL_RUN = 1270  # optimizer steps: ten epochs of 2,020 clips

STUDIES = 210  # of a strategy, over all corpora
NULL = 3  # of so many studies one is of a null world, of the default every one


def _one(name: str, corpus: str, null: bool, slots: int, index: int) -> Study:
    """By its name: what makes samplers and pruners does not cross processes."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return run(strategies.by_name(name), corpus, null, slots, index)


class Replays:
    """Studies of strategies, run once each on all cores."""

    def __init__(self, count: int, slots: int, corpora: Sequence[str]) -> None:
        self._each = math.ceil(count / len(corpora))
        self._slots, self._corpora = slots, corpora
        self._pool = ProcessPoolExecutor(os.cpu_count())

    def of(self, strategy: Strategy, null: bool = False, share: float = 1.0) -> list[Study]:
        each = math.ceil(share * self._each)
        jobs = [(strategy.name, c, null, self._slots, i) for c, i in product(self._corpora, range(each))]
        return list(self._pool.map(_one, *zip(*jobs, strict=True), chunksize=4))


def row(studies: list[Study], null: list[Study], mark: dict[str, Mark]) -> dict[str, float]:
    """The figures of a strategy; savings are factors against 40 unpruned full-length runs."""
    search, confirmed = (best_checkpoint(studies, mark, c) for c in (False, True))
    found = quality(studies, mark)
    lies = quality(null, mark)
    return {
        "all 40 trials, steps": sum(s.checkpoints[-1].trained for s in studies) / len(studies),
        "steps to the mark": steps_to_mark(studies, mark) if studies[0].anytime else search.steps,
        "trials, confirmed": confirmed.trials,
        "steps, confirmed": confirmed.steps,
        "time, confirmed": confirmed.clock,
        "reached, 40 trials": _reached(studies, mark, False),
        "reached, 40 trials, confirmed": _reached(studies, mark, True),
        "regret": found.regret,
        "regret, confirmed": found.regret_confirmed,
        "beats stock": found.beats_stock,
        "says so": found.declares_win,
        "false wins": lies.declares_win,
        "false wins, unconfirmed": lies.naive_win,
    }


def _reached(studies: list[Study], mark: dict[str, Mark], confirmed: bool) -> float:
    good = [
        (s.checkpoints[-1].confirmed_truth if confirmed else s.checkpoints[-1].truth) <= mark[s.corpus].value
        for s in studies
    ]
    return sum(good) / len(good)


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
    if any(word in name for word in ("steps", "time")):
        return f"{value:,.0f} ({BUDGET / value:.1f}x)" if "steps" in name else f"{value:,.0f}"
    if "regret" in name:
        return f"{value:.2f}"
    return f"{value:.0f}" if name.startswith("trials") else f"{value:.1%}"


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
    replays = Replays(
        given.studies or (21 if given.short else 63 if given.vary else STUDIES), given.slots, given.corpora
    )
    reference = replays.of(strategies.unpruned("random, unpruned", strategies.random))
    mark = marks(reference)
    for corpus, found in mark.items():
        stock = truths(read(corpus))[0]
        print(
            f"{corpus}: base {read(corpus).base:.4f}, stock {stock:.4f}, best of all {found.lowest:.4f}, best of 40"
            f" random {found.best_of_40:.4f}, deviation between seeds {found.deviation:.4f}, mark {found.value:.4f}"
        )
    chosen = strategies.varied() if given.vary else strategies.compared()
    if given.short:
        chosen = [s for s in chosen if s.name in (strategies.DEFAULT, "random, unpruned", "TPE + median")]
    rows = {}
    for strategy in chosen:
        if given.only and given.only not in strategy.name:
            continue
        began = time.monotonic()
        null = replays.of(strategy, null=True, share=1.0 if strategy.name == strategies.DEFAULT else 1 / NULL)
        rows[strategy.name] = row(replays.of(strategy), null, mark)
        print(f"{strategy.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(rows))
    for name, values in rows.items():
        steps = values["all 40 trials, steps"], values["steps, confirmed"]
        print(f"{name}: {' and '.join(f'{gpu_hours(s):.1f}' for s in steps)} GPU hours for 40 trials, and confirmed")
    if not given.vary:
        own = rows[strategies.DEFAULT]
        figures = {
            "saving, search (factor)": BUDGET / own["steps to the mark"],
            "saving, confirmed (factor)": BUDGET / own["steps, confirmed"],
            "false wins (share)": own["false wins"],
        }
        show("search --short" if given.short else "search", figures, given.record)


if __name__ == "__main__":
    main()
