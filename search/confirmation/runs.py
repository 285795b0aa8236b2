"""What the runs of a confirmation came to, and what follows from that: where it stands, and which are next.

A confirmation has two parts. The rate line finds a config, by full runs with the study's own seed. The race proves it,
by full runs of it and of the stock recipe with fresh seeds: the seed that chose a config flatters it.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna.trial import FrozenTrial, TrialState

from search.confirmation.candidates import Candidate
from search.confirmation.plan import Plan
from search.confirmation.race import Race, race
from search.confirmation.rate_line import Line, LineRun, fixed_rates, rate_line
from search.settings.sections import STOCK
from search.study.findings import row_of
from search.ties import ranked

FULL, TRUNCATED = "full", "truncated"  # lengths of a run
Key = tuple[str, int, str]  # candidate, seed, length


@dataclass(frozen=True)
class Runs:
    """The runs of a confirmation as its study holds them."""

    trials: Sequence[FrozenTrial]
    plan: Plan
    retried: int = 0  # of the trials before this number, those that came to nothing are run again

    @cached_property
    def attempted(self) -> set[Key]:
        """Every run that was queued, and need not be queued again."""
        return {key(t) for t in self.trials if t.state != TrialState.FAIL or t.number >= self.retried}

    @property
    def are_over(self) -> bool:
        """Whether none of them waits or runs."""
        return all(trial.state.is_finished() for trial in self.trials)

    def finished(self, length: str) -> dict[str, dict[int, FrozenTrial]]:
        """Trials that say something, by candidate and seed."""
        found: dict[str, dict[int, FrozenTrial]] = defaultdict(dict)
        for trial in self.trials:
            name, seed, its_length = key(trial)
            if its_length == length and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                found[name][seed] = trial
        return found

    def values(self, length: str) -> dict[str, dict[int, float]]:
        """Lowest evaluations, by candidate and seed; infinite for a run that diverged."""
        return {
            name: {seed: value_of(trial) for seed, trial in runs.items()}
            for name, runs in self.finished(length).items()
        }

    def at(self, seed: int, length: str = FULL) -> dict[str, float]:
        """Lowest evaluations with one seed, by candidate."""
        return {name: runs[seed] for name, runs in self.values(length).items() if seed in runs}

    @property
    def short(self) -> dict[str, float]:
        """The values of short runs: the search's of the configs that it ran, and those of the audited trials."""
        known = {c.name: c.truncated for c in (*self.plan.recipes, *self.plan.trials) if c.truncated is not None}
        return known | self.at(self.plan.seed, TRUNCATED)

    @cached_property
    def line(self) -> Line:
        """Where the rate line stands."""
        starts = [self.plan.recipes[0], *self.plan.trials]
        ended = self._line_runs()
        if self.plan.rates != "turn":
            return fixed_rates(starts, self.plan.rates, ended)
        return rate_line(starts, ended, self.plan.horizon)

    def _line_runs(self) -> dict[str, LineRun]:
        """The full runs with the study's seed that have ended, whatever they came to."""
        queued: dict[str, list[FrozenTrial]] = defaultdict(list)
        for trial in self.trials:
            name, seed, length = key(trial)
            if (seed, length) == (self.plan.seed, FULL) and key(trial) in self.attempted:
                queued[name].append(trial)
        return {name: self._line_run(runs) for name, runs in queued.items() if all(t.state.is_finished() for t in runs)}

    def _line_run(self, attempts: Sequence[FrozenTrial]) -> LineRun:
        """Of the attempt that says something, or of none."""
        trial = next((t for t in attempts if t.state != TrialState.FAIL), attempts[-1])
        evaluations = row_of(trial).evaluations if trial.state != TrialState.FAIL else []
        return LineRun(
            Candidate(**trial.system_attrs["candidate"]).point,
            self.plan.horizon,
            [e.step for e in evaluations],
            [e.mel_ce for e in evaluations],
            diverged=trial.state == TrialState.PRUNED,
        )

    @property
    def finalist(self) -> Candidate | None:
        """The best config of the line besides the stock recipe; None while it runs, and where all others diverged."""
        line = self.line
        if line.missing:
            return None
        others = [config for config in line.runs if config.name != STOCK and math.isfinite(line.lowest(config))]
        return ranked(others, line.lowest)[0] if others else None

    @cached_property
    def racing(self) -> list[Candidate]:
        """The stock recipe, the space's default, and the finalist once the line has ended."""
        return [*self.plan.recipes, *([self.finalist] if self.finalist else [])]

    @cached_property
    def race(self) -> Race:
        """Where the race stands. Only the stock recipe's first run is queued while the rate line has not ended."""
        fresh = self.plan.fresh
        values = {
            c.name: {seed: v for seed, v in self.values(FULL).get(c.name, {}).items() if seed in fresh}
            for c in self.racing
        }
        attempted = {(name, seed) for name, seed, length in self.attempted if length == FULL}
        before = self.at(self.plan.seed)
        # The stock recipe was not chosen for its run on the line: it tells as much as one with a fresh seed.
        more = {STOCK: {self.plan.seed: before[STOCK]}} if STOCK in before else {}
        return race(values, [c.name for c in self.racing], fresh, attempted, self.plan.base, more)

    @property
    def missing(self) -> list[tuple[Candidate, int, str]]:
        """The runs to queue next, none once all is over: of the line, of the race, and of the audit."""
        audits = [
            (c, self.plan.seed, length)
            for c in self.plan.audited
            for length in (TRUNCATED, FULL)
            if (c.name, self.plan.seed, length) not in self.attempted
        ]
        if self.line.missing:
            stock, first = self.plan.recipes[0], self.plan.fresh[0]
            ahead = [] if (stock.name, first, FULL) in self.attempted else [(stock, first, FULL)]
            return [*((c, self.plan.seed, FULL) for c in self.line.missing), *ahead, *audits]
        by_name = {c.name: c for c in self.racing}
        return [*((by_name[name], seed, FULL) for name, seed in self.race.missing), *audits]

    @property
    def is_over(self) -> bool:
        return self.are_over and not self.missing


def part_of(is_audited: bool, seed: int | None, line_seed: int) -> str:
    """The part of a confirmation that a run belongs to: "rate line", "race" or "audit"."""
    if is_audited:
        return "audit"
    return "rate line" if seed == line_seed else "race"


def key(trial: FrozenTrial) -> Key:
    attributes = trial.user_attrs
    return trial.system_attrs["candidate"]["name"], attributes["seed"], attributes["length"]


def value_of(trial: FrozenTrial) -> float:
    """In a confirmation only a run that diverged is PRUNED."""
    return math.inf if trial.state != TrialState.COMPLETE or trial.value is None else trial.value
