"""How the process of a full run is followed to its end, and stopped when the user wants to."""

import time
from dataclasses import dataclass, field

from search.errors import UserError
from search.full_run.display import FullRunView
from search.full_run.order import Order
from search.full_run.result import FullResult
from search.trial import Evaluation, Prepared, StopReason
from search.workers.interruption import Interruption
from search.workers.launcher import Child, Failed, Message

STOP_SECONDS = 600.0  # for an optimizer step and saving a state of 5 GB


@dataclass
class Follower:
    """Follows the child of a full run to its end, and asks it to stop when the user wants to."""

    child: Child
    interruption: Interruption
    order: Order
    prepared: Prepared
    view: FullRunView
    evaluations: list[Evaluation] = field(default_factory=list)
    begun: bool = False
    stop_sent: float = 0.0  # seconds, of the monotonic clock

    def follow(self) -> FullResult | None:
        """None once the user stopped the run. Raises UserError for an end that is no result."""
        self.interruption.children.add(self.child)
        try:
            ended = self.child.result(self._heard, self._look)
        except Failed as error:
            if self.stop_sent:
                return None
            raise UserError(f"the run ended without a result ({error}); the same command continues") from error
        finally:
            self.interruption.children.discard(self.child)
        reason = StopReason(ended["reason"])
        if reason == StopReason.STOPPED_BY_USER:
            return None
        order, base = self.order, Evaluation(**self.prepared.base_evaluation)
        horizon = order.best.schedule.horizon
        return FullResult(reason, order.stopping, horizon, self.evaluations, base, ended["record"], order.seed)

    def _heard(self, message: Message) -> None:
        match message:
            case {"kind": "evaluation", **values}:
                evaluation = Evaluation(**values)
                self.evaluations.append(evaluation)
                if self.begun:
                    self.view.evaluated(evaluation)
            case {"kind": "step", "step": step} if self.begun:
                self.view.stepped(step)
            case {"kind": "step", "step": step}:
                self._begin(step)

    def _begin(self, step: int) -> None:
        """Only now it is known whether the run resumes a saved state: the evaluations so far are that state's."""
        self.begun = True
        horizon = self.order.best.schedule.horizon
        if step:
            self.view.note(f"going on from step {step} of {horizon}, {len(self.evaluations)} evaluations made before")
        self.view.begin(horizon, step, self.evaluations)

    def _look(self) -> None:
        self.view.refresh()
        if self.interruption.asked and not self.stop_sent:
            self.view.note("stopping after this optimizer step, with the state saved (Ctrl-C again to leave at once)")
            self.child.stop()
            self.stop_sent = time.monotonic()
        minutes = self.order.settings.study.stall_minutes
        if self.stop_sent and time.monotonic() - self.stop_sent > STOP_SECONDS:
            self.child.kill()
        elif self.child.silent_seconds > 60 * minutes:
            raise Failed(f"no sign of life for {minutes:g} minutes", self.order.directory / "log.txt")
