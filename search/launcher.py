"""Starts the processes that train, from a fork server that has torch and TTS loaded."""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.training import child

ROOT = Path(__file__).parent.parent
KILL_AFTER = 30.0  # seconds that a child has to obey "stop"
MAIN_NEEDS = ["search.commands"]  # what study.py imports at once; tests/test_launcher.py compares


class Failed(Exception):
    """A child that did not end well: why, and where its log lies."""


class Child:
    """One process and the pipe to it."""

    def __init__(self, process: Any, connection: Any) -> None:
        self._process = process
        self._connection = connection
        self._heard = time.monotonic()

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """The next message, or None after `timeout` seconds. Raises EOFError once the child has gone without a word."""
        try:
            if not self._connection.poll(timeout):
                return None
            message: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            self._process.join(KILL_AFTER)
            raise EOFError(f"the process ended with exit code {self._process.exitcode}") from error
        self._heard = time.monotonic()
        return message

    def messages(self, log: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[dict[str, Any]]:
        """What the child says until it ends well, and closes it. `waiting` is called about five times a second.

        Raises UserError for what the child refused, and Failed for any other end; then `log`, which it wrote, stays.
        """
        try:
            while True:
                message = self.receive(0.2)
                waiting()
                match message:
                    case None:
                        continue
                    case {"kind": "refused", "message": text}:
                        log.unlink(missing_ok=True)
                        raise UserError(text, message.get("details", ()))
                    case {"kind": "end", "error": text}:
                        raise Failed(f"{text}; see {log}")
                    case {"kind": "end"}:
                        log.unlink(missing_ok=True)
                        return
                yield message
        except EOFError as error:
            raise Failed(f"{error}; see {log}") from error
        except (KeyboardInterrupt, GeneratorExit):  # the latter when the caller was interrupted between two messages
            self.kill()
            log.unlink(missing_ok=True)
            raise
        finally:
            self.close()

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self._heard

    def stop(self) -> None:
        """Asks the child to end its run at the next batch."""
        with suppress(OSError):  # it is gone already, which `receive` reports
            self._connection.send_bytes(child.STOP)

    def finish(self) -> None:
        """Asks the child to end its training at the next batch, and then to do what is left."""
        with suppress(OSError):
            self._connection.send_bytes(child.FINISH)

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Waits for the process and frees the pipe; kills what does not end."""
        self._connection.close()
        self._process.join(KILL_AFTER)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


class Launcher:
    """The fork server of one supervisor. Starting it costs the import of `preload`, torch and TTS, once."""

    def __init__(self, preload: Sequence[str] = child.PRELOAD) -> None:
        # The server looks for the modules that it preloads in its own path, which lacks this checkout when the working
        # folder is another, and passes over what it does not find: each child would import torch.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._context = multiprocessing.get_context("forkserver")
        # Each child runs study.py again, as multiprocessing's main module, which Python 3.11 does not preload. With
        # what it imports preloaded a child starts in 6 ms of CPU time instead of 24 (measured).
        self._context.set_forkserver_preload(["__main__", *MAIN_NEEDS, *preload])

    def start(self, target: Callable[..., None], *arguments: Any) -> Child:
        """`target(*arguments, connection)` in a process of its own."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=target, args=(*arguments, theirs), daemon=True)
        process.start()
        theirs.close()
        return Child(process, ours)
