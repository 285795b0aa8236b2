"""A supervisor whose runs do not train: real processes, leases and database; evaluations come from a formula.

    python -m tests.stub URL FOLDER --trials 200 --slots 2 --machine a

stands for `study.py --storage URL --trials 200 --workers 2` on a machine of its own. Files in FOLDER hold it where a
test wants it, however fast the machine is: see HOLD. Each run imports this module again, so that what only
the supervisor needs is imported there.
"""

import argparse
import math
import os
import random
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.trial import Caller, Prepared, RunRecord, StopReason, TrialSpec

if TYPE_CHECKING:
    from search.settings.settings import Settings

# Trials of a fifth of the full run with ten evaluations, whatever the defaults.
FIFTHS = {"training.truncation": 0.2, "training.evaluations": 10}
CRASH = "crash"  # followed by the number of a trial whose process dies at its end
HOLD = "hold"  # its text is a number of evaluations, after which each run waits while the file is there

PREPARED = Prepared(
    directory="prepared",
    seed=1,
    train_clips=100,
    eval_clips=20,
    probe_clips=20,
    train_seconds=300.0,
    eval_seconds=60.0,
    dropped=[],
    added_tokens=[],
    vocabulary_size=60,
    base_evaluation={"step": 0, "mel_ce": 5.0, "text_ce": 2.0, "probe_mel_ce": 5.0, "probe_text_ce": 2.0},
    coqui_config={"optimizer_params": {"betas": [0.9, 0.96]}, "model_args": {"xtts_checkpoint": "base/model.pth"}},
    data_fingerprint="data-1",
    base_fingerprint="base-1",
    versions={"python": "3.11.7", "torch": "2.8.0"},
)


def values(number: int, lr: float, count: int) -> list[float]:
    """The evaluations of a trial: they fall towards a floor that depends on the learning rate, with some noise."""
    draw = random.Random(number)
    floor = 2 + 0.2 * abs(math.log10(lr) + 3)
    return [floor + 2 * math.exp(-4 * i / count) + draw.gauss(0, 0.02) for i in range(1, count + 1)]


def run_stub(line: Caller, spec: str) -> dict[str, Any]:
    """In place of `search.training.child.run`; an evaluation lasts SECONDS on average."""
    order = TrialSpec.from_json(spec)
    draw = random.Random(os.getpid())
    seconds, steps = float(os.environ["STUB_SECONDS"]), 0
    reason = StopReason.FINISHED
    folder = Path(os.environ["STUB_FOLDER"])
    began = time.monotonic()
    found = values(order.number, order.hyperparameters.lr, len(order.evaluation_steps))
    for count, (step, value) in enumerate(zip(order.evaluation_steps, found, strict=True)):
        until = time.monotonic() + draw.uniform(0, 2 * seconds)
        while (time.monotonic() < until or is_held(folder, order.number, count)) and not line.should_stop():
            time.sleep(min(0.05, seconds))
        if line.should_stop():
            reason = StopReason.STOPPED_BY_USER
            break
        losses = {"mel_ce": value, "text_ce": 2.0, "probe_mel_ce": value / 1.1, "probe_text_ce": 2.0}
        line.say("evaluation", step=step, **losses, seconds=time.monotonic() - began)
        steps = step
    while is_held(folder, order.number, len(order.evaluation_steps)) and not line.should_stop():
        time.sleep(min(0.05, seconds))
    took = time.monotonic() - began
    (folder / f"wall-{order.number}").write_text(str(age("self")))
    if (folder / f"{CRASH}-{order.number}").exists():
        os._exit(9)
    return {"reason": reason, "record": record(steps, took)}


def age(pid: int | str) -> float:
    """Seconds since a process was made, to a hundredth."""
    ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(ticks) / os.sysconf("SC_CLK_TCK")


def record(steps: int, seconds: float) -> dict[str, Any]:
    """A RunRecord of a run that did nothing but take this time."""
    made = RunRecord(steps, steps, 1e-3, 1e-3, [], 0.0, 1.0, 1.0, 0.0, 1, 1, [], 0.0, seconds, 0.0)
    return asdict(made)


def run_broken(_line: Caller, spec: str) -> dict[str, Any]:
    raise RuntimeError(f"a run of {len(spec)} characters cannot run")


