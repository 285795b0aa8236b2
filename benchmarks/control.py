"""How exactly a cap and the ledger are, and how soon machines obey: figures of docs/budget.md and docs/operations.md.

    python -m benchmarks.control ledger     # a real search of the miniature: what is counted, and what its runs took
    python -m benchmarks.control cap        # four machines with stub runs, which are killed and started again
    python -m benchmarks.control orders     # three real searches of the miniature, one slot each

Each machine is a search process with a name of its own, so that the others cannot see its processes. They share a
PostgreSQL, and this machine's cores.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from optuna.trial import FrozenTrial

from search.errors import BUDGET_SPENT
from search.study import spending, storage
from search.trial import StopReason
from tests.browser import served_by
from tests.conftest import ROOT, wait_until
from tests.machines import Machine, Study, assert_run_again_once
from tests.postgres import Server
from tests.studies import miniature

NAMES = ("a", "b", "c", "d")
CAP = 240.0  # slot seconds
SECONDS = 5.0  # of an evaluation of a stub run, on average
KILLS = 6
PAUSE = 3.0  # seconds between two kills
HEARTBEAT = 10.0  # seconds, the default
LOOK = 0.01  # seconds between two looks at the processes
PATIENCE = 1800.0  # seconds that is waited for what must come


@contextmanager
def fresh() -> Iterator[tuple[str, Path]]:
    """The URL of a database with Optuna's tables, and a folder."""
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield server.create_database(lambda url: storage.open_storage(url).engine.dispose()), Path(folder)
    finally:
        server.remove()


# The cap


def show_cap() -> None:
    """Runs that take 100 times as long as those from which their length was learned, so that each has to be cut."""
    draw = random.Random(1)
    with fresh() as (url, folder), Study(url, folder, trials=3) as study:
        study.start("first", slots=1, seconds=SECONDS / 100, cap=CAP).wait()
        study.total = 10_000
        machines = {name: study.start(name, slots=2, seconds=SECONDS, cap=CAP) for name in NAMES}
        for machine in machines.values():
            machine.wait_for("  step ")
        killed = 0
        while killed < KILLS and all(machine.process.poll() is None for machine in machines.values()):
            time.sleep(PAUSE)
            name = draw.choice(NAMES)
            machines[name].kill()
            machines[name] = study.start(name, slots=2, seconds=SECONDS, cap=CAP)
            killed += 1
        for machine in machines.values():
            machine.wait(code=BUDGET_SPENT)
        trials = study.trials()
        runs = spending.ended(trials)
    spent, whole = spending.total(runs).cpu, [run for run in runs if "run" in trials[run.trial].system_attrs]
    longest = max(max(gaps(trials[run.trial], run.seconds)) for run in whole)
    cut = sum(run.reason == StopReason.STOPPED_BY_USER for run in runs)
    lost = sum(run.reason == StopReason.PREEMPTED for run in runs)
    print(
        f"cap of {CAP:.0f} slot seconds, 4 machines, 8 slots; {killed} kills; {len(runs)} runs, {lost} lost, {cut} cut"
    )
    print(f"spent {spent:.1f} s: {spent - CAP:+.1f} s; at most {longest:.1f} s between two evaluations of a slot")
    print(f"within one interval a slot: {spent <= CAP + 8 * longest}")


def gaps(trial: FrozenTrial, seconds: float) -> list[float]:
    """Between the evaluations of a run, its start and its end."""
    told = [evaluation["seconds"] for evaluation in trial.system_attrs["run"]["evaluations"]]
    return [after - before for before, after in pairwise([0.0, *told, seconds])]


# The ledger


def show_ledger() -> None:
    """What the study says that runs held their slots for, against how long their processes were there."""
    with fresh() as (url, folder), Study(url, folder, trials=8) as study:
        options = ["--storage", url, "--trials", "8", "--workers", "2", "--set", "training.truncation=1"]
        machine = study.add(Machine(["-m", "benchmarks.control", "machine", "a", *options], folder / "a"))
        lives: dict[int, float] = {}  # by process id
        while machine.process.poll() is None:
            with suppress(psutil.Error):
                lives |= {child.pid: time.time() - child.create_time() for child in machine.children()}
            time.sleep(LOOK)
        trials = study.trials()
        logs = [next(folder.glob(f"a/runs/*/trials/{trial.number}/log.txt")).read_text() for trial in trials]
    counted = spending.total(spending.ended(trials)).cpu
    took = sum(lives[int(log.split()[1])] for log in logs)
    print(f"{len(trials)} runs: counted {counted:.2f} s; their processes were there for {took:.2f} s")
    print(f"difference {100 * (counted - took) / took:+.2f} %")


# Orders


