"""Runs of tests/stub.py that misbehave on demand: the first one that finds the file ORDER takes it, and obeys."""

import json
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.trial import Caller
from tests import stub

ORDER = "order"  # its text is one of ORDERS
MEGABYTE = 2**20


def run(line: Caller, spec: str) -> dict[str, Any]:
    return stub.run_stub(Misbehaving(line), spec)


class Misbehaving:
    """A run's end of the pipe. Each evaluation is a moment at which it may have to misbehave."""

    def __init__(self, line: Any) -> None:
        self._line = line
        self.should_stop, self.is_wanted, self.may_go_on = line.should_stop, line.is_wanted, line.may_go_on

    def say(self, kind: str, **values: Any) -> None:
        file = Path(os.environ["STUB_FOLDER"]) / ORDER
        mine = file.with_name(f"{ORDER}-{os.getpid()}")
        try:
            file.rename(mine)  # one run gets it
        except FileNotFoundError:
            self._line.say(kind, **values)
            return
        order = mine.read_text()
        mine.unlink()
        ORDERS[order](self._line)
        self._line.say(kind, **values)


def too_much_memory(_: Any) -> None:
    """More than there is; where the kernel does not mind, it would end the process instead: `killed`."""
    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    bytearray(2**36)


def killed(_: Any) -> None:
    """As the kernel does where memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def hanging(_: Any) -> None:
    """Neither trains nor ends, but its pipe is open."""
    time.sleep(3600)


def stopped(_: Any) -> None:
    """Not even its threads run."""
    os.kill(os.getpid(), signal.SIGSTOP)


def printing(_: Any) -> None:
    """1 GB, without a newline."""
    for _block in range(1024):
        os.write(1, b"x" * MEGABYTE)


def shouting(_: Any) -> None:
    """Its error is a line of 64 MB."""
    raise RuntimeError("x" * 64 * MEGABYTE)


def noise(line: Any) -> None:
    """Bytes amid its messages, as from a library that writes to a descriptor that it does not own."""
    os.write(line._connection.fileno(), random.randbytes(random.randint(1, 5000)))


def nonsense(line: Any) -> None:
    """Messages whose form is right and whose content is not."""
    for content in (b"\xff", b"[]", b'"kind"', b"{}", b'{"kind": "evaluation", "step": {}}', b'{"kind": "trained"}'):
        line._connection.send_bytes(content)
    line._connection.send_bytes(json.dumps({"kind": "end", "result": [random.random()]}).encode())


ORDERS: dict[str, Callable[[Any], None]] = {
    each.__name__: each for each in (too_much_memory, killed, hanging, stopped, printing, shouting, noise, nonsense)
}
