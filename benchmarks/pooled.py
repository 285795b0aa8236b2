"""A study through PgBouncer in transaction mode: is it exact, and what does a slot wait for?

    python -m benchmarks.pooled             # 100 slots, 2,000 trials, 20 connections: the figures of docs/database.md
    python -m benchmarks.pooled --short     # 24 slots, 100 trials, 4 connections

Supervisors of eight slots, one process each, whose runs do not train (`benchmarks.slots.paced`). PostgreSQL, PgBouncer
and supervisors share this machine's cores.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import threading
import time
from pathlib import Path

import optuna
import psycopg

from benchmarks.slots import paced
from benchmarks.slots.cell import unkept
from benchmarks.slots.paced import Seen
from benchmarks.slots.supervisors import NODE
from search.study import storage
from tests import stub
from tests.pgbouncer import Pooler
from tests.postgres import Server

PACE = 1.0  # seconds between two evaluations of a run

_fork = multiprocessing.get_context("fork")


def supervise(url: str, folder: Path, trials: int, slots: int, number: int) -> Seen:
    """What one supervisor saw until the study had `trials`."""
    folder.mkdir()
    settings = stub.settings_of(url, folder, trials, slots)
    return paced.search(settings, {}, slots, PACE, number, lambda: None, lambda: None)


def measure(server: Server, pooler: Pooler, folder: Path, slots: int, trials: int) -> list[str]:
    """What was not as it should be. Prints the rest."""
    direct = server.empty_database()
    url = pooler.url(direct)
    storage.open_storage(url).engine.dispose()
    began = time.monotonic()
    sizes = [min(NODE, slots - first) for first in range(0, slots, NODE)]
    with _fork.Pool(len(sizes)) as pool:
        pending = pool.starmap_async(
            supervise, [(url, folder / str(i), trials, size, i) for i, size in enumerate(sizes)], chunksize=1
        )
        used = {"servers": 0, "clients": 0}
        while not pending.ready():
            used["servers"] = max(used["servers"], connections(server, direct))
            used["clients"] = max(used["clients"], int(str(dict(pooler.ask("SHOW LISTS"))["used_clients"])) - 1)
            threading.Event().wait(1)
        seen = pending.get()
    seconds = time.monotonic() - began
    waits = [1e3 * (w.until - w.since) for each in seen for w in each.waits if w.kind == "decision"]
    with psycopg.connect(direct) as connection:
        states = dict(connection.execute("SELECT state::text, count(*) FROM trials GROUP BY state").fetchall())
    print(f"{slots} slots of {len(sizes)} searches, {seconds:.0f} s: {states}, {len(waits)} evaluations")
    print(f"an evaluation waits {statistics.fmean(waits):.0f} ms")
    print(f"at most {used['clients']} clients of PgBouncer, {used['servers']} of PostgreSQL", flush=True)
    finished = states.get("COMPLETE", 0) + states.get("PRUNED", 0)
    wrong = [] if finished == trials else [f"{finished} trials finished, not {trials}"]
    return wrong + [error for each in seen for error in each.errors] + unkept(direct, 0, seen)


def connections(server: Server, url: str) -> int:
    with server.connect("postgres") as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
        row = connection.execute(query, (url.rpartition("/")[2],)).fetchone()
    assert row
    return int(row[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    slots, trials, size = (24, 100, 4) if given.short else (100, 2000, 20)
    server = Server({"fsync": "on"})
    try:
        pooler = Pooler(server, size)
        with tempfile.TemporaryDirectory() as folder:
            wrong = measure(server, pooler, Path(folder), slots, trials)
        pooler.stop()
    finally:
        server.remove()
    print(*(wrong or ["exact: nothing lost, nothing twice, no error"]), sep="\n")


if __name__ == "__main__":
    main()
