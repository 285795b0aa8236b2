"""The service under many slots and in large studies: how long slots wait for it, and what it costs.

    python -m benchmarks.scale            # 1 to 128 slots, 100 to 10,000 trials: the figures of docs/operations.md
    python -m benchmarks.scale --short    # 4 and 32 slots, 100 and 1,000 trials: part of `make bench`

Supervisors of eight slots, as on a node of eight GPUs, one process each, share a study on a PostgreSQL of its own,
through TCP, with the server's default settings; supervisors and server share this machine's cores. Runs are paced and
do not train (`benchmarks.slots.paced`). A slot waits from when its run has spoken until it listens to it again, and
from the end of a run until the next has started; a run trains on while its evaluation is judged, so a GPU idles for
the second part only. One to four slots would give no samples at that pace: they evaluate every second, and their waits
are set against the time of runs that evaluate every ten.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna

from benchmarks import figures
from benchmarks.slots.cell import PACE, Cell, Found, measure
from benchmarks.slots.supervisors import NODE, History, opening
from tests.postgres import Server

DEFAULTS = {"fsync": "on", "shared_buffers": "128MB"}  # PostgreSQL's; the tests' server is quicker

# heading: what a row shows
COLUMNS: dict[str, Callable[[Found], str]] = {
    "slots": lambda f: f"{f.cell.slots}",
    "trials": lambda f: f"{f.cell.trials:,}",
    "pace": lambda f: f"{f.cell.pace:g} s",
    "waits": lambda f: f"{100 * f.share:.2f} %",
    "a decision, mean (95 %)": lambda f: _spread(f.decision, 95),
    "a turnover, mean (95 %)": lambda f: _spread(f.turnover, 95),
    "start together, mean (last)": lambda f: _spread(f.start, 100),
    "statements/h": lambda f: f"{3600 * f.statements:,.0f}",
    "transactions/h": lambda f: f"{3600 * f.transactions:,.0f}",
    "connections": lambda f: f"{f.connections}",
    "PostgreSQL": lambda f: f"{f.server_cpu:.3f} cores",
    "a supervisor": lambda f: f"{f.supervisor_cpu / -(-f.cell.slots // NODE):.3f} cores",
    "errors": lambda f: f"{len(f.errors)}",
}


def _spread(seconds: list[float], percentile: float) -> str:
    if not seconds:
        return "-"
    return f"{1e3 * statistics.fmean(seconds):,.0f} ({1e3 * float(np.percentile(seconds, percentile)):,.0f}) ms"


def show_row(found: Found) -> None:
    print("| " + " | ".join(column(found) for column in COLUMNS.values()) + " |", flush=True)
    for error in found.errors[:5]:
        print(f"    error: {error}", flush=True)


def cells(short: bool) -> list[Cell]:
    if short:
        return [
            *(Cell(4, trials, 1.0, 10.0) for trials in (100, 1000)),
            *(Cell(32, trials, PACE, 20.0) for trials in (100, 1000)),
        ]
    return [
        *(Cell(slots, trials, 1.0, 30.0) for trials in (100, 1000, 10_000) for slots in (1, 4)),
        *(Cell(slots, trials, PACE, 60.0) for trials in (100, 1000, 10_000) for slots in (16, 64, 128)),
        *(Cell(slots, 1000, 1.0, 20.0) for slots in (16, 64, 128)),  # as many statements as ten times the slots
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--record", action="store_true", help="write the figures that others are compared with")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    wanted = cells(given.short)
    server = Server(DEFAULTS)
    found: list[Found] = []
    alone: dict[int, dict[str, float]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
            for trials in sorted({cell.trials for cell in wanted}):
                past = History(server, Path(folder) / f"history-{trials}", trials)
                alone[trials] = opening(past, Path(folder) / f"alone-{trials}")
                for cell in (cell for cell in wanted if cell.trials == trials):
                    place = Path(folder) / f"{cell.slots}-{trials}-{cell.pace:g}"
                    found.append(measure(server, past, place, cell))
                    show_row(found[-1])
    finally:
        server.remove()
    named = {f"{trials:,} trials, {name}": value for trials, each in alone.items() for name, value in each.items()}
    for each in found:
        of = f"{each.cell.slots} slots, {each.cell.trials:,} trials" + (
            f", {each.cell.pace:g} s" if each.cell.pace != PACE else ""
        )
        named[f"{of}: waits, %"] = 100 * each.share
        named[f"{of}: cores in all"] = each.server_cpu + each.supervisor_cpu
    named["errors"] = sum(len(each.errors) for each in found)
    figures.show("scale --short" if given.short else "scale", named, given.record)


if __name__ == "__main__":
    main()
