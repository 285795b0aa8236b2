"""What the runs of a confirmation prove: the winner, by how much, and whether the search can be trusted."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from search.confirmation.candidates import Candidate
from search.confirmation.fidelity import fidelity
from search.confirmation.race import METHOD, Fit, Race, race
from search.confirmation.verdict import Estimate, Proof, is_gain, sentence
from search.settings import best_config
from search.settings.best_config import Audit, AuditedTrial, Confirmation, Difference, FullRun
from search.settings.sections import STOCK
from search.settings.settings import Settings
from search.study.findings import Findings, row_of
from search.study.noise import seed_sd

FULL, TRUNCATED = "full", "truncated"  # lengths of a run


@dataclass(frozen=True)
class Runs:
    """The runs of a confirmation as its study holds them."""

    trials: Sequence[FrozenTrial]
    seeds: Sequence[int]  # of the race, in its order
    retried: int = 0  # of the trials before this number, those that came to nothing are run again

    @property
    def candidates(self) -> list[Candidate]:
        """Those in the race, in the order in which they joined."""
        return [c for c in self._all().values() if not c.is_audited]

    @property
    def audited(self) -> list[Candidate]:
        return [c for c in self._all().values() if c.is_audited]

    def _all(self) -> dict[str, Candidate]:
        found = (Candidate.from_dict(trial.system_attrs["candidate"]) for trial in self.trials)
        return {candidate.name: candidate for candidate in found}

    @property
    def attempted(self) -> set[tuple[str, int, str]]:
        """(candidate, seed, length) of every run that was queued, and need not be queued again."""
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

    @property
    def means(self) -> dict[str, float]:
        """Of the full runs, at the same seeds, of candidates and audited trials."""
        return Fit(self.values(FULL), max(1, len(self.seeds) - 1)).means

    @property
    def short(self) -> dict[str, float]:
        """The values of short runs: the search's of the candidates that it ran, and those of the audited trials."""
        finished = self.values(TRUNCATED)
        audited = {c.name: next(iter(finished[c.name].values())) for c in self.audited if c.name in finished}
        return {c.name: c.truncated for c in self.candidates if c.truncated is not None} | audited

    def race(self, joining: Sequence[Candidate] = ()) -> Race:
        """Where the race stands, with those that have not run yet."""
        names = list(dict.fromkeys(c.name for c in (*self.candidates, *joining)))
        attempted = {(name, seed) for name, seed, length in self.attempted if length == FULL}
        return race(self.values(FULL), names, self.seeds, attempted)


def key(trial: FrozenTrial) -> tuple[str, int, str]:
    attributes = trial.user_attrs
    return trial.system_attrs["candidate"]["name"], attributes["seed"], attributes["length"]


def value_of(trial: FrozenTrial) -> float:
    """In a confirmation only a run that diverged is PRUNED."""
    return math.inf if trial.state != TrialState.COMPLETE or trial.value is None else trial.value


def confirmation(runs: Runs, findings: Findings, settings: Settings, name: str) -> Confirmation | None:
    """The result of the runs. `name` is the confirmation's study.

    None while the race is not over, and where there is nothing to compare: no run of the stock recipe came to an end,
    or none of another config.
    """
    standing = runs.race()
    fit, configs = standing.fit, runs.candidates
    if not runs.are_over or standing.missing or STOCK not in fit.means or len(fit.means) == 1 < len(configs):
        return None
    full = runs.values(FULL)
    winner, base = fit.best, findings.base.mel_ce
    over_stock = fit.difference(STOCK, winner) if winner != STOCK else None
    seeds = len(full[winner])
    proven = Proof(winner, fit.means[winner], fit.below(base, winner), over_stock, fit.level, len(fit.means), seeds)
    deviation, freedom = seed_sd(list(by_seed.values()) for by_seed in full.values())
    means = runs.means
    return Confirmation(
        study=name,
        verdict=proven.verdict,
        text=sentence(proven),
        winner=winner,
        exported=winner if is_gain(over_stock) else STOCK,
        base=base,
        over_stock=_written(over_stock),
        over_base=_written(proven.over_base),
        level=fit.level,
        method=METHOD,
        seed_sd=deviation,
        seed_sd_df=freedom,
        candidates=[_candidate(c, runs, standing) for c in configs],
        fidelity=fidelity(runs.short, means, settings.training.truncation, settings.confirm.top),
        audit=_audit(runs, means, findings, winner),
    )


def _written(estimate: Estimate | None) -> Difference | None:
    """None also for a difference from a config that diverged."""
    if estimate is None or not math.isfinite(estimate.value):
        return None
    return Difference(estimate=estimate.value, low=estimate.low, high=estimate.high)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _candidate(candidate: Candidate, runs: Runs, standing: Race) -> best_config.Candidate:
    return best_config.Candidate(
        name=candidate.name,
        trial=candidate.trial,
        hyperparameters=candidate.point,
        truncated=candidate.truncated,
        runs=[_run(seed, t) for seed, t in sorted(runs.finished(FULL).get(candidate.name, {}).items())],
        mean=_finite(standing.fit.means.get(candidate.name)),
        dropped_after=standing.dropped.get(candidate.name),
    )


def _run(seed: int, trial: FrozenTrial) -> FullRun:
    value, best = _finite(value_of(trial)), row_of(trial).best
    return FullRun(
        trial=trial.number,
        seed=seed,
        value=value,
        best_step=best.step if best and value is not None else None,
        stop_reason=trial.user_attrs["stop_reason"],
    )


def _audit(runs: Runs, means: Mapping[str, float], findings: Findings, winner: str) -> Audit | None:
    """None when nothing was pruned."""
    if not runs.audited:
        return None
    short, full = runs.short, runs.values(FULL)
    trials = [
        AuditedTrial(
            trial=c.trial or 0,
            pruned_at=c.pruned_at or 0,
            pruned_value=c.pruned_value or 0.0,
            truncated=_finite(short.get(c.name)),
            full=_finite(next(iter(full.get(c.name, {}).values()), None)),
        )
        for c in runs.audited
    ]
    best = findings.completed[0].trial.value if findings.completed else None
    return Audit(
        trials=trials,
        regret=regret_of(best, [t.truncated for t in trials]),
        full_regret=regret_of(means[winner], [means.get(c.name) for c in runs.audited]),
    )


def regret_of(kept: float | None, lost: Sequence[float | None]) -> float | None:
    """By how much the lowest of `lost` lies below `kept`; 0 when none does, None when there is nothing to compare."""
    known = [value for value in lost if value is not None and math.isfinite(value)]
    return max(0.0, kept - min(known)) if known and kept is not None and math.isfinite(kept) else None
