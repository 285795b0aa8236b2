"""The runs of a confirmation: which there may be, which are next, and what each one is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from search.confirmation.candidates import Candidate
from search.confirmation.proof import FULL, TRUNCATED, Runs
from search.confirmation.race import Race
from search.settings.settings import Settings
from search.study.leases import Leases
from search.study.ledger import Claim, Ledger
from search.study.optuna_private import claimed_trial
from search.trial import Evaluation, Prepared, StopReason, evaluation_steps
from search.workers.events import View
from search.workers.work import Job, fired, taken_if_gone
from space.hyperparameters import Hyperparameters

Entry = tuple[dict[str, Any], dict[str, Any]]  # parameters and attributes of a trial to queue


@dataclass(frozen=True)
class Plan:
    """What a confirmation may run, at most."""

    racing: list[Candidate]
    audited: list[Candidate]
    seeds: list[int]

    @property
    def keys(self) -> set[tuple[str, int, str]]:
        """(candidate, seed, length) of each run."""
        audits = {(c.name, self.seeds[0], length) for c in self.audited for length in (TRUNCATED, FULL)}
        return audits | {(c.name, seed, FULL) for c in self.racing for seed in self.seeds}

    def missing(self, runs: Runs) -> list[Entry]:
        """The runs to queue next: those of the race, then those of the audit."""
        attempted = runs.attempted
        known = {c.name: c for c in (*runs.candidates, *self.racing)}
        full = [_entry(known[name], seed, FULL) for name, seed in runs.race(self.racing).missing]
        audits = [
            _entry(candidate, self.seeds[0], length)
            for candidate in {c.name: c for c in (*self.audited, *runs.audited)}.values()
            for length in (TRUNCATED, FULL)
            if (candidate.name, self.seeds[0], length) not in attempted
        ]
        return full + audits


def _entry(candidate: Candidate, seed: int, length: str) -> Entry:
    return knobs(candidate.point), {"candidate": candidate.to_dict(), "seed": seed, "length": length}


def knobs(point: Hyperparameters) -> dict[str, float]:
    """A point as Optuna's parameters, one per number, for tools that look at the study. A knob that is off has none."""
    values = {"lr": point.lr, "weight_decay": point.weight_decay, "gamma": point.gamma, "clip_norm": point.clip_norm}
    values["new_rows_lr_factor"] = point.new_rows_lr_factor if point.new_rows_lr_factor != 1 else None
    values["frozen_layers"] = point.frozen_layers or None
    values |= {f"milestone_{i}": milestone for i, milestone in enumerate(point.milestones, 1)}
    return {name: value for name, value in values.items() if value is not None}


class ConfirmWork:
    """The full runs of a confirmation, round by round, under the two-increase rule only."""

    def __init__(
        self, study: optuna.Study, ledger: Ledger, settings: Settings, prepared: Prepared, plan: Plan, view: View
    ) -> None:
        self.directory, self.noun = settings.directory / "confirm", "run"
        self._study, self._ledger, self._settings, self._plan, self._view = study, ledger, settings, plan, view
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
        return Runs(trials, self._plan.seeds, self._retried)

    def claim(self, leases: Leases) -> Claim:
        """A queued run. When all have ended, those of the next round are queued first."""
        claim = leases.claim(None)
        if claim.trial_id is None and self._queue_next():
            claim = leases.claim(None)
        return Claim(claim.trial_id, claim.finished, None)

    def is_done(self, claim: Claim) -> bool:
        return self._is_over

    def _queue_next(self) -> bool:
        """Whether there are runs to claim now."""
        runs = self.runs
        if not runs.are_over:
            return False
        missing = self._plan.missing(runs)
        self._is_over = not missing
        if missing and self._ledger.queue(missing, len(runs.trials)):
            for line in (*_dropped(runs.race(self._plan.racing)), f"next round: {len(missing)} runs"):
                self._view.note(line)
        return bool(missing)

    def begin(self, trial_id: int) -> Job:
        """The run as it was queued. Raises Taken."""
        with taken_if_gone(), claimed_trial(self._study, trial_id) as trial:
            attributes = trial.user_attrs
            documents = self._study.get_trials(deepcopy=False)[trial.number].system_attrs
        candidate = Candidate.from_dict(documents["candidate"])
        with taken_if_gone():
            for name, value in knobs(candidate.point).items():
                trial.suggest_float(name, value, value)
        seed, length = attributes["seed"], attributes["length"]
        steps = self._steps[length]
        label = f"{candidate.name}, seed {seed}{', pruned, to its end' if length == TRUNCATED else ''}"
        sentences = self._settings.speech.sentences if length == FULL else 0
        return Job(
            trial, candidate.point, seed, steps[-1], steps, label, False, sentences=sentences, config=candidate.name
        )

    def fired(self, job: Job, evaluations: Sequence[Evaluation]) -> StopReason | None:
        if evaluations[-1].step == job.horizon:
            return None
        return fired(self._study, self._study.pruner, {e.step: e.mel_ce for e in evaluations})


def _dropped(standing: Race) -> list[str]:
    """A line for each config that is out."""
    lines = []
    for name in standing.dropped:
        mean, lowest = standing.fit.means.get(name), standing.fit.means[standing.fit.best]
        why = f"mean {mean:.4f} against {lowest:.4f}" if mean is not None else "none of its runs came to an end"
        lines.append(f"{name} can no longer win: {'it diverged' if mean == math.inf else why}")
    return lines
