"""A search on recorded curves: the project's own work, judge, sampler, pruners and race, a simulated clock and slots.

What is simulated is the training alone. An optimizer step lasts 1 on the clock, the service costs nothing.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from benchmarks.curves.corpora import EVALUATIONS, FULL, STEPS
from benchmarks.curves.record import steps_of
from benchmarks.replay.world import World
from search.confirmation.candidates import Candidate
from search.confirmation.race import race
from search.confirmation.rate_line import LineRun, fixed_rates, rate_line
from search.confirmation.verdict import is_gain
from search.settings.sections import STOCK
from search.settings.settings import Settings
from search.study.ledger import Entry
from search.study.pruners import FirstToFire, TwoIncreasePruner
from search.study.settling import is_settled
from search.study.storage import first_trials
from search.trial import Evaluation, Prepared, StopReason
from search.workers.work import Job, SearchWork, decide, told
from space.hyperparameters import Hyperparameters
from tests.stub import PREPARED


def settings_for(share: float, confirm: Mapping[str, Any] | None = None, **pruning: Any) -> Settings:
    """The miniature's settings in trials of so large a share of the recorded full run."""
    training = {"steps": STEPS, "truncation": share, "evaluations": EVALUATIONS[share]}
    return Settings.model_validate({"training": training, "pruning": pruning, "confirm": confirm or {}})


@dataclass(frozen=True)
class Strategy:
    """A way to search. `sampler` takes a study's seed."""

    name: str
    settings: Settings
    sampler: Callable[[int], BaseSampler]
    pruner: Callable[[Settings, Prepared], BasePruner]
    baselines: bool = False  # tried first, as the project does
    every: int = 1  # only each so many of the recorded evaluations is made
    until: int = STEPS  # a trial is cut off at this optimizer step of its schedule
    then_full: int = 0  # so many of the best are run in full, and the best of these is taken
    follows: bool = False  # a rate line before the race, as the project does
    until_settled: bool = False  # ends once more trials are not expected to change the winner
    queue: tuple[Entry, ...] = ()  # tried after the baselines
    stock_factor: float = 1.0  # the stock recipe's rate is wrong by so much

    @property
    def stock(self) -> Hyperparameters:
        point = self.settings.stock_recipe().hyperparameters
        return replace(point, lr=self.stock_factor * point.lr)

    @property
    def share(self) -> float:
        return self.settings.training.truncation

    @property
    def steps(self) -> list[int]:
        return [step for step in steps_of(self.share)[self.every - 1 :: self.every] if step <= self.until]


@dataclass(frozen=True)
class Ended:
    """A trial of a simulated search, and what all slots had trained when it ended."""

    point: Hyperparameters
    state: TrialState
    value: float | None
    trained: int  # optimizer steps
    clock: float


class ReplayedWork(SearchWork):
    """A search's work whose trials come from a study in memory."""

    def __init__(self, study: optuna.Study, settings: Settings, steps: Sequence[int]) -> None:
        super().__init__(study, settings, PREPARED)
        self._steps = list(steps)

    def ask(self) -> Job:
        trial = self._study.ask()
        found = self.job(trial, self._space.suggest(trial))
        return Job(trial, found.point, found.seed, self._steps[-1], self._steps, found.label, found.competes)

    def fired(self, job: Job, evaluations: Sequence[Evaluation]) -> StopReason | None:
        """The project's rules by the project's own way; a pruner of Optuna's by `should_prune`, as it wants."""
        if isinstance(self._study.pruner, FirstToFire):
            return super().fired(job, evaluations)
        return StopReason.MEDIAN if evaluations[-1].step != job.horizon and job.trial.should_prune() else None


@dataclass
class _Run:
    job: Job
    curve: list[float]
    evaluations: list[Evaluation] = field(default_factory=list)
    next: int = 0  # of the job's evaluation steps


def search(strategy: Strategy, world: World, slots: int, trials: int, seed: int) -> list[Ended]:
    """The trials of a study in the order in which they ended."""
    prepared = replace(PREPARED, base_evaluation={**PREPARED.base_evaluation, "mel_ce": world.table.base})
    study = optuna.create_study(sampler=strategy.sampler(seed), pruner=strategy.pruner(strategy.settings, prepared))
    if strategy.baselines:
        for params, attributes in first_trials(strategy.settings):
            if attributes.get("baseline") == STOCK:
                params = {**params, "lr": strategy.stock_factor * params["lr"]}
            study.enqueue_trial(params, attributes)
    for params, attributes in strategy.queue:
        study.enqueue_trial(params, attributes)
    work = ReplayedWork(study, strategy.settings, strategy.steps)
    recorded = steps_of(strategy.share)
    ended: list[Ended] = []
    started = trained = 0
    is_over = False
    events: list[tuple[float, int, _Run]] = []  # (when, number, run): the run's next evaluation

    def start(now: float) -> None:
        nonlocal started
        if is_over or started == trials:
            return
        started += 1
        job = work.ask()
        run = _Run(job, world.curve(job.point, strategy.share, 0))
        heapq.heappush(events, (now + job.evaluation_steps[0], started, run))

    for _ in range(slots):
        start(0.0)
    while events:
        now, number, run = heapq.heappop(events)
        steps, at = run.job.evaluation_steps, run.next
        trained += steps[at] - (steps[at - 1] if at else 0)
        index = recorded.index(steps[at])
        value = run.curve[index] if index < len(run.curve) else math.nan
        reason = decide(work, run.job, Evaluation(steps[at], value, 1.0, 1.0, 1.0), run.evaluations)
        if reason is None and steps[at] == run.job.horizon:
            reason = StopReason.FINISHED
        if reason is None:
            run.next += 1
            heapq.heappush(events, (now + steps[at + 1] - steps[at], number, run))
            continue
        state, value_told = told(reason, run.evaluations)
        # Of a pruned trial Optuna itself takes the last value reported, as `told` does.
        study.tell(run.job.trial, value_told if state == TrialState.COMPLETE else None, state)
        ended.append(Ended(run.job.point, state, value_told, trained, now))
        is_over = strategy.until_settled and is_settled(study.get_trials(deepcopy=False), world.table.base)
        start(now)
    return ended