class Searches:
    """Real searches, and what people tell them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.study = Study(url, folder, trials=10_000)
        self.machines: list[Machine] = []
        self._url, self._folder = url, folder

    def start(self) -> None:
        """All train once this returns."""
        options = ["--storage", self._url, "--trials", "10000", "--workers", "1", "--set", "training.truncation=1"]
        options += ["--set", "speech.sentences=0"]
        options += ["--set", "training.evaluations=50"]
        options += ["--set", f"service.heartbeat_seconds={HEARTBEAT}"]
        command = ["-m", "benchmarks.control", "machine"]
        self.machines = [self.study.add(Machine([*command, name, *options], self._folder / name)) for name in NAMES[:3]]
        for machine in self.machines:
            wait_until(lambda m=machine: "  step " in m.output, PATIENCE, "an evaluation")

    def command(self, *words: str) -> float:
        """Gives an order by study.py; when it said that it had."""
        called = [sys.executable, str(ROOT / "study.py"), *words, "--storage", self._url]
        process = subprocess.Popen(called, cwd=self._folder, stdout=subprocess.PIPE)
        assert process.stdout and process.stdout.readline()
        given = time.time()
        process.communicate()
        return given

    def all_say(self, words: str, tell: Callable[[], float]) -> list[float]:
        """Seconds until each machine says something, from the order on."""
        counts = {machine: machine.output.count(words) for machine in self.machines}
        return times({each: lambda m=each: m.output.count(words) > counts[m] for each in self.machines}, tell)

    def all_end(self, tell: Callable[[], float], children: list[psutil.Process]) -> list[float]:
        """Seconds until each of the processes that train has ended, from the order on."""
        return times({child: lambda c=child: not alive(c) for child in children}, tell)

    def children(self) -> list[psutil.Process]:
        return [child for machine in self.machines for child in machine.children()]

    def batch(self) -> float:
        """Median seconds of a batch, of the runs that have ended."""
        records = [(trial.system_attrs.get("run") or {}).get("record") for trial in self.study.trials()]
        known = [record for record in records if record and record["micro_steps"]]
        return statistics.median(record["train_seconds"] / record["micro_steps"] for record in known)


def times(conditions: Mapping[Any, Callable[[], bool]], tell: Callable[[], float]) -> list[float]:
    """Seconds from what `tell` returns until each condition holds."""
    found: dict[Any, float] = {}
    with ThreadPoolExecutor(1) as pool:
        order = pool.submit(tell)

        def hold() -> bool:
            found.update({each: time.time() for each, holds in conditions.items() if each not in found and holds()})
            return order.done() and conditions.keys() <= found.keys()

        wait_until(hold, PATIENCE, "an order is obeyed")
    return [max(0.0, found[each] - order.result()) for each in conditions]


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def show_orders() -> None:
    with fresh() as (url, folder):
        searches = Searches(url, folder)
        (folder / "page").mkdir()
        settings = miniature(folder / "page", {"study.storage": url})
        with searches.study:
            searches.start()
            print("| seconds from the order on | first | last |\n|---|---|---|")
            with served_by("dashboard", settings, "--writable") as page:
                for name, took in orders(searches, page):
                    print(f"| {name} | {min(took):.1f} | {max(took):.1f} |", flush=True)
            batch, trials = searches.batch(), searches.study.trials()
            assert_run_again_once(trials, 5)
    print(f"heartbeat {HEARTBEAT:.0f} s, a batch {batch:.2f} s")


def orders(searches: Searches, page: str) -> Iterator[tuple[str, list[float]]]:
    """Each order, and how long each machine took to obey."""
    command, all_say, all_end = searches.command, searches.all_say, searches.all_end
    root = page.split("/dashboard")[0].rstrip("/")

    def press(order: str) -> float:
        sent = urllib.request.Request(f"{root}/control", f"order={order}".encode(), {"Origin": root})
        urllib.request.urlopen(sent).close()
        return time.time()

    paused, on = "the study is paused (", "the study goes on ("
    yield "`study.py pause`: all have heard", all_say(paused, lambda: command("pause"))
    yield "`study.py resume`: all have heard", all_say(on, lambda: command("resume"))
    yield "*Pause* on the page: all have heard", all_say(paused, lambda: press("pause"))
    yield "*Resume* on the page: all have heard", all_say(on, lambda: press("resume"))
    trial = max(number for machine in searches.machines for number in searches.study.running_of(machine))
    owner = next(m for m in searches.machines if trial in searches.study.running_of(m))
    yield "`study.py stop TRIAL`: its process has ended", all_end(lambda: command("stop", str(trial)), owner.children())
    yield "*Stop now* on the page: all processes have ended", all_end(lambda: press("stop+now"), searches.children())
    for machine in searches.machines:
        machine.wait(PATIENCE, code=3)
    command("resume")
    searches.start()
    yield (
        "`study.py stop --now`: all processes have ended",
        all_end(lambda: command("stop", "--now"), searches.children()),
    )
    for machine in searches.machines:
        machine.wait(PATIENCE, code=3)


def machine(name: str, arguments: list[str]) -> None:
    """study.py, on a machine of this name."""
    from search.commands.group import main as study
    from search.study import leases

    leases.machine = lambda: name
    sys.argv = ["study.py", *arguments]
    study()


def main() -> None:
    match sys.argv[1:]:
        case ["ledger"]:
            show_ledger()
        case ["cap"]:
            show_cap()
        case ["orders"]:
            show_orders()
        case ["machine", name, *arguments]:
            machine(name, arguments)
        case _:
            sys.exit(__doc__)
    print(f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
