"""What Ray runs on each node: a command of study.py, as on any machine, in a process of its own.

So signals, the fork server and its warm imports are as without Ray, and Ray's worker imports nothing but this module.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from search.devices import VARIABLE, by_uuid
from search.sources import PROJECT, ROOT
from search.text import printable

LAST_LINES, LAST_BYTES = 5, 2000  # of the log of a run that failed
_PR_SET_PDEATHSIG = 1  # of prctl(2)


@dataclass(frozen=True)
class Order:
    """What every node is to run."""

    target: str  # "module:function", the program of the process
    words: list[str]  # its command line, without what names the settings
    settings: str  # TOML, without a password
    folder: str  # where the logs of the runs lie, by number, on the node that ran them
    preemptible: tuple[str, ...] = ()  # further words on a node that may be taken away


class Node:
    """An actor: the command on the node where Ray put it. Two of its methods run at the same time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._is_stopped = False

    def run(self, order: Order) -> Iterator[dict[str, Any]]:
        """The command's JSON lines (docs/terminal.md) as they come, between "placed" and "exit" with its code.

        A line about a run that failed has the end of its log, too. Raises ChildProcessError for a command that was
        killed, as if this actor had died: then it starts again.
        """
        import ray

        yield {"event": "placed"}
        gpus = by_uuid(ray.get_runtime_context().get_accelerator_ids().get("GPU", []))
        with tempfile.TemporaryDirectory(prefix="xtts-study-node-") as folder:
            for package in PROJECT:  # the copy that Ray made is Ray's to remove, as a second node of this host does
                shutil.copytree(ROOT / package, Path(folder) / package)
            file = Path(folder) / "study.toml"
            file.write_text(order.settings, encoding="utf-8")
            command = [sys.executable, "-P", "-m", __name__, order.target, *order.words, "--settings", str(file)]
            environment = _environment(folder, gpus)
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            )
            if self._is_stopped:
                self._process.terminate()
            assert self._process.stdout is not None
            for text in self._process.stdout:
                line = json.loads(text)
                yield {**line, "log": end_of_log(Path(order.folder), line["trial"])} if _has_failed(line) else line
            code = self._process.wait()
            if code < 0 and not self._is_stopped:
                raise ChildProcessError(f"signal {-code} ended the search")
            yield {"event": "exit", "code": code}

    def stop(self) -> None:
        """Ends the runs in order, as Ctrl-C does."""
        self._is_stopped = True
        if self._process is not None:
            self._process.terminate()


def _environment(folder: str, gpus: list[str]) -> dict[str, str]:
    """That of Ray's worker, with the code in `folder` and the GPUs that Ray gave; none hides those of the machine."""
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # Ray's: 1
    path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**inherited, "PYTHONPATH": path, VARIABLE: ",".join(gpus)}


def _has_failed(line: dict[str, Any]) -> bool:
    return line["event"] == "ended" and line["reason"] in ("crashed", "out_of_memory", "timeout")


def end_of_log(folder: Path, number: int) -> list[str]:
    """The last lines of a trial's log, fit for a terminal; none where it cannot be read."""
    try:
        with (folder / str(number) / "log.txt").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))  # a run may have written gigabytes
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    return [printable(line) for line in text.splitlines()[-LAST_LINES:]]


def main() -> None:
    """Calls the target that the command line names. The process ends with Ray's worker, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    module, _, function = sys.argv.pop(1).partition(":")
    getattr(import_module(module), function)()


if __name__ == "__main__":
    main()
