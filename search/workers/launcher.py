"""Starts child processes from a fork server that has torch and TTS loaded, and calls functions in them."""

import json
import multiprocessing
import os
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from search.errors import UserError
from search.preparation.cache import make_cache_directory
from search.workers import child

ROOT = Path(__file__).parents[2]
POLL = 0.2  # seconds between two looks at what else there is to do while a child is silent
KILL_AFTER = 30.0  # seconds that a child has to obey "stop", and to end a message that it began
LONGEST = 2**28  # bytes of a message
LONGEST_TMPDIR = 75  # bytes: multiprocessing's "/pymp-xxxxxxxx/listener-xxxxxxxx" follows, and a socket's path has 107
MAIN_NEEDS = ["search.commands.group"]  # what study.py imports at once

Message = dict[str, Any]


class Failed(Exception):
    """A child that did not end well: why, and where its log lies."""

    def __init__(self, why: str, log: Path) -> None:
        super().__init__(f"{why}; see {log}")
        self.why = why


class Child:
    """One process and the pipe to it."""

    def __init__(self, process: Any, connection: Any, log: Path) -> None:
        self._process, self._connection, self._log = process, connection, log
        self._seen = psutil.Process(process.pid) if psutil.pid_exists(process.pid) else None
        self._heard = time.monotonic()
        self.silent_seconds = 0.0  # up to the last look, if that found nothing to read

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def receive(self, timeout: float) -> Message | None:
        """The next message, or None after `timeout` seconds. Raises EOFError once the child has gone without a word."""
        try:
            if not self._connection.poll(timeout):
                self.silent_seconds = time.monotonic() - self._heard
                return None
            message: Message = json.loads(self._connection.recv_bytes(LONGEST))
            if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
                raise ValueError("no message")
        except (EOFError, ConnectionError) as error:
            self._process.join(KILL_AFTER)
            raise EOFError(f"the process ended with exit code {self._process.exitcode}") from error
        except (ValueError, RecursionError, OSError) as error:  # other bytes, or a message without its end
            raise self.distrusted() from error
        self._heard, self.silent_seconds = time.monotonic(), 0.0
        return message

    def distrusted(self) -> EOFError:
        """What is raised of a child that said what makes no sense. It is killed."""
        self.kill()
        return EOFError("what the process sent is no message")

    def messages(self, waiting: Callable[[], None]) -> Iterator[Message]:
        """All that the child says, up to its "end". Calls `waiting` before each look. Raises EOFError."""
        message: Message | None = None
        while message is None or message["kind"] != "end":
            waiting()
            if (message := self.receive(POLL)) is not None:
                yield message

    def result(self, listen: Callable[[Message], None], waiting: Callable[[], None]) -> Any:
        """What the target returned; closes the child. `listen` gets what it says, `waiting` is as in `messages`.

        Raises UserError for what the target refused, and Failed for any other end. An exception of `listen` or
        `waiting` kills the process.
        """
        message: Message = {}
        try:
            for message in self.messages(waiting):
                if message["kind"] != "end":
                    listen(message)
        except EOFError as error:
            raise Failed(str(error), self._log) from error
        except BaseException:
            self.kill()
            raise
        finally:
            self.close()
        if "details" in message:
            raise UserError(message["error"], message["details"])
        if "error" in message:
            raise Failed(message["error"], self._log)
        return message["result"]

    def stop(self) -> None:
        """Asks the child to end its run at the next batch; one that keeps its state saves it first."""
        self._tell(child.STOP)

    def drop(self) -> None:
        """Asks the child to end its run at the next batch. Nothing of it is wanted."""
        self._tell(child.DROP)

    def finish(self) -> None:
        """Asks the child to end its training at the next batch, and then to do what is left."""
        self._tell(child.FINISH)

    def _tell(self, word: bytes) -> None:
        with suppress(OSError):  # it is gone already, which `receive` reports
            self._connection.send_bytes(word)

    def kill(self) -> None:
        """Also if its fork server has gone: multiprocessing takes that for the process's own end, and sends nothing."""
        with suppress(psutil.NoSuchProcess):
            if self._seen:
                self._seen.kill()

    def close(self) -> None:
        """Waits for the process and frees the pipe; kills what does not end."""
        self._connection.close()
        self._process.join(KILL_AFTER)
        if self._process.is_alive():
            self.kill()
            self._process.join()
        self._process.close()


class Launcher:
    """The fork server of one supervisor. Starting it costs the import of `preload`, torch and TTS, once."""

    def __init__(self, preload: Sequence[str] = child.PRELOAD) -> None:
        if len(os.fsencode(tempfile.gettempdir())) > LONGEST_TMPDIR:
            longest = f"at most {LONGEST_TMPDIR} bytes long, since sockets lie under it; name another one"
            raise UserError(f"TMPDIR is {tempfile.gettempdir()}, which must be {longest}")
        # The server looks for the modules that it preloads in its own path, which lacks this checkout when the working
        # folder is another, and passes over what it does not find: each child would import torch.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        # Else a space.py or queue.py in the user's working folder would be imported.
        os.environ["PYTHONSAFEPATH"] = "1"
        self._context = multiprocessing.get_context("forkserver")
        # Each child runs study.py again, as multiprocessing's main module, which Python 3.11 does not preload. With
        # what it imports preloaded a child starts in 6 ms of CPU time instead of 24 (measured).
        self._context.set_forkserver_preload(["__main__", *MAIN_NEEDS, *preload])

    # A fork server that ends meanwhile is made anew; a child that it still started loses its pipe, and leaves.
    @retry(
        retry=retry_if_exception_type((EOFError, OSError)),
        stop=stop_after_attempt(5),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    def start(self, target: str, request: Mapping[str, Any], log: Path, device: str | None = None) -> Child:
        """`target`, "module:function", as function(caller, **request) in a process of its own, which sees one GPU.

        `request` is plain data. What the process prints goes to `log`.
        """
        ours, theirs = self._context.Pipe()
        with socket.socket(fileno=os.dup(ours.fileno())) as end:  # a slot waits for no message for ever
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(KILL_AFTER), 0))
        arguments = (target, request, str(log), device, theirs)
        process = self._context.Process(target=child.main, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return Child(process, ours, log)

    def call(
        self,
        target: str,
        request: Mapping[str, Any],
        listen: Callable[[Message], None] = lambda _: None,
        *,
        device: str | None = None,
        waiting: Callable[[], None] = lambda: None,
    ) -> Any:
        """`Child.result` of `target`, whose output goes to a file of the cache that is kept only if it fails."""
        log = (
            make_cache_directory()
            / f"{target.rpartition('.')[2].replace(':', '-')}-{os.getpid()}-{threading.get_ident()}.log"
        )
        try:
            result = self.start(target, request, log, device).result(listen, waiting)
        except Failed:
            raise
        except BaseException:
            log.unlink(missing_ok=True)
            raise
        log.unlink(missing_ok=True)
        return result
