"""`python -m tests.on_machine NAME …` is `study.py …` on a machine of that name, whose processes its peers cannot see.

Its runs are real. With HOLD_AT=N each waits after its N-th optimizer step, until it is stopped or killed, and says so
by a file `held`.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from search.trial import Caller


class Held(Caller):
    """The caller of a run that waits."""

    def __init__(self, line: Caller) -> None:
        self._line, self._hold = line, int(os.environ.get("HOLD_AT", -1))
        self.should_stop, self.may_go_on, self.is_wanted = line.should_stop, line.may_go_on, line.is_wanted

    def say(self, kind: str, **values: Any) -> None:
        self._line.say(kind, **values)
        if kind == "step" and values["step"] == self._hold:
            Path("held").touch()
            while not self.should_stop():
                time.sleep(0.02)


def run(line: Caller, spec: str) -> dict[str, Any]:
    from search.training import child

    return child.run(Held(line), spec)


def main() -> None:
    from search.commands.group import main as study_py
    from search.study import leases
    from search.workers import session

    name = sys.argv.pop(1)
    leases.machine = lambda: name
    session.Supervisor = partial(session.Supervisor, target="tests.on_machine:run")  # type: ignore[misc, assignment]
    study_py()


if __name__ == "__main__":
    main()
