"""What every child process runs: it finds its target by name, calls it, and reports over a pipe how that ended.

Light to import; torch comes with the target. The fork server imports `PRELOAD` once, and children start from it in
some 20 ms.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.trial import StopReason

PRELOAD = ["search.workers.preload"]
SIGN_OF_LIFE = 10.0  # seconds between messages of a run that has nothing else to say
SUPERVISOR_GONE = 3  # exit code
LONGEST_ERROR = 500  # characters

STOP = b"stop"  # the run ends, and may go on another time: what keeps a state saves it
DROP = b"drop"  # the run ends, and nothing of it is wanted
FINISH = b"finish"  # the training ends; then the run speaks, if it was asked to


class Line:
    """The child's end of the pipe, a `search.trial.Caller`.

    Sending never waits: a thread does it, and a slow supervisor costs no step.
    """

    def __init__(self, connection: Connection) -> None:
        self._stop = threading.Event()
        self._abandoned = threading.Event()
        self._final = threading.Event()
        self._alive = threading.Event()
        self._connection = connection
        self._outbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()
        threading.Thread(target=self._listen, daemon=True).start()

    def should_stop(self) -> bool:
        """Asked by the run between two batches, which also shows that it is not stuck."""
        self._alive.set()
        return self._stop.is_set()

    def is_wanted(self) -> bool:
        """Asked by the run between two sentences."""
        self._alive.set()
        return not self._abandoned.is_set()

    def may_go_on(self) -> bool:
        """Asked by a run that keeps its state."""
        return not self._final.is_set()

    def stop(self) -> None:
        """Does what a stop from the supervisor does."""
        self._stop.set()

    def say(self, kind: str, **values: Any) -> None:
        self._outbox.put({"kind": kind, **values})

    def close(self) -> None:
        """Returns once all is sent, for at most half a minute."""
        self._outbox.put(None)
        self._sender.join(30)

    def _send(self) -> None:
        while True:
            try:
                message = self._outbox.get(timeout=SIGN_OF_LIFE)
            except queue.Empty:
                if not self._alive.is_set():
                    continue  # stuck, or in a long evaluation; the supervisor counts the silence
                self._alive.clear()
                message = {"kind": "alive"}
            if message is None:
                return
            try:  # in ASCII: a file's name may hold bytes that are no text
                self._connection.send_bytes(json.dumps(message).encode())
            except OSError:
                os._exit(SUPERVISOR_GONE)

    def _listen(self) -> None:
        """Obeys. The end of the pipe means that the supervisor is gone, so no one waits for this run."""
        while True:
            try:
                word = self._connection.recv_bytes()
                if word in (STOP, DROP):
                    self._abandoned.set()
                if word in (DROP, FINISH):
                    self._final.set()
                if word in (STOP, DROP, FINISH):
                    self._stop.set()
            except (EOFError, OSError):
                os._exit(SUPERVISOR_GONE)


def main(target: str, request: Mapping[str, Any], log: str, device: str | None, connection: Connection) -> None:
    """Calls `target`, "module:function", as function(caller, **request), and says "end" with what it returned.

    In between, the function says what it likes. Its output and its traceback go to the file `log`.
    """
    line = Line(connection)
    try:
        detach(Path(log), device)
    except OSError as error:  # such as a full disk; there is no log to tell it to
        line.say("end", reason=StopReason.CRASHED, error=in_a_line(error))
        line.close()
        return
    line.say("started", preloaded=PRELOAD[0] in sys.modules)
    line.say("end", **ended(target, line, request))
    line.close()


def ended(target: str, line: Line, request: Mapping[str, Any]) -> dict[str, Any]:
    """{"result": what the target returned}, or {"reason": StopReason, "error": a line}.

    A UserError also has its "details": the user can fix the cause, and the process did not fail.
    """
    module, _, function = target.partition(":")
    try:
        return {"result": getattr(import_module(module), function)(line, **request)}
    except UserError as error:
        return {"reason": StopReason.CRASHED, "error": str(error), "details": list(error.details)}
    except MemoryError as error:
        return {"reason": StopReason.OUT_OF_MEMORY, "error": str(error) or "out of memory"}
    except BaseException as error:  # the process ends here; whatever it was, the supervisor must hear of it
        traceback.print_exc()
        is_memory = type(error).__name__ == "OutOfMemoryError"  # torch's, which need not be imported
        reason = StopReason.OUT_OF_MEMORY if is_memory else StopReason.CRASHED
        return {"reason": reason, "error": in_a_line(error)}


def in_a_line(error: BaseException) -> str:
    """Its kind and the first line of what it says; not more than fits the table of trials."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])[:LONGEST_ERROR]


def detach(log: Path, device: str | None) -> None:
    """Output to `log`, the terminal's Ctrl-C left to the supervisor, one GPU visible (before CUDA starts)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    print(f"process {os.getpid()} started {time.strftime('%Y-%m-%d %H:%M:%S')}", flush=True)