def is_held(folder: Path, number: int, count: int) -> bool:
    """Whether trial `number` waits after `count` evaluations."""
    try:
        return count >= int((folder / HOLD).read_text() or 0) and not (folder / f"{HOLD}-not-{number}").exists()
    except FileNotFoundError:
        return False


def settings_of(url: str, folder: Path, trials: int, slots: int, **service: float) -> "Settings":
    from search.settings.settings import load

    (folder / "study.toml").touch()  # an empty file is the miniature
    overrides = {**FIFTHS, **{f"service.{name}": value for name, value in service.items()}}
    study = {"directory": str(folder), "storage": url, "trials": trials, "workers": slots}
    return load(folder / "study.toml", {**{f"study.{name}": value for name, value in study.items()}, **overrides})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.05, help="of an evaluation, on average")
    parser.add_argument("--machine", help="a name instead of this machine's: its peers cannot see its processes")
    parser.add_argument("--heartbeat", type=float, default=0.5)
    parser.add_argument("--grace", type=float, default=3.0)
    parser.add_argument("--outage", type=float, default=5.0, help="minutes")
    parser.add_argument("--retries", type=int, default=5)
    parser.add_argument("--idle", type=float, help="seconds, of a transaction whose process was stopped")
    parser.add_argument("--run", default="run_stub")
    parser.add_argument("--json", action="store_true", help="events as JSON lines, like study.py")
    parser.add_argument("--stopped", type=int, default=0, help="exit code when it was stopped; that of study.py is 130")
    parser.add_argument("--cap", type=float, help="slot seconds")
    parser.add_argument("--study", default="miniature")
    parser.add_argument("--warm", help="earlier studies, with commas")
    given = parser.parse_args()
    os.environ |= {"STUB_SECONDS": str(given.seconds), "STUB_FOLDER": str(given.folder.absolute())}

    from search.commands.json_lines import JsonLines, take_stdout
    from search.errors import BUDGET_SPENT
    from search.show.plain import PlainView
    from search.study import earlier, leases, server, storage
    from search.workers import budget, supervisor, work
    from search.workers.events import Extent
    from search.workers.launcher import Launcher
    from search.workers.listeners import Listeners

    if given.machine:
        leases.machine = lambda: given.machine
    if given.idle:
        server.IDLE_IN_TRANSACTION = given.idle
    service = {"heartbeat_seconds": given.heartbeat, "grace_seconds": given.grace, "outage_minutes": given.outage}
    settings = settings_of(given.url, given.folder, given.trials, given.slots, **service)
    if given.cap:
        capped = settings.study.model_copy(update={"gpu_hours": given.cap / 3600})
        settings = settings.model_copy(update={"study": capped})
    own = {"name": given.study, "warm_start": tuple(given.warm.split(",")) if given.warm else ()}
    settings = settings.model_copy(update={"study": settings.study.model_copy(update=own)})
    view = Listeners()
    view.add(JsonLines(take_stdout(), view.board, "stub") if given.json else PlainView(view.board))
    opened = storage.open_storage(settings.storage_url, settings.service.connections)
    opened.on_outage = view.note
    storage.refuse_stopped(settings)
    study, ledger = storage.open_study(settings, PREPARED, opened, earlier.recall(settings))
    opened.patience = 60 * settings.service.outage_minutes
    view.begin(Extent(given.trials, 0, given.slots, 5.0, None))
    mine = leases.Leases(ledger, settings.service, given.retries, view.note)
    launcher = Launcher(["search.workers.child"])
    slots: list[str | None] = [None] * given.slots
    caps = budget.search_budget(settings, opened, PREPARED, slots, [], view)
    todo = work.SearchWork(study, settings, PREPARED, budget=caps)
    target = f"tests.stub:{given.run}"
    run = supervisor.Supervisor(todo, mine, settings, PREPARED, launcher, view, slots, target)
    run.run(opened.hurry)
    view.over("stopped" if run.stopped or run.orders.halted else "result", {})
    if run.orders.halted:
        sys.exit(run.orders.halted.exit_code)
    if caps and caps.is_over:
        print(caps.refused)
        sys.exit(BUDGET_SPENT)
    sys.exit(given.stopped if run.stopped else 0)


if __name__ == "__main__":
    from search.errors import UserError
    from search.text import complain

    try:
        main()
    except UserError as error:  # as `study.py` does
        complain(str(error), *error.details)
        sys.exit(error.exit_code)
