"""A confirmation whose runs do not train: real processes, leases and database; evaluations come from a formula.

    python -m tests.stub_confirm URL FOLDER --machine a

stands for `study.py confirm --storage URL` on a machine of its own. truth.json in the study's folder, over TRUTH, is
what the runs are drawn from: the best learning rate, the noise of seeds, and the rate from which on runs diverge.
"""

import argparse
import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from search import leases, report, storage
from search.confirmation import session
from search.errors import UserError
from search.launcher import Launcher
from search.settings import Settings, load
from search.training.child import Line
from search.trial import StopReason, TrialSpec
from search.view import PlainView
from study import refuse
from tests.studies import PREPARED

PRELOAD = ["search.confirmation.session"]
TRUTH = {"lr": 3e-4, "noise": 0.005, "diverges": math.inf}


def truth(spec: TrialSpec) -> list[float]:
    """The evaluations of a run: its seed's effect and its own noise, above a floor that its learning rate sets."""
    file = Path(spec.directory).parent.parent / "truth.json"
    true = {**TRUTH, **(json.loads(file.read_text()) if file.exists() else {})}
    lr = spec.hyperparameters.lr
    floor = 2 + 0.3 * abs(math.log10(lr / true["lr"]))
    noise = random.Random(f"{spec.seed}").gauss(0, 3 * true["noise"])
    noise += random.Random(f"{spec.seed}/{lr}").gauss(0, true["noise"])
    if lr > true["diverges"]:
        return [math.nan]
    count = len(spec.evaluation_steps)
    return [floor + noise + 2 * math.exp(-6 * i / count) for i in range(1, count + 1)]


def run_full(spec_json: str, connection: Any) -> None:
    """In place of `search.training.child.run_child`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = TrialSpec.from_json(spec_json)
    line = Line(connection)
    line.say("started", preloaded=True)
    reason = StopReason.FINISHED
    for step, value in zip(spec.evaluation_steps, truth(spec), strict=False):
        time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
        if line.should_stop():
            reason = StopReason.STOPPED_BY_USER
            break
        losses = {"mel_ce": value, "text_ce": 2.0, "probe_mel_ce": value / 1.1, "probe_text_ce": 2.0}
        if math.isnan(value):
            reason = StopReason.DIVERGED
            break
        line.say("evaluation", step=step, **losses, seconds=1.0)
    line.say("end", reason=reason, record=None)
    line.close()


def confirmed(settings: Settings, slots: int = 2) -> session.Result:
    """The confirmation of a search that is in the storage."""
    findings = report.read(storage.load_study(settings))
    devices: list[str | None] = [None] * slots
    return session.run(settings, findings, PREPARED, devices, Launcher(PRELOAD), PlainView(), run_full)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", help="a name instead of this machine's: its peers cannot see its processes")
    parser.add_argument("--slots", type=int, default=2)
    given = parser.parse_args()
    if given.machine:
        leases.machine = lambda: given.machine
    service = {"service.heartbeat_seconds": 0.5, "service.grace_seconds": 2.0}
    (given.folder / "study.toml").touch()
    settings = load(
        given.folder / "study.toml", {"study.directory": str(given.folder), "study.storage": given.url, **service}
    )
    result = confirmed(settings, given.slots)
    print(result.confirmation.text if result.confirmation else "stopped")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:  # as `study.py` does
        sys.exit(refuse(str(error), error.details))
