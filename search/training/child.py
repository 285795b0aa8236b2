"""The process of one run: talks to its supervisor over a pipe. Light to import; torch comes with the run.

The supervisor's fork server imports `PRELOAD` once, and children start from it in some 20 ms.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from search.trial import RunRecord, StopReason, TrialSpec

PRELOAD = ["search.training.preload"]
SIGN_OF_LIFE = 10.0  # seconds between messages of a run that has nothing else to say
SUPERVISOR_GONE = 3  # exit code

STOP = b"stop"  # the run ends, and nobody wants to hear it
FINISH = b"finish"  # the training ends; a run that is to speak then does


class Line:
    """The child's end of the pipe. Sending never waits: a thread does it, and a slow supervisor costs no step."""

    def __init__(self, connection: Connection) -> None:
        self._stop = threading.Event()
        self._abandoned = threading.Event()
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

    def stop(self) -> None:
        """As if the supervisor had said so."""
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
        """Obeys; an end of the pipe means that the supervisor is gone, and nobody waits for this run."""
        while True:
            try:
                word = self._connection.recv_bytes()
                if word == STOP:
                    self._abandoned.set()
                if word in (STOP, FINISH):
                    self._stop.set()
            except (EOFError, OSError):
                os._exit(SUPERVISOR_GONE)


def run_child(spec_json: str, connection: Connection) -> None:
    """Runs a trial. Says "started", "evaluation" for each one, "trained" with the reason and the record, and "end".

    "end" has what the run spoke, or how it failed.
    """
    spec = TrialSpec.from_json(spec_json)
    detach(Path(spec.directory) / "log.txt", spec.device)
    line = Line(connection)
    line.say("started", preloaded="search.training.preload" in sys.modules)

    def run() -> dict[str, Any]:
        from search.training.run import run_trial  # torch

        def trained(reason: StopReason, record: RunRecord) -> bool:
            line.say("trained", reason=reason, record=asdict(record))
            return line.is_wanted()

        reason, _ = run_trial(
            spec,
            lambda e: line.say("evaluation", **asdict(e)),
            line.should_stop,
            trained=trained,
            go_on=line.is_wanted,
        )
        spoken = Path(spec.directory) / "speech.json"
        speech = json.loads(spoken.read_text(encoding="utf-8")) if spoken.exists() else None
        return {"reason": reason, "speech": speech}

    line.say("end", **guarded(run))
    line.close()


def full_run_child(spec_json: str, stopping_json: str, connection: Connection) -> None:
    """Runs a full run under its stopping rules. Says "evaluation", "step" and at last "refused" or "end".

    SIGTERM, which a service manager sends to every process, ends it as a stop does: with its state saved.
    """
    spec = TrialSpec.from_json(spec_json)
    detach(Path(spec.directory) / "log.txt", spec.device)
    line = Line(connection)
    signal.signal(signal.SIGTERM, lambda *_: line.stop())

    def run() -> dict[str, Any]:
        from search.best_config import Stopping
        from search.errors import UserError
        from search.full_run.stopping import StoppingRules
        from search.training.run import run_trial  # torch

        rules = StoppingRules(Stopping.model_validate_json(stopping_json), spec.horizon)
        try:
            reason, record = run_trial(
                spec,
                lambda e: line.say("evaluation", **asdict(e)),
                line.should_stop,
                judge=rules,
                stepped=lambda step: line.say("step", step=step),
            )
        except UserError as error:
            line.say("refused", message=str(error))
            return {"reason": StopReason.CRASHED}
        return {"reason": reason, "record": asdict(record)}

    line.say("end", **guarded(run))
    line.close()


def ready_child(spec_json: str, report: str, connection: Connection) -> None:
    """Makes the folder ready/ of a full run. Says "refused" or "end"."""
    spec = TrialSpec.from_json(spec_json)
    detach(Path(spec.directory) / "log.txt", None)
    line = Line(connection)

    def run() -> dict[str, Any]:
        from search.errors import UserError
        from search.training.ready import make_ready  # torch

        try:
            make_ready(spec, Path(report))
        except UserError as error:
            line.say("refused", message=str(error))
        return {"reason": StopReason.FINISHED}

    line.say("end", **guarded(run))
    line.close()


def prepare_child(settings_json: str, cache: str, log: str, connection: Connection) -> None:
    """Prepares a study. Says "progress" and at last "prepared", "refused" (the user's to mend) or "end"."""
    detach(Path(log), None)
    line = Line(connection)

    def run() -> dict[str, Any]:
        from search.errors import UserError
        from search.settings import Settings
        from search.training.prepare import prepare  # torch

        try:
            settings = Settings.model_validate_json(settings_json)
            made = prepare(settings, Path(cache), lambda text: line.say("progress", text=text))
            line.say("prepared", prepared=asdict(made))
        except UserError as error:
            line.say("refused", message=str(error), details=list(error.details))
        return {"reason": StopReason.FINISHED}

    line.say("end", **guarded(run))
    line.close()


def guarded(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `run` returns, or how it failed. The traceback goes to the log, its last line to the supervisor."""
    try:
        return run()
    except MemoryError as error:
        return {"reason": StopReason.OUT_OF_MEMORY, "error": str(error) or "out of memory"}
    except BaseException as error:  # the process ends here; whatever it was, the supervisor must hear of it
        traceback.print_exc()
        import torch

        reason = StopReason.OUT_OF_MEMORY if isinstance(error, torch.OutOfMemoryError) else StopReason.CRASHED
        return {"reason": reason, "error": in_a_line(error)}


def in_a_line(error: BaseException) -> str:
    """Its kind and the first line of what it says."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


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


def check_child(
    settings_json: str, cache: str, log: str, survey_json: str, device: str | None, connection: Connection
) -> None:
    """Surveys data and base into the file `survey_json`, then measures memory on the GPU `device`, if one is given.

    Says "progress", "surveyed", "probed", and at last "refused" (the user's to mend) or "end".
    """
    detach(Path(log), device)
    line = Line(connection)

    def run() -> dict[str, Any]:
        from search.errors import UserError
        from search.settings import Settings
        from search.training.survey import make_survey  # torch

        settings = Settings.model_validate_json(settings_json)
        try:
            survey = make_survey(settings, Path(cache), lambda text: line.say("progress", text=text))
        except UserError as error:
            line.say("refused", message=str(error), details=list(error.details))
            return {"reason": StopReason.CRASHED}
        survey.write(Path(survey_json))
        line.say("surveyed")
        if device is not None and survey.base.error is None and survey.part("train"):
            from search.training.probe import CudaMeter, probe

            found = probe(settings, survey, CudaMeter(), lambda text: line.say("progress", text=text))
            line.say("probed", probe=asdict(found))
        return {"reason": StopReason.FINISHED}

    line.say("end", **guarded(run))
    line.close()
