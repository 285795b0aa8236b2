"""Records learning curves by real training: `python -m benchmarks.curves.record CORPUS FOLDER [--clips MBOSHI]`.

Each config of a quasi-random design over the miniature's space, and each baseline, is trained in full with each seed,
and with the first one truncated to each of `SHARES`. A truncated run is the full one up to its own first milestone, so
it is forked from it there: the same evaluations, bit for bit, as of a run of its own (`tests/test_curves.py`), for half
the time. `--part rates` trains constant rates in full with more seeds, `--part shortest` the shortest runs alone: with
the second seed, and with the first where a corpus was recorded without them.

FOLDER gets a file a run; the same command goes on where it was stopped. `table` packs them.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import math
import multiprocessing
import os
import pickle
import random
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import qmc

from benchmarks.curves.corpora import (
    CONFIGS,
    CORPORA,
    EVALUATIONS,
    FULL,
    RATE_SEEDS,
    RATES,
    SEEDS,
    SHARES,
    SHORTEST,
    STEPS,
    VARIANTS,
    Corpus,
)
from search.files import write_text
from search.settings.settings import Settings
from search.trial import Prepared, TrialSpec, evaluation_steps
from space.hyperparameters import Hyperparameters
from space.schedule import to_steps
from space.search_space import SearchSpace


class Point:
    """A point of the unit cube as a trial: each name has a dimension of its own, whether or not others ask for it."""

    NAMES = (
        "lr",
        "weight_decay",
        "n_milestones",
        "milestone_1",
        "milestone_2_of_rest",
        "milestone_3_of_rest",
        "gamma",
        "clip",
        "clip_norm",
    )

    def __init__(self, coordinates: Any) -> None:
        self._at = dict(zip(self.NAMES, map(float, coordinates), strict=True))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        at = self._at[name]
        if log:
            return math.exp(math.log(low) + at * (math.log(high) - math.log(low)))
        return low + at * (high - low)

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return min(high, low + int(self._at[name] * (high - low + 1)))

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return choices[min(len(choices) - 1, int(self._at[name] * len(choices)))]


def configs(space: SearchSpace, count: int = CONFIGS) -> list[Hyperparameters]:
    """The baselines, and scrambled Sobol points (Owen 1997) over the space up to `count`."""
    design = qmc.Sobol(len(Point.NAMES), seed=7).random(2 ** math.ceil(math.log2(count)))
    return [*(b.hyperparameters for b in space.baselines), *(space.suggest(Point(row)) for row in design)][:count]


def rates(space: SearchSpace) -> list[Hyperparameters]:
    """The first baseline, stock's recipe, at each of `RATES`, held."""
    stock = space.baselines[0].hyperparameters
    return [dataclasses.replace(stock, lr=rate, milestones=(), gamma=None) for rate in RATES]


def steps_of(share: float) -> list[int]:
    """The optimizer steps at which a run of this share is evaluated."""
    return evaluation_steps(round(share * STEPS), EVALUATIONS[share])


def alone(spec: TrialSpec) -> list[float]:
    """The evaluations of one run; shorter where it diverged."""
    from search.training.run import build
    from search.training.trainer import Diverged

    with contextlib.redirect_stdout(io.StringIO()):  # coqui's chatter
        run = build(spec)
    values = []
    with contextlib.suppress(Diverged):
        for step in run.trainer.steps(run.batches, spec.horizon):
            if step in spec.evaluation_steps:
                values.append(run.evaluator(step, time.monotonic()).mel_ce)
    return values


def record(spec: TrialSpec, shares: Sequence[float] = SHARES) -> dict[float, list[float]]:
    """The evaluations of `spec`'s full run and of its truncated ones, by share; shorter where one diverged."""
    from search.training.run import build
    from search.training.trainer import Diverged

    with contextlib.redirect_stdout(io.StringIO()):  # coqui's chatter
        run = build(spec)
    trainer, point = run.trainer, spec.hyperparameters
    wanted = sorted({step for share in (*shares, FULL) for step in steps_of(share)})
    forks: dict[int, list[float]] = defaultdict(list)  # the shares that branch off before a step
    for share in shares if point.milestones else ():
        forks[to_steps(point.milestones, round(share * STEPS))[0] - 1].append(share)
    values: dict[int, float] = {}
    found: dict[float, list[float]] = {}

    def train(until: int) -> None:
        for step in trainer.steps(run.batches, until):
            if step in wanted:
                values[step] = run.evaluator(step, time.monotonic()).mel_ce

    def curve(share: float) -> list[float]:
        return [values[step] for step in steps_of(share) if step in values]

    def branch(share: float) -> list[float]:
        """The rest of the truncated run, in a fork."""
        receiver, sender = multiprocessing.Pipe(duplex=False)
        drawn = random.getstate()
        child = os.fork()
        if not child:
            random.setstate(drawn)  # Python seeds it anew in a fork
            horizon = round(share * STEPS)
            wanted[:] = steps_of(share)
            trainer.scheduler[0].milestones = Counter(to_steps(point.milestones, horizon))
            with contextlib.suppress(Diverged):
                train(horizon)
            sender.send_bytes(pickle.dumps(curve(share)))
            os._exit(0)
        sender.close()
        try:
            return list(pickle.loads(receiver.recv_bytes()))  # a list of floats, of our own fork
        finally:
            os.waitpid(child, 0)

    try:
        for step in sorted(forks):
            train(step)
            for share in forks[step]:
                found[share] = branch(share)
        train(STEPS)
    except Diverged:
        pass
    # What diverged before it branched, diverged in every length that goes so far.
    return {share: found.get(share) or curve(share) for share in (*shares, FULL)}


