"""One trial our way, in a process of its own and under the meter: `python -m benchmarks.ways.ours SPEC OUT`.

Only what a step costs is taken from here; trials an hour are those of a real search.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.ways.meter import Meter
from search.training.evaluation import Evaluator
from search.training.run import Course, run_trial
from search.trial import TrialSpec


def train(spec: TrialSpec, out: Path) -> None:
    with Meter() as meter:
        meter.wrap(Course, "_train", "loop")
        meter.wrap(Evaluator, "__call__", "evaluation")
        run_trial(spec)
        meter.write(out)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        given = TrialSpec.from_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
        train(replace(given, directory=folder, sentences=0), Path(sys.argv[2]))