def best(ended: Sequence[Ended], count: int, world: World) -> list[Ended]:
    """The `count` best completed trials, one a curve: two with the same curve would feign a race without noise."""
    done = sorted((t for t in ended if t.state == TrialState.COMPLETE), key=lambda t: t.value or 0.0)
    found: dict[object, Ended] = {}
    for trial in done:
        found.setdefault(world.key(trial.point), trial)
    return list(found.values())[:count]


@dataclass(frozen=True)
class Spent:
    """What some runs cost."""

    trained: int  # optimizer steps of all slots
    clock: float


@dataclass(frozen=True)
class Found:
    """What a rate line found."""

    runs: list[tuple[Hyperparameters, float]]  # with their lowest evaluations, infinite where one diverged
    spent: Spent

    @property
    def best(self) -> Hyperparameters:
        """Of all; of ties the stock recipe, which is the first."""
        return min(self.runs, key=lambda run: run[1])[0]

    @property
    def finalist(self) -> Hyperparameters | None:
        """The best besides the stock recipe; None where all others diverged."""
        others = [run for run in self.runs[1:] if math.isfinite(run[1])]
        return min(others, key=lambda run: run[1])[0] if others else None


def follow(starts: Sequence[Hyperparameters], world: World, settings: Settings, slots: int) -> Found:
    """The rate line of the stock recipe, the first of `starts`, and of the best trials."""
    rule = full_rule(settings, world.table.base)
    named = [Candidate(str(place), point) for place, point in enumerate(starts)]
    ended: dict[str, LineRun] = {}
    trained, clock = 0, 0.0
    rates = settings.confirm.rates
    while True:
        line = rate_line(named, ended, STEPS) if rates == "turn" else fixed_rates(named, rates, ended)
        if not line.missing:
            break
        free = [clock] * slots
        for config in line.missing:
            curve = world.curve(config.point, FULL, 0)
            run, steps = line_run(config.point, curve, rule, settings.training.full_evaluations)
            ended[config.name] = run
            trained += steps
            heapq.heapreplace(free, free[0] + steps)
        clock = max(free)  # a round ends before the next one is queued
    return Found([(config.point, line.lowest(config)) for config in line.runs], Spent(trained, clock))


@dataclass(frozen=True)
class Raced:
    """What a race proved."""

    is_won: bool  # by the finalist, over the stock recipe
    spent: Spent


def prove(
    finalist: Hyperparameters | None, stock: Hyperparameters, world: World, settings: Settings, slots: int
) -> Raced:
    """The race of the finalist and the stock recipe on fresh seeds, as `study.py confirm` holds it."""
    points = {"stock": stock}
    if finalist is not None and world.key(finalist) != world.key(stock):
        points["finalist"] = finalist
    rule = full_rule(settings, world.table.base)
    values: dict[str, dict[int, float]] = {name: {} for name in points}
    attempted: set[tuple[str, int]] = set()
    trained, clock = 0, 0.0
    seeds = range(1, settings.confirm.seeds + 1)
    first, _ = full_run(world.curve(stock, FULL, 0), rule, settings.training.full_evaluations)
    more = {"stock": {0: first}}
    while (standing := race(values, list(points), seeds, attempted, world.table.base, more)).missing:
        free = [clock] * slots
        for name, seed in standing.missing:
            value, steps = full_run(world.curve(points[name], FULL, seed), rule, settings.training.full_evaluations)
            values[name][seed] = value
            attempted.add((name, seed))
            trained += steps
            heapq.heapreplace(free, free[0] + steps)
        clock = max(free)
    is_won = "finalist" in standing.fit.means and is_gain(standing.fit.difference("stock", "finalist"))
    return Raced(is_won, Spent(trained, clock))


def full_rule(settings: Settings, base: float) -> TwoIncreasePruner:
    return TwoIncreasePruner(settings.pruning.n_increases, settings.pruning.min_delta, base)


def line_run(
    point: Hyperparameters, curve: Sequence[float], rule: TwoIncreasePruner, evaluations: int
) -> tuple[LineRun, int]:
    """(a full run under the two-increase rule, its optimizer steps)."""
    _, trained = full_run(curve, rule, evaluations)
    every = EVALUATIONS[FULL] // evaluations
    steps = [step for step in steps_of(FULL)[every - 1 :: every] if step <= trained]
    values = list(curve[every - 1 :: every][: len(steps)])
    return LineRun(point, STEPS, steps[: len(values)], values, diverged=len(curve) < EVALUATIONS[FULL]), trained


def full_run(curve: Sequence[float], rule: TwoIncreasePruner, evaluations: int) -> tuple[float, int]:
    """(lowest evaluation, optimizer steps) of a full run under the two-increase rule; infinite if it diverged.

    `curve` was evaluated `EVALUATIONS[FULL]` times, of which every so many are looked at.
    """
    every = EVALUATIONS[FULL] // evaluations
    steps = steps_of(FULL)
    if len(curve) < len(steps):
        return math.inf, steps[len(curve)]
    steps, curve = steps[every - 1 :: every], curve[every - 1 :: every]
    for count in range(1, len(curve) + 1):
        if rule.fires(curve[:count]):
            return min(curve[:count]), steps[count - 1]
    return min(curve), STEPS
