"""A search in a process of its own, and where its slots' time went: `python -m benchmarks.ways.search SETTINGS OUT`.

SETTINGS is a JSON object of "section.key" values over the miniature's. With `--prepare` it prepares data and base, and
starts no trial. The times are what a search tells a view, and what its runs record: nothing is measured for this alone.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.show.plain import PlainView
from search.trial import Evaluation
from search.workers.events import End, Extent, Start, View
from search.workers.listeners import Listeners

if TYPE_CHECKING:
    from search.study.findings import Row

PARTS = {
    "asking": "database, sampler, folder",
    "process": "fork, pipe",
    "set-up": "model, data, optimizer",
    "training": "the training steps",
    "evaluation": "eval set, train probe, tables",
    "between": "batches, looks for a stop",
    "speech": "loading and speaking",
    "ending": "record, files, exit, database",
}


@dataclass
class Times:
    """When a slot's trial did what, in seconds of the monotonic clock."""

    before: float  # the slot's last trial had ended, or the search began
    started: float
    evaluated: list[float] = field(default_factory=list)
    ended: float = 0.0


class Clock(View):
    """Notes when a search tells what."""

    def __init__(self) -> None:
        self.began = 0.0
        self.times: dict[int, Times] = {}  # by trial
        self._free: dict[int, float] = {}  # since when, by slot

    def begin(self, extent: Extent) -> None:
        self.began = time.monotonic()

    def started(self, start: Start) -> None:
        self.times[start.number] = Times(self._free.get(start.slot, self.began), time.monotonic())

    def evaluated(self, slot: int, number: int, evaluation: Evaluation) -> None:
        self.times[number].evaluated.append(time.monotonic())

    def ended(self, end: End) -> None:
        self._free[end.slot] = self.times[end.number].ended = time.monotonic()


def parts(
    times: Times, evaluations: Sequence[Evaluation], record: Mapping[str, float] | None, speech: float
) -> dict[str, float]:
    """Seconds of a slot by PARTS, from the end of its trial before to the end of this one; they make up all of it.

    "between" is known of runs that ended with an evaluation. What is not known, as of a run that crashed, is in
    "ending".
    """
    record = record or {"setup_seconds": 0.0, "train_seconds": 0.0, "evaluation_seconds": 0.0, "steps": -1}
    found = {
        "asking": times.started - times.before,
        "process": 0.0,
        "set-up": record["setup_seconds"],
        "training": record["train_seconds"],
        "evaluation": record["evaluation_seconds"],
        "between": 0.0,
        "speech": speech,
    }
    if evaluations:  # their seconds are since the run's own start
        found["process"] = times.evaluated[0] - times.started - evaluations[0].seconds
        if record["steps"] == evaluations[-1].step:
            found["between"] = evaluations[-1].seconds - found["set-up"] - found["training"] - found["evaluation"]
    found["ending"] = times.ended - times.before - sum(found.values())
    return {name: found[name] for name in PARTS}


def of_row(row: "Row", times: Times) -> dict[str, Any]:
    run = row.trial.system_attrs["run"]
    speech = row.trial.system_attrs.get("speech", {}).get("took", 0.0)
    evaluations = [Evaluation(**values) for values in run["evaluations"]]
    seconds = parts(times, evaluations, run["record"], speech)
    return {
        "number": row.trial.number,
        "reason": str(row.reason),
        "steps": run["record"]["steps"] if run["record"] else 0,
        "evaluations": len(evaluations),
        "first_step_seconds": seconds["process"] + seconds["set-up"],
        "parts": seconds,
    }


def main() -> None:
    # Here, since every child runs this module again, as it does study.py, which imports these where it needs them.
    from search.settings.settings import resolve
    from search.workers import session
    from search.workers.launcher import Launcher

    given, out = sys.argv[1:3]
    entered = time.monotonic()
    settings = resolve({}, json.loads(given), None)
    clock, view = Clock(), Listeners()
    view.add(PlainView(view.board))
    view.add(clock)
    if "--prepare" in sys.argv[3:]:
        prepared = session.prepare(settings, Launcher(), view, [None])
        found: dict[str, Any] = {"prepared": prepared.directory}
    else:
        result = session.search(settings, view)
        rows = [row for row in result.findings.rows if row.trial.number in clock.times]
        found = {
            "start_seconds": clock.began - entered,
            "seconds": time.monotonic() - entered,
            "trials": [of_row(row, clock.times[row.trial.number]) for row in rows],
        }
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
