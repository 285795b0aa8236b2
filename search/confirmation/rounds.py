"""What the slots work on in a confirmation: the full runs of its rate line, then those of its race."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import optuna

from search.confirmation.candidates import Candidate
from search.confirmation.plan import Plan
from search.confirmation.runs import FULL, TRUNCATED, Runs, part_of
from search.settings.settings import Settings
from search.study.leases import Leases
from search.study.ledger import Claim, Ledger
from search.study.optuna_private import claimed_trial
from search.trial import Evaluation, Prepared, StopReason, evaluation_steps
from search.workers.budget import Budget
from search.workers.events import View
from search.workers.work import Job, claimed, cut, fired, taken_if_gone
from space.hyperparameters import Hyperparameters


def entry(candidate: Candidate, seed: int, length: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and attributes of a run to queue."""
    return knobs(candidate.point), {"candidate": asdict(candidate), "seed": seed, "length": length}


def knobs(point: Hyperparameters) -> dict[str, float]:
    """A point as Optuna's parameters, one per number, for tools that look at the study. A knob that is off has none."""
    values = {"lr": point.lr, "weight_decay": point.weight_decay, "gamma": point.gamma, "clip_norm": point.clip_norm}
    values["new_rows_lr_factor"] = point.new_rows_lr_factor if point.new_rows_lr_factor != 1 else None
    values["frozen_layers"] = point.frozen_layers or None
    values |= {f"milestone_{i}": milestone for i, milestone in enumerate(point.milestones, 1)}
    return {name: value for name, value in values.items() if value is not None}


class ConfirmWork:
    """The full runs of a confirmation, in the order that those before decide, under the two-increase rule only."""

    def __init__(
        self,
        study: optuna.Study,
        ledger: Ledger,
        settings: Settings,
        prepared: Prepared,
        plan: Plan,
        view: View,
        budget: Budget | None = None,
    ) -> None:
        self.directory, self.noun = settings.directory / "confirm", "run"
        self.worth: str | None = None
        self._study, self._ledger, self._settings, self._plan, self._view = study, ledger, settings, plan, view
        self._budget = budget
        clips = prepared.train_clips
        self._steps = {
            FULL: settings.full_evaluation_steps(clips),
            TRUNCATED: evaluation_steps(settings.trial_horizon(clips), settings.training.evaluations),
        }
        self._retried = len(study.get_trials(deepcopy=False))
        self._is_over = False

    @property
    def runs(self) -> Runs:
        trials = self._study.get_trials(deepcopy=False)
        return Runs(trials, self._plan, self._retried)

    def claim(self, leases: Leases) -> Claim:
        """A queued run. When all have ended, those that come next are queued first."""
        claim = claimed(self._budget, leases, None)
        self._is_over = self._budget is not None and self._budget.is_over
        if claim.trial_id is None and not (self._budget and self._budget.refused) and self._queue_next():
            claim = claimed(self._budget, leases, None)
        return Claim(claim.trial_id, claim.finished, None)

    def is_done(self, claim: Claim) -> bool:
        return self._is_over

    def _queue_next(self) -> bool:
        """Whether there are runs to claim now."""
        runs = self.runs
        if not runs.are_over:
            return False
        missing = runs.missing
        self._is_over = not missing
        if missing and self._ledger.queue([entry(*run) for run in missing], len(runs.trials)):
            for line in news(runs):
                self._view.note(line)
        return bool(missing)

    def begin(self, trial_id: int) -> Job:
        """The run as it was queued. Raises Taken."""
        with taken_if_gone(), claimed_trial(self._study, trial_id) as trial:
            attributes = trial.user_attrs
            documents = self._study.get_trials(deepcopy=False)[trial.number].system_attrs
        candidate = Candidate(**documents["candidate"])
        with taken_if_gone():
            for name, value in knobs(candidate.point).items():
                trial.suggest_float(name, value, value)
        seed, length = attributes["seed"], attributes["length"]
        steps = self._steps[length]
        part = part_of(candidate.is_audited, seed, self._plan.seed)
        label = f"{part}: {candidate.name}, seed {seed}{', to the end of a trial' if length == TRUNCATED else ''}"
        sentences = self._settings.speech.sentences if length == FULL else 0
        return Job(
            trial, candidate.point, seed, steps[-1], steps, label, False, sentences=sentences, config=candidate.name
        )

    def fired(self, job: Job, evaluations: Sequence[Evaluation]) -> StopReason | None:
        if evaluations[-1].step == job.horizon:
            return None
        return fired(self._study, self._study.pruner, {e.step: e.mel_ce for e in evaluations}) or cut(self._budget)


def news(runs: Runs) -> list[str]:
    """Where a confirmation stands before its next runs, in lines."""
    if line := runs.line.missing:
        return [f"rate line: next {', '.join(_with_rate(config) for config in line)}, seed {runs.plan.seed}"]
    lines = []
    for name, seeds in runs.race.dropped.items():
        lines.append(f"race: {name} can no longer be proven better, after {seeds} seed{'s' if seeds > 1 else ''}")
    if runs.race.missing:
        names = " and ".join(dict.fromkeys(name for name, _ in runs.race.missing))
        seeds_left = ", ".join(dict.fromkeys(str(seed) for _, seed in runs.race.missing))
        lines.append(f"race: next {names}, seed {seeds_left}")
    return lines


def _with_rate(config: Candidate) -> str:
    return f"{config.name} (lr {config.point.lr:.2e})"
