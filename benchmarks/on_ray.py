"""What Ray adds to a trial: 60 stub trials on three nodes of one Ray cluster, and on three plain machines.

    python -m benchmarks.on_ray     # on a PostgreSQL of its own; the figures of docs/ray.md

Each node and each machine has two slots. A slot is idle from the end of one trial to the start of its next. Both ways
run twice, plain, Ray, Ray, plain, so that the ratios at the end mean something on a busy machine, too.
"""

import os
import tempfile
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

from optuna.trial import FrozenTrial

from search.study.storage import open_storage
from tests.conftest import ROOT
from tests.machines import Machine, Study
from tests.postgres import Server

TRIALS, NODES, SLOTS = 60, 3, 2
FLAGS = {"trials": TRIALS, "seconds": 0.05}  # of an evaluation, ten to a trial
MEASURES = ("from the command to the first trial", "first start to last end", "a trial", "idle between two trials")
SMALL = {"object_store_memory": 80_000_000}


def main() -> None:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0", "PYTHONPATH": str(ROOT)}
    from ray.cluster_utils import Cluster

    server, measured = Server(), defaultdict(list)
    cluster = Cluster(True, head_node_args={**SMALL, "num_cpus": 0, "include_dashboard": False})
    for _ in range(NODES):
        cluster.add_node(**SMALL, num_cpus=SLOTS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, way in (("plain", plain), ("Ray", on_ray), ("Ray", on_ray), ("plain", plain)):
                url = server.create_database(lambda template: open_storage(template).engine.dispose())
                with Study(url, Path(folder) / url.rpartition("/")[2], TRIALS) as study:
                    began = datetime.now()
                    for machine in way(study, cluster, Path(folder) / url.rpartition("/")[2] / "ray"):
                        machine.wait()
                    measured[name].append(tell(name, study.assert_exact(), began))
        for index, what in enumerate(MEASURES):
            ours, theirs = ([each[index] for each in measured[name]] for name in ("Ray", "plain"))
            ratios = " and ".join(f"{one / other:.2f}" for one, other in zip(ours, theirs, strict=True))
            print(f"Ray / plain, {what}: {ratios}; of the means {fmean(ours) / fmean(theirs):.2f}")
    finally:
        cluster.shutdown()
        server.remove()


def plain(study: Study, _cluster: Any, _folder: Path) -> list[Machine]:
    return [study.start(name, slots=SLOTS, seconds=FLAGS["seconds"]) for name in "abc"]


def on_ray(study: Study, cluster: Any, folder: Path) -> list[Machine]:
    flags = [word for name, value in FLAGS.items() for word in (f"--{name}", str(value))]
    return [study.add(Machine(["-m", "tests.stub_on_ray", cluster.address, study.url, ".", *flags], folder))]


def tell(name: str, trials: list[FrozenTrial], began: datetime) -> tuple[float, float, float, float]:
    """MEASURES, in seconds; medians of the last two.

    A slot's trials follow each other: each start is matched with the latest end before it in the same process.
    """
    ends: dict[int, list[float]] = defaultdict(list)
    idle = []
    for trial in sorted(trials, key=lambda trial: trial.datetime_start or began):
        assert trial.datetime_start and trial.datetime_complete
        start, owner = trial.datetime_start.timestamp(), trial.system_attrs["owner"]["pid"]
        before = [end for end in ends[owner] if end <= start]
        if before:
            idle.append(start - max(before))
            ends[owner].remove(max(before))
        ends[owner].append(trial.datetime_complete.timestamp())
    first = min(trial.datetime_start for trial in trials if trial.datetime_start)
    last = max(trial.datetime_complete for trial in trials if trial.datetime_complete)
    to_first, span = (first - began).total_seconds(), (last - first).total_seconds()
    lasted = [t.duration.total_seconds() for t in trials if t.duration]
    print(
        f"{name:6} first trial after {to_first:5.1f} s; {len(trials)} trials in"
        f" {span:5.1f} s; a trial {median(lasted):.2f} s, then idle"
        f" {1000 * median(idle):.0f} ms (medians); load {os.getloadavg()[0]:.0f}, {time.strftime('%H:%M')}",
        flush=True,
    )
    return to_first, span, median(lasted), median(idle)


if __name__ == "__main__":
    main()
