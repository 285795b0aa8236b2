"""What the runs of a confirmation prove: the winner, by how much, and whether the search can be trusted."""

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial

from search.confirmation.candidates import Candidate
from search.confirmation.fidelity import fidelity
from search.confirmation.race import METHOD
from search.confirmation.runs import FULL, Runs, value_of
from search.confirmation.verdict import Estimate, Proof, is_gain, sentence
from search.settings import best_config
from search.settings.best_config import Audit, AuditedTrial, Confirmation, Difference, FullRun, LineStep, RateLine
from search.settings.sections import CONFIRMATION, STOCK
from search.settings.settings import Settings
from search.study.findings import Findings, row_of
from search.study.noise import seed_sd


def confirmation(runs: Runs, findings: Findings, settings: Settings) -> Confirmation | None:
    """The result of the runs.

    None while they are not over, and where there is nothing to compare: no run of the stock recipe came to an end, or
    none of another config.
    """
    if not runs.is_over:
        return None
    fit, configs, full = runs.race.fit, runs.racing, runs.values(FULL)
    others = [config for config in runs.line.runs if config.name != STOCK]
    if STOCK not in fit.means or (others and not any(config.name in full for config in others)):
        return None
    winner, base = fit.best, findings.base.mel_ce
    over_stock = fit.difference(STOCK, winner) if winner != STOCK else None
    ran = max(len(configs), len(runs.line.runs))
    proven = Proof(winner, fit.means[winner], fit.below(base, winner), over_stock, fit.level, ran, fit.seeds(winner))
    deviation, freedom = seed_sd(list(by_seed.values()) for by_seed in full.values())
    return Confirmation(
        study=settings.study.name + CONFIRMATION,
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
        rate_line=rate_line(runs),
        candidates=[_candidate(c, runs) for c in configs],
        fidelity=fidelity(runs.short, runs.at(runs.plan.seed), settings.training.truncation, settings.confirm.top),
        audit=_audit(runs, findings),
    )


def rate_line(runs: Runs) -> RateLine:
    """The runs of the line that have ended, and what they tell so far."""
    line, finished = runs.line, runs.finished(FULL)
    steps = []
    for config in (c for c in line.runs if c.name in line.ended):
        ended, trial = line.ended[config.name], finished.get(config.name, {}).get(runs.plan.seed)
        steps.append(
            LineStep(
                name=config.name,
                hyperparameters=config.point,
                run=None if trial is None else _run(runs.plan.seed, trial),
                turned=ended.turned,
                sum_of_rates=ended.time,
            )
        )
    return RateLine(
        rates=runs.plan.rates if runs.plan.rates == "turn" else list(runs.plan.rates),
        seed=runs.plan.seed,
        trials=[c.trial for c in (*runs.plan.recipes, *runs.plan.trials) if c.trial is not None],
        steps=steps,
        sum_of_rates=line.sum_of_rates,
        finalist=runs.finalist.name if runs.finalist else None,
    )


def _written(estimate: Estimate | None) -> Difference | None:
    """None also for a difference from a config that diverged."""
    if estimate is None or not math.isfinite(estimate.value):
        return None
    return Difference(estimate=estimate.value, low=estimate.low, high=estimate.high)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _candidate(candidate: Candidate, runs: Runs) -> best_config.Candidate:
    ran = runs.finished(FULL).get(candidate.name, {})
    return best_config.Candidate(
        name=candidate.name,
        trial=candidate.trial,
        scaled_from=candidate.scaled_from,
        hyperparameters=candidate.point,
        truncated=candidate.truncated,
        runs=[_run(seed, ran[seed]) for seed in runs.plan.fresh if seed in ran],
        mean=_finite(runs.race.fit.means.get(candidate.name)),
        dropped_after=runs.race.dropped.get(candidate.name),
    )


def _run(seed: int, trial: FrozenTrial) -> FullRun:
    value, row = _finite(value_of(trial)), row_of(trial)
    return FullRun(
        trial=trial.number,
        seed=seed,
        value=value,
        best_step=row.best.step if row.best and value is not None else None,
        stop_reason=row.reason,
    )


def _audit(runs: Runs, findings: Findings) -> Audit | None:
    """None when nothing was audited."""
    if not runs.plan.audited:
        return None
    short, full = runs.short, runs.at(runs.plan.seed)
    trials = [
        AuditedTrial(
            trial=c.trial or 0,
            pruned_at=c.pruned_at or 0,
            pruned_value=c.pruned_value or 0.0,
            truncated=_finite(short.get(c.name)),
            full=_finite(full.get(c.name)),
        )
        for c in runs.plan.audited
    ]
    best = findings.completed[0].trial.value if findings.completed else None
    found = min((full[config.name] for config in runs.line.runs if config.name in full), default=None)
    return Audit(
        trials=trials,
        regret=regret_of(best, [t.truncated for t in trials]),
        full_regret=regret_of(found, [t.full for t in trials]),
    )


def regret_of(kept: float | None, lost: Sequence[float | None]) -> float | None:
    """By how much the lowest of `lost` lies below `kept`; 0 when none does, None when there is nothing to compare."""
    known = [value for value in lost if value is not None and math.isfinite(value)]
    return max(0.0, kept - min(known)) if known and kept is not None and math.isfinite(kept) else None
