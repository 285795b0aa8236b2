"""`python -m tests.stub_study …` is `study.py …` with the runs of tests.stub_confirm, which do not train."""

from functools import partial
from typing import Any

from search.commands.group import main
from search.confirmation import confirm as confirmation
from search.workers import session
from search.workers.launcher import Launcher
from tests.stub_confirm import PRELOAD
from tests.studies import PREPARED


def stub(put: Any = setattr) -> None:
    """Puts stubs in place of what loads torch; `put` may be a monkeypatch's."""
    for module in (session, confirmation):
        put(module, "prepare", lambda *_: PREPARED)
        put(module, "Launcher", partial(Launcher, PRELOAD))
    put(session, "Supervisor", partial(session.Supervisor, target="tests.stub_confirm:run_full"))
    put(confirmation, "run", partial(confirmation.run, target="tests.stub_confirm:run_full"))


if __name__ == "__main__":
    stub()
    main()
