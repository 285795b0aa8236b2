"""The slots of one machine: each takes a trial, starts a child, reports, prunes and tells."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from search.errors import NoResult, TryAgain, UserError
from search.settings.settings import Settings
from search.study import artifacts
from search.study.columns import columns
from search.study.leases import Leases
from search.study.optuna_private import trial_id
from search.study.recorded import SLOT_SECONDS
from search.study.spoken import ATTRIBUTE, FOLDER, LEFT_OUT, Speech
from search.study.states import States
from search.trial import INTERRUPTIONS, Prepared, StopReason, TrialSpec
from search.workers.events import End, Start, View
from search.workers.following import SAVED_AFTER, Following, Outcome
from search.workers.interruption import Interruption
from search.workers.keeping import Keeper
from search.workers.launcher import KILL_AFTER, Launcher
from search.workers.orders import Orders
from search.workers.work import Job, Taken, Work, told

LEAVE_AFTER = KILL_AFTER + 15.0  # seconds after a stop in which every slot can end its run and tell the database
STORED_AFTER = 30.0  # seconds more for a run's last state to be stored: with all else less than Slurm's scripts have
ASK_AGAIN = 1.0  # seconds between looks at the study while the running trials may make up its number
MAX_FAILURES = 6  # runs that fail in a row, with none finished between, end the search: the fault is not the trials'


class Supervisor:
    """Does all of `work` with one slot for each of `devices`."""

    def __init__(
        self,
        work: Work,
        leases: Leases,
        settings: Settings,
        prepared: Prepared,
        launcher: Launcher,
        view: View,
        devices: list[str | None],
        target: str = "search.training.child:run",
    ) -> None:
        self.work = work
        self.settings = settings
        self.prepared = prepared
        self.view = view
        self.devices = devices
        self._leases = leases
        minutes = settings.service.pause_minutes
        self.orders = Orders(leases, None if minutes is None else 60 * minutes, view.note)
        self._launcher = launcher
        self._target = target
        self._asking = threading.Lock()
        self._changed = threading.Condition()
        self._failures = 0  # in a row
        self._interruption = Interruption(view.leave)
        self._error: BaseException | None = None
        self._store = artifacts.open_store(settings) if settings.speech.sentences else None
        self._states = States(leases.ledger, settings, view.note)
        self.seconds = {"training": 0.0, "evaluation": 0.0, "speech": 0.0}  # of this search's runs, over all slots

    def run(self, hurry: Callable[[], None]) -> None:
        """Returns when the work is done, or after a stop by the user (`stopped`) or by what people told all machines
        (`orders.halted`). Raises what a slot raised.

        `hurry` is called once when the user wants to leave.
        """
        threads = [
            threading.Thread(target=self._slot, args=(index, device), name=f"slot-{index}", daemon=True)
            for index, device in enumerate(self.devices)
        ]
        with self._interruption, self._leases:
            self._states.sweep(self.work.directory)
            for thread in threads:
                thread.start()
            told = 0.0
            while any(thread.is_alive() for thread in threads):
                if self._leases.error and not self._error:
                    self._error = self._leases.error
                    self.stop()
                if self.stopped and not told:
                    hurry()
                    when = "at their next batch" if self._states.seconds is None else "once their states are saved"
                    self.view.note(f"stopping; the runs end {when} (Ctrl-C again to leave at once)")
                    told = time.monotonic()
                if told and time.monotonic() - told > self._leave_after:
                    self._leave()
                self.orders.hear()
                self.view.refresh()
                time.sleep(0.2)
        if self._error:
            raise self._error
        if not self.stopped:
            self._states.sweep(self.work.directory)

    @property
    def _leave_after(self) -> float:
        return LEAVE_AFTER + (0 if self._states.seconds is None else SAVED_AFTER - KILL_AFTER + STORED_AFTER)

    @property
    def stopped(self) -> bool:
        return self._interruption.asked

    # Slots

    def _slot(self, index: int, device: str | None) -> None:
        try:
            while (job := self._claim()) is not None:
                self._run_trial(index, device, job)
                with self._changed:
                    self._changed.notify_all()
        except BaseException as error:
            # The main thread raises it; the other slots end their trials.
            self._error = self._error or error
            self.stop()

    def _claim(self) -> Job | None:
        """Waits for a trial; None once no further one is needed or wanted, or the user wants to leave.

        While the running trials, here and elsewhere, may make up the number, it waits: one of them may fail. One slot
        asks at a time, for all that wait here.
        """
        with self._asking:
            while not self.stopped:
                claim = self.work.claim(self._leases)
                self.view.counted(claim.finished, claim.best, self.work.worth)
                if claim.trial_id is not None:
                    try:
                        return self.work.begin(claim.trial_id)
                    except Taken:  # if the whole study was deleted, the next claim says so
                        self._leases.drop(claim.trial_id)
                        continue
                if self.work.is_done(claim) or self.orders.halt():
                    return None
                with self._changed:
                    self._changed.wait(ASK_AGAIN)
        return None

    def _run_trial(self, index: int, device: str | None, job: Job) -> None:
        """One trial from its start to its end in the storage."""
        spec = self._spec(job, device)
        self.view.started(Start(index, job.number, job.point, job.horizon, job.label))
        log = Path(spec.directory) / "log.txt"
        keeper = Keeper(self._states, trial_id(job.trial), spec)
        keeper.fetch(lambda: self._unwanted(job) is None)
        child = self._launcher.start(self._target, {"spec": spec.to_json()}, log, device)
        began = time.monotonic()  # the process is there
        self._interruption.children.add(child)
        with closing(child):  # only then, so that its process goes while the database is told
            try:
                followed = Following(index, child, job, self.work, self.view, self.settings, self._unwanted, keeper)
                outcome = followed.outcome()
                outcome.seconds = time.monotonic() - began
            finally:
                self._interruption.children.discard(child)
            finished = self._end(job, outcome, Path(spec.directory), keeper)
        if finished is None:
            self.view.ended(End(index, job.number, StopReason.PREEMPTED, None, "taken by another search meanwhile"))
            return
        self.view.counted(finished, None)
        self._count_time(outcome)
        self.view.ended(End(index, job.number, outcome.reason, outcome.best, outcome.error, job.competes))
        if outcome.reason in INTERRUPTIONS:
            self._count_failure(outcome, Path(spec.directory) / "log.txt")
        else:
            self._failures = 0

    def _spec(self, job: Job, device: str | None) -> TrialSpec:
        recogniser = self.settings.speech.recogniser
        directory = (self.work.directory / str(job.number)).absolute()
        try:
            directory.mkdir(parents=True)
        except FileExistsError as error:
            raise UserError(
                f"{directory} exists, but {self.work.noun} {job.number} starts only now: the database was restored"
                f" or replaced since; move {self.settings.directory} away and run the same command again"
            ) from error
        spec = TrialSpec.under(
            self.settings.training,
            study=self.settings.study.name,
            number=job.number,
            hyperparameters=job.point,
            seed=job.seed,
            label=job.label,
            horizon=job.horizon,
            evaluation_steps=job.evaluation_steps,
            prepared=self.prepared.directory,
            directory=str(directory),
            save_seconds=self._states.seconds_of(trial_id(job.trial)),
            keeps_best=False,
            device=device,
            sentences=job.sentences,
            speak_below=job.speak_below,
            recogniser=None if recogniser is None else str(recogniser.absolute()),
        )
        (directory / "spec.json").write_text(spec.to_json(), encoding="utf-8")
        return spec

    def _unwanted(self, job: Job) -> StopReason | None:
        """Why no one waits for the run any more, or None."""
        if self.stopped:
            return StopReason.STOPPED_BY_USER
        key = trial_id(job.trial)
        return StopReason.PREEMPTED if self._leases.is_lost(key) else self.orders.ending(key)

    def _end(self, job: Job, outcome: Outcome, directory: Path, keeper: Keeper) -> int | None:
        """How many trials of the study have finished with this one; None when a peer had taken it."""
        state, value = told(outcome.reason, outcome.evaluations)
        if state == TrialState.FAIL:  # what it saved is its successor's
            keeper.wait(STORED_AFTER)
            if outcome.reason != StopReason.STOPPED_BY_USER:
                keeper.failed()
        run = {"evaluations": [vars(e) for e in outcome.evaluations], "record": outcome.record, "error": outcome.error}
        attributes: dict[str, Any] = {"stop_reason": str(outcome.reason), "run": run}
        attributes[SLOT_SECONDS] = round(outcome.seconds, 3)
        if job.left_out and state == TrialState.COMPLETE and outcome.best and job.may_speak(outcome.best):
            attributes[LEFT_OUT] = job.left_out
        said: Speech | None = None
        # A run obeys late. If it evaluated once more, and lower, it spoke with weights that no trial recorded.
        spoke = outcome.speech and outcome.best and outcome.speech["step"] == outcome.best.step
        if outcome.speech and spoke and state == TrialState.COMPLETE:
            known = artifacts.identified(_files(outcome.speech, directory))
            said = Speech.from_dict({**outcome.speech, "artifacts": known})
            attributes[ATTRIBUTE] = said.to_dict()
            described = artifacts.described(said.labelled(), "audio/wav")
            attributes |= {key: json.dumps(meta) for key, meta in described.items()}  # Optuna decodes it twice
        attributes |= columns(outcome.best, outcome.record, said, job.config)
        finished = self._leases.end(trial_id(job.trial), state, value, attributes)
        if outcome.speech and said and finished is not None:  # now: a slow store must not keep a result from the peers
            self._store_speech(job, outcome.speech, directory)
        if state != TrialState.FAIL and finished is not None:
            keeper.ended()
        keeper.close()
        return finished

    def _store_speech(self, job: Job, spoken: dict[str, Any], directory: Path) -> None:
        """Nothing is stored once the user wants to leave."""
        name = "stopped"
        if not self.stopped:
            try:
                artifacts.upload(self._store, _files(spoken, directory))
                return
            except Exception as error:  # each kind of store raises its own, and sound is not worth a trial
                name = type(error).__name__
        self.view.note(f"{self.work.noun} {job.number}: what it spoke was not stored ({name}); it lies in {directory}")

    def _count_time(self, outcome: Outcome) -> None:
        with self._changed:
            if outcome.record:
                whole = outcome.record["train_seconds"] + outcome.record["evaluation_seconds"]
                here = min(1.0, outcome.seconds / whole) if whole else 1.0  # a run that went on began elsewhere
                self.seconds["training"] += here * outcome.record["train_seconds"]
                self.seconds["evaluation"] += here * outcome.record["evaluation_seconds"]
            if outcome.speech:
                self.seconds["speech"] += outcome.speech["took"]

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
            raise NoResult(
                f"{self._failures} runs in a row ended as {outcome.reason} ({outcome.error}); {hint}, then run the same"
                " command again"
            )

    # Stopping

    def stop(self) -> None:
        """Ends every run at its next batch. The same command continues the study."""
        with self._changed:
            self._interruption.asked = True
            self._changed.notify_all()

    def _leave(self) -> None:
        """When a database keeps its connections and says nothing, no call to it returns: leaves without the slots."""
        self._interruption.kill_children()
        raise self._error or TryAgain(
            f"not all slots ended within {self._leave_after:.0f} s of the stop, most likely since study.storage does"
            " not answer; what was measured last may be missing there; see that the server runs, then run the same"
            " command again"
        )


def _files(spoken: dict[str, Any], directory: Path) -> list[Path]:
    """What a run in `directory` spoke, each file once."""
    names = {name for sentence in Speech.from_dict(spoken).sentences for name in sentence.files}
    return [directory / FOLDER / name for name in sorted(names)]
