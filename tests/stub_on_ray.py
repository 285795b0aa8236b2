"""`study.py --engine ray` with the stub supervisors of tests/stub.py on the nodes.

    python -m tests.stub_on_ray ADDRESS URL FOLDER --trials 200
"""

import os
import sys
from pathlib import Path

from search.errors import UserError
from search.show.plain import PlainView
from search.text import complain
from search.workers.listeners import Listeners
from search.workers.on_ray import connected, drive
from search.workers.ray_cluster import Cluster
from search.workers.ray_node import Order
from tests import stub


def node() -> None:
    """In place of study.py on a node, which is a machine of its own: its peers cannot see its processes."""
    del sys.argv[sys.argv.index("--settings") :]
    sys.argv += ["--machine", f"node of {os.getppid()}"]
    try:
        stub.main()
    except UserError as error:
        print(f'{{"event": "error", "message": "{error}", "details": ["one", "two"]}}', flush=True)
        sys.exit(error.exit_code)


def main() -> None:
    address, url, folder, *flags = sys.argv[1:]
    view = Listeners()
    view.add(PlainView(view.board))
    logs = Path(folder).absolute() / "miniature" / "trials"
    order = Order("tests.stub_on_ray:node", [url, str(Path(folder).absolute()), "--json", *flags], "", str(logs))
    with connected(address) as ray:
        if drive(Cluster(ray, order, view, None, 2), view):
            sys.exit(130)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        complain(str(error), *error.details)
        sys.exit(error.exit_code)
