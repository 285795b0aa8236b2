"""What the slots of a supervisor work on: the trials of a search. `search.confirmation.rounds` has the other kind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial

from search.settings.settings import Settings
from search.study.divergence import is_hopeless
from search.study.leases import Leases, machine
from search.study.ledger import FINISHED_STATES, Claim
from search.study.listing import BUDGET
from search.study.pruners import FirstToFire
from search.study.recorded import ORIGIN
from search.study.settling import is_settled, worth
from search.study.storage import suggest
from search.ties import is_lower, lowest
from search.trial import FULL_RESULTS, INTERRUPTIONS, Evaluation, Prepared, StopReason, evaluation_steps
from search.workers.budget import Budget
from search.workers.speech_budget import SpeechBudget
from space.hyperparameters import Hyperparameters


class Taken(Exception):
    """A trial that a peer took, or that was deleted, while this process was stopped."""


@contextmanager
def taken_if_gone() -> Iterator[None]:
    """Raises Taken for what Optuna raises when a trial is not running any more, or not there."""
    try:
        yield
    except (UpdateFinishedTrialError, KeyError) as error:
        raise Taken from error


@dataclass(frozen=True)
class Job:
    """What one trial is to run."""

    trial: optuna.Trial
    point: Hyperparameters
    seed: int
    horizon: int  # optimizer steps
    evaluation_steps: list[int]
    label: str | None  # what it is, besides its number
    competes: bool  # whether its value alone can be the best
    sentences: int = 0  # that it speaks after its training
    speak_below: float | None = None  # nats; only if its best evaluation is below. None: whatever it is
    config: str | None = None  # the name of a confirmation's config
    left_out: int = 0  # more sentences that it would speak, but for speech.share

    def may_speak(self, best: Evaluation) -> bool:
        """Whether a run with this `best` evaluation is one of those to be heard."""
        return self.speak_below is None or is_lower(best.mel_ce, self.speak_below)

    @property
    def number(self) -> int:
        return self.trial.number


class Work(Protocol):
    """Which trials there are to run, and when one ends early."""

    directory: Path  # a folder a trial, by number
    noun: str  # what one of them is called
    worth: str | None  # what the latest of them brought

    def claim(self, leases: Leases) -> Claim: ...
    def is_done(self, claim: Claim) -> bool: ...
    def begin(self, trial_id: int) -> Job: ...
    def fired(self, job: Job, evaluations: Sequence[Evaluation]) -> StopReason | None: ...


def decide(work: Work, job: Job, evaluation: Evaluation, evaluations: list[Evaluation]) -> StopReason | None:
    """Reports an evaluation and adds it to those before; returns why the trial ends here, or None.

    A value that is not finite is never reported.
    """
    if not evaluation.is_finite:
        return StopReason.DIVERGED
    evaluations.append(evaluation)
    try:
        job.trial.report(evaluation.mel_ce, evaluation.step)
    except (UpdateFinishedTrialError, KeyError):  # a peer took it, or it was deleted
        return StopReason.PREEMPTED
    return work.fired(job, evaluations)


def told(reason: StopReason, evaluations: Sequence[Evaluation]) -> tuple[TrialState, float | None]:
    """A trial's state and value once its run has ended for `reason`.

    The state says what the value means (docs/design.md): only a full result is COMPLETE. A diverged trial is PRUNED,
    not FAIL, which TPE would ignore: divergence is a result, and TPE ranks it behind every COMPLETE one.
    """
    if reason in FULL_RESULTS:
        best = lowest(evaluations)
        return TrialState.COMPLETE, best.mel_ce if best else None
    if reason in INTERRUPTIONS:
        return TrialState.FAIL, None
    return TrialState.PRUNED, evaluations[-1].mel_ce if evaluations else None


class SearchWork:
    """The truncated runs of a search, up to its number of trials, under the rules of its pruners."""

    def __init__(
        self,
        study: optuna.Study,
        settings: Settings,
        prepared: Prepared,
        counted: Callable[[int], None] | None = None,
        budget: Budget | None = None,
    ) -> None:
        """`counted` is called with the number of finished trials of all machines whenever a slot asks for a trial."""
        self.directory, self.noun = settings.directory / "trials", "trial"
        self._counted = counted
        self._study = study
        self._settings = settings
        self._space = settings.search_space()
        self._base = float(prepared.base_evaluation["mel_ce"])
        self._horizon = settings.trial_horizon(prepared.train_clips)
        self.worth: str | None = None
        self._has_completed = False
        self.ended: str | None = None  # why the search is over before its number, as `study.py list` shows it
        self._speech_budget = SpeechBudget(settings.speech.share, machine())
        self._budget = budget

    def claim(self, leases: Leases) -> Claim:
        """A trial to run; none while the search is hopeless or settled, until a trial that runs has changed that."""
        self.ended = None
        until_settled = self._settings.study.until_settled
        if until_settled or not self._has_completed:
            trials = self._study.get_trials(deepcopy=False)
            self._has_completed = any(trial.state == TrialState.COMPLETE for trial in trials)
            why = "diverged" if is_hopeless(trials) else None
            why = why or ("settled" if until_settled and is_settled(trials, self._base) else None)
            if why:
                self.ended = why if all(trial.state != TrialState.RUNNING for trial in trials) else None
                return Claim(None, sum(trial.state in FINISHED_STATES for trial in trials), None)
        claim = claimed(self._budget, leases, self._settings.study.trials)
        self.ended = BUDGET if self._budget and self._budget.is_over else None
        if self._counted:
            self._counted(claim.finished)
        return claim

    def is_done(self, claim: Claim) -> bool:
        return self.ended is not None or claim.finished >= self._settings.study.trials

    def begin(self, trial_id: int) -> Job:
        """Asks the sampler. Raises Taken."""
        with taken_if_gone():
            job = self.job(*suggest(self._study, trial_id, self._space))
        found = worth(self._study.get_trials(deepcopy=False), self._base)
        self.worth = str(found) if found else None
        return job

    def job(self, trial: optuna.Trial, point: Hyperparameters) -> Job:
        """What `trial`, which was given `point`, is to run."""
        attributes = trial.user_attrs
        label = f"baseline {attributes['baseline']}" if "baseline" in attributes else None
        if ORIGIN in attributes:
            label = f"from {attributes[ORIGIN]}"
        if attributes.get("repeat"):
            label = f"repeat {attributes['repeat']} of the stock recipe"
        seed = attributes.get("seed", self._settings.study.seed)
        steps = evaluation_steps(self._horizon, self._settings.training.evaluations)
        competes = not attributes.get("repeat")
        return Job(
            trial, point, seed, self._horizon, steps, label, competes, **self._speech(trial.number) if competes else {}
        )

    def _speech(self, number: int) -> dict[str, Any]:
        """What trial `number` may speak, as fields of its Job: it must end among the best, and there must be time."""
        speech = self._settings.speech
        if not (speech.trials and speech.sentences and speech.share):
            return {}
        trials = self._study.get_trials(deepcopy=False)
        done = [t for t in trials if t.state == TrialState.COMPLETE and not t.user_attrs.get("repeat")]
        values = sorted(t.value for t in done if t.value is not None)
        below = values[speech.trials - 1] if len(values) >= speech.trials else None
        granted = self._speech_budget.grant(speech.sentences, number, trials)
        return {"sentences": granted, "speak_below": below, "left_out": speech.sentences - granted}

    def fired(self, job: Job, evaluations: Sequence[Evaluation]) -> StopReason | None:
        """Why the trial ends after the last of `evaluations`. No rule ends a repeat, which measures noise."""
        if evaluations[-1].step == job.horizon:
            return None
        rule = None
        if "repeat" not in job.trial.user_attrs:
            rule = fired(self._study, self._study.pruner, {e.step: e.mel_ce for e in evaluations})
        return rule or cut(self._budget)


def claimed(budget: Budget | None, leases: Leases, total: int | None) -> Claim:
    """A trial to run, within the budget if there is one."""
    return budget.claim(leases, total) if budget else leases.claim(total)


def cut(budget: Budget | None) -> StopReason | None:
    """Whether the budget ends a run at its evaluation: as the user would, so that a larger one runs it again."""
    return StopReason.STOPPED_BY_USER if budget and budget.is_spent else None


def fired(study: optuna.Study, pruner: optuna.pruners.BasePruner, values: Mapping[int, float]) -> StopReason | None:
    """The rule that ends a running trial with these `values` by step. They are all that the rules need of it."""
    if not isinstance(pruner, FirstToFire):
        return None
    name = pruner.fired(study, create_trial(state=TrialState.RUNNING, intermediate_values=dict(values)))
    return StopReason(name) if name else None