@dataclasses.dataclass(frozen=True)
class Job:
    """A run to record: a config's full one and its truncated ones of `shares`, or the one of `only`."""

    config: int
    seed: int
    point: Hyperparameters
    shares: Sequence[float] = ()
    only: float | None = None

    @property
    def name(self) -> str:
        return f"{self.config:03d}-{self.seed}" + (f"-{self.only:g}" if self.only and self.only != FULL else "")


def jobs(part: str, corpus: Corpus, space: SearchSpace) -> Iterator[Job]:
    """The first seed of all first: a recording that is cut short is of use."""
    design = configs(space)[: corpus.configs]
    if part == "design":
        for seed in SEEDS:
            shares = SHARES if seed == SEEDS[0] else ()
            yield from (Job(number, seed, point, shares) for number, point in enumerate(design))
    elif part == "shortest":
        for seed in SEEDS:
            yield from (Job(number, seed, point, only=SHORTEST) for number, point in enumerate(design))
    else:
        for seed in RATE_SEEDS[: corpus.rate_seeds]:
            yield from (Job(CONFIGS + i, seed, point, only=FULL) for i, point in enumerate(rates(space)))


def work(corpus: Corpus, speech: Path, prepared: Prepared, folder: Path, part: str, worker: int, workers: int) -> None:
    """Records every `workers`-th run that `folder` lacks."""
    import search.training.run  # noqa: F401  # before the forks

    settings = corpus.settings(speech)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    for index, job in enumerate(jobs(part, corpus, settings.search_space())):
        path = folder / f"{job.name}.json"
        if index % workers != worker or path.exists():
            continue
        child = os.fork()  # a trainer that is done with leaves memory behind
        if not child:
            write_run(path, settings, prepared, job)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{path.stem} failed")


def write_run(path: Path, settings: Settings, prepared: Prepared, job: Job) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        spec = spec_of(settings, prepared, job.point, job.seed, directory, job.only or FULL)
        curves = {job.only: alone(spec)} if job.only else record(spec, job.shares)
    run = {"config": job.config, "seed": job.seed, "point": job.point.to_dict(), "seconds": time.monotonic() - began}
    write_text(path, json.dumps({**run, "curves": {str(share): curve for share, curve in curves.items()}}))
    lowest = min(curves[max(curves)], default=math.nan)
    print(f"{path.stem}  lowest {lowest:.4f}  {run['seconds']:.1f} s", flush=True)


def spec_of(
    settings: Settings, prepared: Prepared, point: Hyperparameters, seed: int, directory: str, share: float = FULL
) -> TrialSpec:
    horizon = round(share * settings.training.steps)
    return TrialSpec.under(
        settings.training,
        study=settings.study.name,
        number=0,
        hyperparameters=point,
        seed=seed,
        horizon=horizon,
        evaluation_steps=evaluation_steps(horizon, EVALUATIONS[share]),
        prepared=prepared.directory,
        directory=directory,
    )


def corpus_folder(corpus: Corpus, folder: Path, clips: Path | None) -> Path:
    """The corpus on disk: generated on the first call, or the user's."""
    if corpus.made_of is not None:
        if clips is None:
            sys.exit(f"{corpus.name} is recorded speech: give its folder with --clips")
        return clips
    target = folder / "corpus"
    if not target.exists():
        from search.preparation import miniature_speech as speech

        made = dataclasses.replace(
            speech.CORPORA["amharic"], train_clips=corpus.train_clips, eval_clips=corpus.eval_clips
        )
        speech.write_corpus(made, target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", choices=[*CORPORA, *VARIANTS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=Path, help="the recorded corpus")
    parser.add_argument("--part", choices=("design", "rates", "shortest"), default="design")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    from search.preparation.cache import make_cache_directory
    from search.preparation.prepare import prepare

    given.folder.mkdir(parents=True, exist_ok=True)
    corpus = {**CORPORA, **VARIANTS}[given.corpus]
    speech = corpus_folder(corpus, given.folder, given.clips)
    settings = corpus.settings(speech)
    prepared = prepare(settings, make_cache_directory(), print)
    if (prepared.train_clips, prepared.eval_clips) != (corpus.train_clips, corpus.eval_clips):
        sys.exit(f"{prepared.train_clips} and {prepared.eval_clips} clips; corpora.py says otherwise")
    write_text(given.folder / "prepared.json", prepared.to_json())
    spawn = multiprocessing.get_context("spawn")
    runs = given.folder / "runs"
    runs.mkdir(exist_ok=True)
    processes = [
        spawn.Process(target=work, args=(corpus, speech, prepared, runs, given.part, worker, given.workers))
        for worker in range(given.workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(abs(process.exitcode or 0) for process in processes))


if __name__ == "__main__":
    main()
