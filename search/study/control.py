"""What people told all machines of a study: to pause, to stop, or to end one trial early. The study holds it.

Every supervisor reads it when it asks for a trial, and with the leases, twice between two heartbeats.
"""

import socket
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from search.errors import Halted
from search.text import printable

ATTRIBUTE = "control"  # of the study, a system attribute

PAUSED = 76  # exit code: the same command may succeed later
State = Literal["running", "paused", "stopped"]


@dataclass(frozen=True)
class Control:
    """As if nobody had said anything, unless told otherwise."""

    state: State = "running"
    cuts: bool = False  # stopped at once: the running trials do not go on to their end
    ending: tuple[int, ...] = ()  # ids of running trials that end now, and keep their best evaluation
    place: str = ""  # where it was said, such as "on gpu-3"
    at: str = ""  # when, by the clock of that machine, in UTC
    changes: int = 0  # how often something was said: of two readings the one with more is the newer

    def told(self, state: State, cuts: bool = False, through: str = "") -> "Control":
        """With the state of the study changed, on this machine. Trials that are to end still do."""
        place, at = f"{through}on {socket.gethostname()}", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return Control(state, cuts, self.ending, place, at, self.changes + 1)

    def with_ending(self, trial_ids: tuple[int, ...]) -> "Control":
        return replace(self, ending=trial_ids, changes=self.changes + 1)

    @property
    def words(self) -> str:
        """The state in a line, with what lifts it."""
        said = printable(f" ({self.place}, {self.at})") if self.place else ""
        match self.state:
            case "paused":
                return f"the study is paused{said}: no new trial starts; study.py resume lets it go on"
            case "stopped":
                how = "stopped at once" if self.cuts else "stopped"
                return f"the study was {how}{said}: no new trial starts; study.py resume lifts the stop"
        return f"the study goes on{said}"

    @property
    def unless_running(self) -> "Control | None":
        """This, where it keeps new trials from starting."""
        return None if self.state == "running" else self

    @property
    def exit_code(self) -> int:
        """Of a search that ended because of it (docs/operations.md)."""
        return Halted.exit_code if self.state == "stopped" else PAUSED

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


NOTHING_SAID = Control()
_CONTROL = TypeAdapter(Control)


def read(text: str | None) -> Control:
    """From the attribute's JSON. What is not there, or of a form that this release does not know, tells nothing."""
    try:
        return _CONTROL.validate_json(text) if text else NOTHING_SAID
    except ValidationError:
        return NOTHING_SAID
