"""A short form of `make chaos`: the faults of one seed, on two to four machines."""

import tempfile
from pathlib import Path

from tests.chaos import faults
from tests.chaos.__main__ import play, schedule, trials_of
from tests.chaos.rounds import JumpingServer, Round

SHORT = 10  # faults
SEED = 4


def test_faults_lose_double_and_leave_nothing() -> None:
    """What fails repeats with `python -m tests.chaos --seed 4 --faults 10`."""
    kinds = {name: fault for name, fault in (faults.KINDS | faults.PLAIN_KINDS).items() if name not in faults.skipped()}
    server = JumpingServer()
    try:
        with tempfile.TemporaryDirectory() as short:  # pytest's own is too long for a fork server's socket
            round = Round(server, Path(short) / "round", SEED, trials_of(SHORT))
            happened = play(round, kinds, schedule(SEED, list(kinds), SHORT))
    finally:
        server.remove()
    assert happened.total() > SHORT / 2, happened
