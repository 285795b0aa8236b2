"""Our search against the stock way, in one run: `python -m benchmarks.throughput [--short] [--record] [--no-speech]`.

Ours is a real search of the miniature, as `study.py` runs it in a pipe: fork server, SQLite, two slots on a CPU. The
stock way is a fresh process a trial, which imports TTS and runs coqui's recipe up to `Trainer.fit()`, two at a time.

*Equal work*: the trials of a search without pruning, and the stock way for the first of them, with the same values,
seeds, batches, optimizer steps and as many evaluations at the same steps, which are the ends of stock's epochs. *As a
user has it*: the default settings, pruning included, and the start of the search. What is not equal:

* in stock's favour: an extended vocabulary and recordings of the right rate are made for it beforehand; it does not
  evaluate the base first, as its recipe would, and speaks no test sentences after each epoch, while a trial of ours
  speaks one at its end (not with `--no-speech`); an evaluation of ours takes a train probe beside the eval set; files
  that stock replaced are not counted;
* in ours: data and base are prepared, as from a study's second start on. The first takes seconds more, once.

What a step costs outside the model is measured in processes of each way for the same trials, two at a time
(`ways.meter`): user and system time of a process and its loader's workers in the training loop, without evaluations,
less what the training's forward, backward and the optimizer's update took. `--full-size` measures that alone, on a base
of XTTS-v2's size with random weights, one process at a time: 13 GB of memory, some ten minutes.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.figures import show
from benchmarks.ways.full_size import full_size
from benchmarks.ways.run import SLOTS, new_folder, ours, refuse_unequal, run_alone, search, stock
from benchmarks.ways.search import PARTS
from search.trial import TrialSpec


@dataclass(frozen=True)
class Form:
    """How much is run."""

    epochs: int  # of the miniature's full run; a trial is a fifth of it
    ours: int  # trials of the search of equal work
    stock: int
    user: int  # trials of the search as a user has it

    @property
    def settings(self) -> dict[str, Any]:
        """Of equal work: no pruning, and an evaluation at the end of each of stock's epochs."""
        return {
            "training.epochs": self.epochs,
            "training.truncation": 0.2,
            "training.evaluations": self.epochs // 5,
            "pruning.median": False,
            "pruning.two_increases": False,
            "study.trials": self.ours,
        }


FULL, SHORT = Form(40, 8, 4, 40), Form(20, 2, 2, 2)


