"""The process that opens and measures checkpoints. Light to import; torch comes with the work."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from search.training.child import Line, detach, guarded
from search.trial import StopReason


@dataclass(frozen=True)
class Request:
    """What to open and what to measure it on. Without settings and prepared folder files are opened only."""

    files: Sequence[str]
    cache: str
    settings: str | None = None  # JSON of the Settings that name data and base
    prepared: str | None = None  # a folder of `search.training.prepare`, instead of data and base
    extended: bool = False  # prepare data and base as a search does, with the letters that the base lacks

    def to_json(self) -> str:
        return json.dumps(asdict(self))  # ASCII: a file name may hold bytes that are no text


def checkpoint_child(request_json: str, log: str, connection: Connection) -> None:
    """Says "progress", "opened" for each file, "base" or "unmeasured", "measured" for each file, and "end"."""
    detach(Path(log), None)
    line = Line(connection)

    def say(kind: str, **values: Any) -> None:
        line.say(kind, **{k: _encodable(v) for k, v in values.items()})

    def run() -> dict[str, Any]:
        from search.training.checkpoint import work  # torch

        work(Request(**json.loads(request_json)), say)
        return {"reason": StopReason.FINISHED}

    line.say("end", **guarded(run))
    line.close()


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
