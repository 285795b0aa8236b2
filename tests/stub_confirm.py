"""A confirmation whose runs do not train: real processes, leases and database; evaluations come from a formula.

    python -m tests.stub_confirm URL FOLDER a

stands for `study.py confirm --storage URL` on a machine of its own. truth.json in the study's folder, over TRUTH, is
what the runs are drawn from: the best learning rate, the sum of rates at which runs are at their lowest (the default:
never before their end), the noise of seeds, the rates above which runs diverge and crash, and that from which on they
start.
"""

import json
import math
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.confirmation import confirm
from search.confirmation.rate_line import sum_of_rates
from search.errors import UserError
from search.settings.best_config import Confirmation
from search.settings.sections import CONFIRMATION
from search.settings.settings import Settings
from search.study import findings as search_findings
from search.study import leases, storage
from search.text import complain
from search.trial import Caller, StopReason, TrialSpec
from search.workers.launcher import Launcher
from search.workers.listeners import Listeners
from tests.studies import FLAT, PREPARED, STEPPED, miniature, new_study, run

PRELOAD = ["search.confirmation.confirm"]
TRUTH = {"lr": 3e-4, "tau": math.inf, "noise": 0.005, "diverges": math.inf, "crashes": math.inf, "starts": 0.0}


# Runs turn, the stock recipe's at 1e-3 and trial 1's at 3e-4; half of that is the best of all.
TURNING = {"confirm.top": 1, "confirm.rates": "turn", "confirm.audit": 0}
TURNS = {"lr": 1.5e-4, "tau": 0.15}


def truth_of(spec: TrialSpec) -> dict[str, float]:
    file = Path(spec.directory).parent.parent / "truth.json"
    return {**TRUTH, **(json.loads(file.read_text()) if file.exists() else {})}


def evaluations(spec: TrialSpec) -> list[float]:
    """Those of a run: its seed's effect and its own noise, above a floor that its learning rate sets."""
    true = truth_of(spec)
    lr = spec.hyperparameters.lr
    floor = 2 + 0.3 * abs(math.log10(lr / true["lr"]))
    noise = random.Random(f"{spec.seed}").gauss(0, 3 * true["noise"])
    noise += random.Random(f"{spec.seed}/{lr}").gauss(0, true["noise"])
    if lr > true["diverges"]:
        return [math.nan]
    if true["tau"] < math.inf:
        sums = [sum_of_rates(spec.hyperparameters, step, spec.horizon) for step in spec.evaluation_steps]
        return [floor + noise + abs(math.log(each / true["tau"])) for each in sums]
    count = len(spec.evaluation_steps)
    return [floor + noise + 2 * math.exp(-6 * i / count) for i in range(1, count + 1)]


def run_full(line: Caller, spec: str) -> dict[str, Any]:
    """In place of `search.training.child.run`."""
    order = TrialSpec.from_json(spec)
    reason = StopReason.FINISHED
    true = truth_of(order)
    if not true["starts"] <= order.hyperparameters.lr <= true["crashes"]:
        os._exit(9)
    for step, value in zip(order.evaluation_steps, evaluations(order), strict=False):
        time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
        if line.should_stop():
            reason = StopReason.STOPPED_BY_USER
            break
        losses = {"mel_ce": value, "text_ce": 2.0, "probe_mel_ce": value / 1.1, "probe_text_ce": 2.0}
        if math.isnan(value):
            reason = StopReason.DIVERGED
            break
        line.say("evaluation", step=step, **losses, seconds=1.0)
    return {"reason": reason, "record": None}


# For tests


def searched(settings: Settings) -> Settings:
    """A search of seven trials: three good ones, the stock recipe, a poor one, two that the median rule pruned."""
    study = new_study(settings)
    run(study, FLAT, [4.5, 4.0, 3.6], baseline="V0")
    run(study, {**FLAT, "lr": 3e-4}, [4.4, 3.9, 3.3])
    run(study, {**FLAT, "lr": 2e-4}, [4.4, 3.9, 3.4])
    run(study, {**STEPPED, "lr": 4e-4}, [4.4, 3.9, 3.5])
    run(study, {**FLAT, "lr": 2.5e-3}, [4.5, 4.2, 4.1])
    run(study, {**FLAT, "lr": 5e-3}, [4.9, 4.8], StopReason.MEDIAN)
    run(study, {**FLAT, "lr": 5e-5}, [4.9, 4.8], StopReason.MEDIAN)
    study._storage.remove_session()
    return settings


def truth(settings: Settings, **values: float) -> None:
    """Sets what the runs are drawn from, besides the stub's own."""
    (settings.directory / "truth.json").write_text(json.dumps(values))


def runs_of(settings: Settings) -> list[FrozenTrial]:
    return storage.load_study(settings, CONFIRMATION).get_trials()


def keys(trials: list[FrozenTrial]) -> Counter[tuple[str, int, str]]:
    """Finished runs by what they are."""
    done = [{**t.user_attrs, **t.system_attrs} for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    return Counter((a["candidate"]["name"], a["seed"], a["length"]) for a in done)


def proven(settings: Settings) -> Confirmation:
    found = confirmed(settings).confirmation
    assert found
    return found


def confirmed(settings: Settings) -> confirm.Result:
    """The confirmation of a search that is in the storage."""
    findings = search_findings.read(storage.load_study(settings))
    target = "tests.stub_confirm:run_full"
    return confirm.run(settings, findings, PREPARED, [None, None], Launcher(PRELOAD), Listeners(), target)


def main(url: str, folder: str, machine: str) -> None:
    """`machine` is a name instead of this machine's: its peers cannot see its processes."""
    leases.machine = lambda: machine
    shared = {"study.storage": url, "service.heartbeat_seconds": 0.5, "service.grace_seconds": 2.0}
    settings = miniature(Path(folder), {**shared, **TURNING})
    result = confirmed(settings)
    print(result.confirmation.text if result.confirmation else "stopped")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:  # as `study.py` does
        complain(str(error), *error.details)
        sys.exit(error.exit_code)
