"""How a slot follows the child of one run: reports what it says, and stops it when a rule fires or no one waits."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from search.settings.settings import Settings
from search.study import recorded
from search.text import printable
from search.ties import lowest
from search.trial import FULL_RESULTS, Evaluation, StopReason
from search.workers.events import View
from search.workers.keeping import Keeper
from search.workers.launcher import KILL_AFTER, Child, Message
from search.workers.work import Job, Work, decide

SAVED_AFTER = 60.0  # seconds that a child has to obey "stop" if it saves its state: after its optimizer step


@dataclass
class Outcome:
    """How a run ended, as far as this supervisor knows."""

    reason: StopReason
    record: dict[str, Any] | None
    error: str | None
    evaluations: list[Evaluation]
    speech: dict[str, Any] | None = None
    seconds: float = 0.0  # for which it held its slot

    @property
    def best(self) -> Evaluation | None:
        return lowest(self.evaluations)


@dataclass(frozen=True)
class Said:
    """What a child tells of its end."""

    reason: StopReason
    record: dict[str, Any] | None = None


EVALUATION, SAID = TypeAdapter(Evaluation), TypeAdapter(Said)


@dataclass
class Following:
    """One run, from its child's first word to its last.

    Once the child has said "trained" the outcome is settled: what follows, speech, may fail or be cut short.
    """

    slot: int
    child: Child
    job: Job
    work: Work
    view: View
    settings: Settings
    unwanted: Callable[[Job], StopReason | None]  # why no one waits for the run any more, or None
    keeper: Keeper
    evaluations: list[Evaluation] = field(default_factory=list)
    decided: StopReason | None = None  # by this side, why the run ends
    trained: Outcome | None = None
    stop_sent: float = 0.0  # seconds, of the monotonic clock

    def outcome(self) -> Outcome:
        """Returns once the child has ended, by itself or killed."""
        message: Message = {}
        try:
            for message in self.child.messages(self._look):
                self._heard(message)
            return self._spoken(self.trained, message) if self.trained else self._ended(message)
        except (EOFError, ValidationError) as error:
            gone = error if isinstance(error, EOFError) else self.child.distrusted()
            if self.trained:
                return self.trained
            reason, why = self.decided or StopReason.CRASHED, None if self.decided else str(gone)
            return Outcome(reason, None, why, self.evaluations)

    def _look(self) -> None:
        """Stops the child once its run is decided or unwanted, and kills it if it is stuck or does not obey."""
        unwanted = self.unwanted(self.job)
        if unwanted == StopReason.STOPPED_BY_NAME:  # somebody waits for what it has; without an evaluation it has none
            self.decided = self.decided or (unwanted if self.evaluations else None)
            unwanted = None
        self.decided = self.decided or unwanted
        if not self.stop_sent and (unwanted or (self.decided and not self.trained)):
            # A full result may be worth hearing, what was abandoned is not.
            is_full = self.decided in FULL_RESULTS and not unwanted
            is_again = self.decided == StopReason.STOPPED_BY_USER  # it goes on another time
            self.child.finish() if is_full else self.child.stop() if is_again else self.child.drop()
            self.stop_sent = time.monotonic()
        if self.stop_sent:
            if time.monotonic() - self.stop_sent > (SAVED_AFTER if self.keeper.is_on else KILL_AFTER):
                self.child.kill()
        elif self.child.silent_seconds > 60 * self.settings.study.stall_minutes:
            self.decided = self.decided or StopReason.TIMEOUT
            self.child.kill()

    def _heard(self, message: Message) -> None:
        match message:
            case {"kind": "evaluation", **values} if self.decided is None:
                evaluation = EVALUATION.validate_python(values)
                self.decided = decide(self.work, self.job, evaluation, self.evaluations)
                self.view.evaluated(self.slot, self.job.number, evaluation)
            case {"kind": "saved", "step": int(step)} if self.decided in (None, StopReason.STOPPED_BY_USER):
                self.keeper.saved(step)
            case {"kind": "note", "text": str(text)}:
                self.view.note(f"{self._who}: {printable(text)}")
            case {"kind": "trained"}:
                self.trained = self._outcome(SAID.validate_python(message), None)
                self.stop_sent = 0.0

    @property
    def _who(self) -> str:
        return f"{self.work.noun} {self.job.number}"

    def _outcome(self, said: Said, error: str | None) -> Outcome:
        return Outcome(self.decided or said.reason, said.record, error, self.evaluations)

    def _ended(self, message: Message) -> Outcome:
        """Of a run that was not trained to its end."""
        said = SAID.validate_python(message.get("result", message))
        return self._outcome(said, message.get("error"))

    def _spoken(self, trained: Outcome, message: Message) -> Outcome:
        """`trained` with what the run spoke."""
        if message.get("error"):
            self.view.note(f"{self._who} could not speak: {printable(str(message['error']))}; see its log.txt")
        speech = recorded.part(message.get("result"), "speech")
        trained.speech = speech if recorded.speech(speech) else None
        if trained.speech and self.settings.speech.recogniser and not trained.speech["recogniser"]:
            self.view.note(f"{self._who}: speech.recogniser could not be used; see its log.txt")
        return trained
