"""`study.py --engine ray` with runs that do not train.

python -m tests.stub_on_ray ADDRESS URL FOLDER --trials 200       # the stub supervisors of tests/stub.py on the nodes
python -m tests.stub_on_ray study.py --engine ray …               # study.py itself, here and on the nodes
"""

import json
import os
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.show.plain import PlainView
from search.text import complain
from search.trial import Caller, TrialSpec
from search.workers import on_ray
from search.workers.listeners import Listeners
from search.workers.on_ray import connected, drive
from search.workers.ray_cluster import Cluster
from search.workers.ray_node import Order
from tests import stub, stub_study


def node() -> None:
    """In place of study.py on a node, which is a machine of its own: its peers cannot see its processes."""
    del sys.argv[sys.argv.index("--settings") :]
    if "--refuse" in sys.argv:
        tell("note", text=f"it sees {os.environ['CUDA_VISIBLE_DEVICES']!r}")
        tell("error", message="this node is refused", details=["one", "two"])
        sys.exit(2)
    if "--set" in sys.argv:
        tell("note", text=f"it has {sys.argv[sys.argv.index('--set') + 1]}")
        del sys.argv[sys.argv.index("--set") :]
    sys.argv += ["--machine", f"node of {os.getppid()}"]
    stub.main()


def study_node() -> None:
    """study.py on a node, with runs of tests/stub.py, which a file in the study's folder holds."""
    from search.commands.group import main
    from search.workers import session

    settings = tomllib.loads(Path(sys.argv[sys.argv.index("--settings") + 1]).read_text(encoding="utf-8"))
    os.environ |= {"STUB_SECONDS": "0.1", "STUB_FOLDER": settings["study"]["directory"]}
    supervisor = session.Supervisor
    stub_study.stub()
    session.Supervisor = partial(supervisor, target="tests.stub_on_ray:run")  # type: ignore[assignment,misc]
    main()


def run(line: Caller, spec: str) -> dict[str, Any]:
    """Notes which devices CUDA would see."""
    (Path(TrialSpec.from_json(spec).directory) / "devices").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    return stub.run_stub(line, spec)


def study_py() -> None:
    from search.commands.group import main

    on_ray.Order = lambda _, *rest: Order("tests.stub_on_ray:study_node", *rest)  # type: ignore[assignment,misc]
    del sys.argv[0]
    main()


def tell(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def main() -> None:
    address, url, folder, *flags = sys.argv[1:]
    trials = int(flags[flags.index("--trials") + 1]) if "--trials" in flags else 1
    view = Listeners()
    view.add(PlainView(view.board))
    logs = Path(folder).absolute() / "miniature" / "trials"
    order = Order(
        "tests.stub_on_ray:node",
        [url, str(Path(folder).absolute()), "--json", "--stopped", "130", *flags],
        "",
        str(logs),
        ("--set", "study.save_minutes=15"),
    )
    with connected(address) as ray:
        if drive(Cluster(ray, order, view, on_gpus=1, on_cpu=2, at_once=trials, grows_by="CPU"), view):
            sys.exit(130)


if __name__ == "__main__":
    try:
        study_py() if sys.argv[1] == "study.py" else main()
    except UserError as error:
        complain(str(error), *error.details)
        sys.exit(error.exit_code)
