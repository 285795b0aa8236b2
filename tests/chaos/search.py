"""`python -m tests.chaos.search …` is `study.py …` with runs of tests.chaos.runs, on a plain machine and on Ray."""

import os
import sys
import tomllib
from functools import partial
from pathlib import Path

MACHINE = "CHAOS_MACHINE"  # in the environment: a name instead of this machine's; its peers cannot see its processes


def main() -> None:
    try:
        prepare()
    except KeyboardInterrupt:  # study.py imports as much, but within its own net
        sys.exit(130)
    from search.commands.group import main as study_py

    study_py()


def prepare() -> None:
    """Puts the runs, the machine's name and this module in place."""
    from search.study import leases
    from search.workers import on_ray, session
    from search.workers.ray_node import Order
    from tests import stub_study

    if name := os.environ.get(MACHINE):
        leases.machine = lambda: name
    on_ray.Order = lambda _, *rest: Order("tests.chaos.search:node", *rest)  # type: ignore[assignment,misc]
    stub_study.stub()
    session.Supervisor = partial(session.Supervisor, target="tests.chaos.runs:run")  # type: ignore[assignment,misc]


def node() -> None:
    """The same on a node of Ray."""
    settings = tomllib.loads(Path(sys.argv[sys.argv.index("--settings") + 1]).read_text(encoding="utf-8"))
    os.environ["STUB_FOLDER"] = settings["study"]["directory"]
    main()


if __name__ == "__main__":
    main()