def shares(trials: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What share of the slots' time went into each part."""
    names = trials[0]["parts"]
    seconds = {name: sum(trial["parts"][name] for trial in trials) for name in names}
    return {name: spent / sum(seconds.values()) for name, spent in seconds.items()}


def outside(found: Mapping[str, float]) -> float:
    return 1 - found["training"] - found["evaluation"]


def seconds_a_trial(trials: Sequence[Mapping[str, Any]]) -> float:
    """Of a slot, once the search has begun."""
    return fmean(sum(trial["parts"].values()) for trial in trials)


def print_parts(title: str, trials: Sequence[Mapping[str, Any]]) -> None:
    print(f"\nTime of the slots, {title}: {len(trials)} trials of {seconds_a_trial(trials):.2f} s\n")
    print("| part | what | seconds a trial | share |\n|---|---|---|---|")
    for name, share in shares(trials).items():
        seconds = fmean(trial["parts"][name] for trial in trials)
        print(f"| {name} | {PARTS[name]} | {seconds:.3f} | {share:.1%} |")
    print(f"\noutside training and evaluation: {outside(shares(trials)):.1%}\n", flush=True)


def miniature(form: Form, folder: Path, speech: bool) -> dict[str, float]:
    quiet = {} if speech else {"speech.sentences": 0}
    run_alone("benchmarks.ways.search", "{}", "--prepare", folder=new_folder(folder, "prepare"))
    equal = search(new_folder(folder, "equal"), {**form.settings, **quiet})
    trials = folder / "equal" / "miniature" / "trials"
    specs = [TrialSpec.from_json((trials / str(n) / "spec.json").read_text()) for n in range(form.stock)]
    user = search(new_folder(folder, "user"), {"training.epochs": form.epochs, "study.trials": form.user, **quiet})
    theirs, their_memory = stock(new_folder(folder, "stock"), specs)
    metered = ours(new_folder(folder, "ours"), specs[:SLOTS])
    refuse_unequal([*equal["trials"], *metered], theirs, specs[0])
    print_parts("equal work", equal["trials"])
    print_parts("as a user has it", user["trials"])
    return {
        **rates(equal, user, theirs),
        "share of the steps that were run, as a user has it": fmean(t["steps"] for t in user["trials"])
        / specs[0].horizon,
        "start of a search, s": equal["start_seconds"],
        **both("to a trial's first step, s", *(mean(t, "first_step_seconds") for t in (theirs, equal["trials"]))),
        **both("CPU ms a step outside the model", *(1e3 * a_step(t, "outside_cpu") for t in (theirs, metered))),
        **both("CPU ms a step in the model", *(1e3 * a_step(t, "model_cpu") for t in (theirs, metered))),
        **both("MB on the disk a trial", mean(theirs, "bytes") / 1e6, equal["bytes"] / form.ours / 1e6),
        **both("peak memory, GB", their_memory / 1e9, equal["memory"] / 1e9),
        **slot("equal work", shares(equal["trials"])),
        **slot("as a user has it", shares(user["trials"])),
    }


def rates(equal: Mapping[str, Any], user: Mapping[str, Any], theirs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Trials an hour, and how many of them ours makes for one of stock's."""
    stock_an_hour = 3600 * SLOTS / mean(theirs, "seconds")
    found = {
        "equal work": 3600 * SLOTS / seconds_a_trial(equal["trials"]),
        "equal work, start of the search included": 3600 * len(equal["trials"]) / equal["seconds"],
        "as a user has it, start included": 3600 * len(user["trials"]) / user["seconds"],
    }
    return {
        "trials an hour, stock": stock_an_hour,
        **{f"trials an hour, ours, {name}": rate for name, rate in found.items()},
        **{f"trials an hour, ours / stock, {name}": rate / stock_an_hour for name, rate in found.items()},
    }


def slot(title: str, share: Mapping[str, float]) -> dict[str, float]:
    return {
        f"slot outside training and evaluation, %, {title}": 100 * outside(share),
        f"of it speech, %, {title}": 100 * share["speech"],
    }


def both(name: str, theirs: float, mine: float) -> dict[str, float]:
    return {f"{name}, stock": theirs, f"{name}, ours": mine, f"{name}, stock / ours": theirs / mine}


def mean(trials: Sequence[Mapping[str, Any]], name: str) -> float:
    return fmean(trial[name] for trial in trials)


def a_step(trials: Sequence[Mapping[str, Any]], name: str) -> float:
    return fmean(trial[name] / trial["steps"] for trial in trials)


def main() -> None:
    parser = argparse.ArgumentParser(description="Our search against the stock way.")
    parser.add_argument("--short", action="store_true", help="two trials of each way, half as long")
    parser.add_argument("--full-size", action="store_true", help="a few steps of a base of XTTS-v2's size alone")
    parser.add_argument("--no-speech", action="store_true", help="trials of ours do not speak")
    parser.add_argument("--record", action="store_true", help="commit these figures")
    given = parser.parse_args()
    flags = [flag for flag in ("short", "full-size", "no-speech") if getattr(given, flag.replace("-", "_"))]
    with tempfile.TemporaryDirectory(prefix="throughput-") as directory:
        folder = Path(directory)
        if given.full_size:
            found = full_size(folder)
        else:
            found = miniature(SHORT if given.short else FULL, folder, not given.no_speech)
    show(" ".join(["throughput", *(f"--{flag}" for flag in flags)]), found, given.record)


if __name__ == "__main__":
    main()
