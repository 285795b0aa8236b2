"""The slots of one machine: each asks for a trial, starts a child, reports, prunes and tells."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from search.errors import UserError
from search.launcher import KILL_AFTER, Child, Launcher
from search.pruners import FirstToFire
from search.recovery import owner, recover, requeue
from search.settings import Settings
from search.storage import FINISHED_STATES
from search.training.child import run_child
from search.trial import INTERRUPTIONS, Evaluation, Prepared, StopReason, TrialSpec, evaluation_steps
from search.view import View

POLL = 0.5  # seconds between looks at the stop flag while a child is silent
MAX_FAILURES = 6  # runs that fail in a row, with none finished between, end the search: the fault is not the trials'


@dataclass
class Outcome:
    """How a run ended, as far as this supervisor knows."""

    reason: StopReason
    record: dict[str, Any] | None
    error: str | None
    evaluations: list[Evaluation]

    @property
    def best(self) -> Evaluation | None:
        return min(self.evaluations, key=lambda e: e.mel_ce, default=None)


class Supervisor:
    """Runs a study to `settings.study.trials` finished trials with one slot for each of `devices`."""

    def __init__(
        self,
        study: optuna.Study,
        settings: Settings,
        prepared: Prepared,
        launcher: Launcher,
        view: View,
        devices: list[str | None],
    ) -> None:
        self.study = study
        self.settings = settings
        self.prepared = prepared
        self.view = view
        self.devices = devices
        self.space = settings.search_space()
        self.horizon = settings.trial_horizon(prepared.train_clips)
        self._launcher = launcher
        self._owner = owner()
        self._asking = threading.Lock()
        self._changed = threading.Condition()
        self._finished = 0  # COMPLETE + PRUNED
        self._running = 0
        self._failures = 0  # in a row
        self._children: dict[int, Child] = {}
        self._ending = threading.Event()
        self._error: BaseException | None = None
        self.train_seconds = self.evaluation_seconds = 0.0  # of the runs of this search, over all slots

    def run(self) -> None:
        """Returns when the study has its trials, or after a stop by the user (`stopped`). Raises what a slot raised."""
        recover(self.study, self.settings.study.max_retries)
        self._enqueue_baselines()
        self._finished = len(self.study.get_trials(deepcopy=False, states=FINISHED_STATES))
        threads = [
            threading.Thread(target=self._slot, args=(index, device), name=f"slot-{index}", daemon=True)
            for index, device in enumerate(self.devices)
        ]
        with self._stop_on_signals():
            for thread in threads:
                thread.start()
            told = False
            while any(thread.is_alive() for thread in threads):
                if self.stopped and not told:
                    self.view.note("stopping; the runs end at their next batch (Ctrl-C again to leave at once)")
                    told = True
                self.view.refresh()
                time.sleep(0.2)
        if self._error:
            raise self._error

    @property
    def stopped(self) -> bool:
        return self._ending.is_set()

    # Slots

    def _slot(self, index: int, device: str | None) -> None:
        try:
            while self._claim():
                finished = False
                try:
                    finished = self._run_trial(index, device)
                finally:
                    self._release(finished)
        except BaseException as error:
            # The main thread raises it; the other slots end their trials.
            self._error = self._error or error
            self.stop()

    def _claim(self) -> bool:
        """Waits for the right to start a trial; False once no further one is needed.

        A slot waits while the running trials could make up the number: one of them may fail.
        """
        with self._changed:
            while not self._ending.is_set() and self._finished < self.settings.study.trials:
                if self._finished + self._running < self.settings.study.trials:
                    self._running += 1
                    return True
                self._changed.wait(POLL)
            return False

    def _release(self, finished: bool) -> None:
        with self._changed:
            self._running -= 1
            self._finished += finished
            self._changed.notify_all()

    def _run_trial(self, index: int, device: str | None) -> bool:
        """One trial from ask to tell; whether it finished."""
        # One at a time: SQLite has no SELECT FOR UPDATE, and two threads were seen to get the same queued trial.
        with self._asking:
            trial = self.study.ask()
            trial.set_user_attr("owner", self._owner)
            point = self.space.suggest(trial)
        spec = self._spec(trial.number, point, device)
        self.view.started(index, trial.number, point, self.horizon, trial.user_attrs.get("baseline"))
        child = self._launcher.start(run_child, spec.to_json())
        self._children[index] = child
        try:
            outcome = self._follow(index, child, trial)
        finally:
            del self._children[index]
            child.close()
        self._tell(trial, outcome)
        self._count_time(outcome)
        self.view.ended(index, trial.number, outcome.reason, outcome.best, outcome.error)
        if outcome.reason in INTERRUPTIONS:
            self._count_failure(outcome, Path(spec.directory) / "log.txt")
            return False
        self._failures = 0
        return True

    def _spec(self, number: int, point: Any, device: str | None) -> TrialSpec:
        training = self.settings.training
        directory = (self.settings.directory / "trials" / str(number)).absolute()
        directory.mkdir(parents=True)
        spec = TrialSpec(
            study=self.settings.study.name,
            number=number,
            hyperparameters=point,
            seed=self.settings.study.seed,
            horizon=self.horizon,
            evaluation_steps=evaluation_steps(self.horizon, training.evaluations),
            batch_size=training.batch_size,
            accumulation=training.accumulation,
            eval_batch_size=training.eval_batch_size,
            precision=training.precision,
            prepared=self.prepared.directory,
            directory=str(directory),
            device=device,
        )
        (directory / "spec.json").write_text(spec.to_json(), encoding="utf-8")
        return spec

    def _follow(self, index: int, child: Child, trial: optuna.Trial) -> Outcome:
        """Reports what the child says until it ends, and stops it when a rule fires or the user wants to."""
        evaluations: list[Evaluation] = []
        decided: StopReason | None = None
        stop_sent = 0.0
        while True:
            if decided is None and self._ending.is_set():
                decided = StopReason.STOPPED_BY_USER
            if decided is None and child.silent_seconds > 60 * self.settings.study.stall_minutes:
                decided = StopReason.TIMEOUT
                child.kill()
            if decided is not None and not stop_sent:
                child.stop()
                stop_sent = time.monotonic()
            if stop_sent and time.monotonic() - stop_sent > KILL_AFTER:
                child.kill()
            try:
                message = child.receive(POLL)
            except EOFError as gone:
                return Outcome(decided or StopReason.CRASHED, None, None if decided else str(gone), evaluations)
            if message is None or message["kind"] in ("alive", "started"):
                continue
            if message["kind"] == "end":
                reason = decided or StopReason(message["reason"])
                return Outcome(reason, message.get("record"), message.get("error"), evaluations)
            if decided is None:
                evaluation = Evaluation(**{k: v for k, v in message.items() if k != "kind"})
                decided = self._judge(trial, evaluation, evaluations)
                self.view.evaluated(index, trial.number, evaluation)

    def _judge(self, trial: optuna.Trial, evaluation: Evaluation, evaluations: list[Evaluation]) -> StopReason | None:
        """Reports an evaluation; why the trial ends here, or None. A value that is not finite is never reported."""
        if not evaluation.is_finite:
            return StopReason.DIVERGED
        evaluations.append(evaluation)
        trial.report(evaluation.mel_ce, evaluation.step)
        if evaluation.step == self.horizon or not trial.should_prune():
            return None
        assert isinstance(self.study.pruner, FirstToFire)
        frozen = self.study._storage.get_trial(trial._trial_id)
        return StopReason(self.study.pruner.fired(self.study, frozen) or StopReason.MEDIAN)

    def _tell(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """The trial's state says what its value means (docs/design.md): only a full result is COMPLETE.

        A diverged trial is PRUNED, not FAIL, which TPE would ignore: divergence is a result, and
        TPE ranks it behind every COMPLETE one.
        """
        trial.set_user_attr("stop_reason", str(outcome.reason))
        trial.set_user_attr(
            "run",
            {
                "evaluations": [vars(e) for e in outcome.evaluations],
                "record": outcome.record,
                "error": outcome.error,
            },
        )
        if outcome.reason in (StopReason.FINISHED, StopReason.TWO_INCREASES):
            assert outcome.best is not None
            self.study.tell(trial, outcome.best.mel_ce)
        elif outcome.reason in INTERRUPTIONS:
            self.study.tell(trial, state=TrialState.FAIL)
            if not self._ending.is_set():
                requeue(self.study, self.settings.study.max_retries)
        else:
            self.study.tell(trial, state=TrialState.PRUNED)

    def _count_time(self, outcome: Outcome) -> None:
        if outcome.record:
            with self._changed:
                self.train_seconds += outcome.record["train_seconds"]
                self.evaluation_seconds += outcome.record["evaluation_seconds"]

    def _count_failure(self, outcome: Outcome, log: Path) -> None:
        if outcome.reason == StopReason.STOPPED_BY_USER:
            return
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            hint = (
                "lower training.batch_size and raise training.accumulation"
                if outcome.reason == StopReason.OUT_OF_MEMORY
                else f"see {log}"
            )
            raise UserError(
                f"{self._failures} runs in a row ended as {outcome.reason} ({outcome.error}); {hint}, then run the same"
                " command again"
            )

    def _enqueue_baselines(self) -> None:
        """The baselines are the first trials of a new study, clipped into the space where they lie outside."""
        present = {t.user_attrs.get("baseline") for t in self.study.get_trials(deepcopy=False)}
        for baseline in self.space.baselines:
            if baseline.name in present:
                continue
            params, clipped = self.space.to_params(baseline.hyperparameters)
            if clipped:
                self.view.note(f"baseline {baseline.name} lies outside the space and was clipped: {', '.join(clipped)}")
            self.study.enqueue_trial(params, user_attrs={"baseline": baseline.name})

    # Stopping

    def stop(self) -> None:
        """Ends every run at its next batch. The same command continues the study."""
        with self._changed:
            self._ending.set()
            self._changed.notify_all()

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM stops in order; the second kills the children and leaves at once."""

        def handle(number: int, _frame: object) -> None:
            # In the main thread, between any two of its instructions: nothing here may wait for a lock.
            if not self._ending.is_set():
                self._ending.set()
                return
            for child in list(self._children.values()):
                child.kill()
            os._exit(128 + number)

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
