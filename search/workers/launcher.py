"""Starts child processes from a fork server that has torch and TTS loaded, and calls functions in them."""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.preparation.cache import make_cache_directory
from search.workers import child

ROOT = Path(__file__).parents[2]
KILL_AFTER = 30.0  # seconds that a child has to obey "stop"
MAIN_NEEDS = ["search.commands.group"]  # what study.py imports at once; tests/test_launcher.py compares


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

    def start(self, target: str, request: Mapping[str, Any], log: Path, device: str | None = None) -> Child:
        """`target`, "module:function", as function(caller, **request) in a process of its own, which sees one GPU.

        `request` is plain data. What the process prints goes to `log`.
        """
        ours, theirs = self._context.Pipe()
        arguments = (target, request, str(log), device, theirs)
        process = self._context.Process(target=child.main, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return Child(process, ours)

    def call(
        self,
        target: str,
        request: Mapping[str, Any],
        listen: Callable[[dict[str, Any]], None] = lambda _: None,
        *,
        log: Path | None = None,
        device: str | None = None,
        waiting: Callable[[], None] = lambda: None,
    ) -> Any:
        """What `target` returns. `listen` gets what it says in between; `waiting` is called about five times a second.

        Raises UserError for what it refused, and Failed for any other end. Without `log` the output goes to a file of
        the cache, which is kept only when the process failed. An exception of `listen` or `waiting` kills the process.
        """
        file = log or make_cache_directory() / f"{target.rpartition('.')[2].replace(':', '-')}-{os.getpid()}.log"
        process = self.start(target, request, file, device)
        try:
            while (message := process.receive(0.2)) is None or message["kind"] != "end":
                waiting()
                if message is not None:
                    listen(message)
        except EOFError as error:
            raise Failed(f"{error}; see {file}") from error
        except BaseException:
            process.kill()
            if log is None:
                file.unlink(missing_ok=True)
            raise
        finally:
            process.close()
        if "error" in message and "details" not in message:
            raise Failed(f"{message['error']}; see {file}")
        if log is None:
            file.unlink(missing_ok=True)
        if "error" in message:
            raise UserError(message["error"], message["details"])
        return message["result"]
