"""Rounds of faults until there were so many; then what they were and what came of them (docs/reliability.md).

python -m tests.chaos --faults 2000 --seed 1              on plain machines
python -m tests.chaos --faults 200 --engine ray           on a Ray cluster of this host
python -m tests.chaos --faults 20 --seed 17               round 17 again
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from search.sources import commit
from tests.chaos import faults
from tests.chaos.rounds import JumpingServer, NoTarget, Round

PER_ROUND = 20  # faults
PER_FAULT = {"plain": 3.0, "ray": 6.0}  # seconds on two busy cores, about


def trials_of(faults: int) -> int:
    """So many last for as long as these faults, and are more than the baselines, which are queued at once."""
    return max(8, 2 * faults)


def schedule(seed: int, kinds: list[str], count: int) -> list[tuple[str, int]]:
    """(kind, evaluations before it) of a round's faults: each kind before any comes again, over rounds in a row."""
    start = (seed - 1) * PER_ROUND
    order = [kind for lap in range((start + count) // len(kinds) + 1) for kind in shuffled(kinds, lap)]
    draw = random.Random(f"moments of {seed}")
    return [(kind, draw.randint(0, 12)) for kind in order[start : start + count]]


def shuffled(kinds: list[str], lap: int) -> list[str]:
    return random.Random(f"lap {lap}").sample(kinds, len(kinds))


def play(round: Round, kinds: dict[str, faults.Fault], order: list[tuple[str, int]]) -> Counter[str]:
    """The faults that happened, by kind; raises AssertionError, with them in `round`, where something did not hold."""
    with round:
        for place, (kind, evaluations) in enumerate(order):
            round.wait(evaluations)
            round.undo()
            round.revive()
            try:
                kinds[kind](round, random.Random(f"{round.seed}/{place}"))
            except NoTarget:
                continue
            round.happened[kind] += 1
        round.finish()
        round.judge()
    return round.happened


def main() -> None:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__, formatter_class=raw)
    parser.add_argument("--faults", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next has the next")
    parser.add_argument("--engine", choices=list(PER_FAULT), default="plain")
    parser.add_argument("--kinds", nargs="*", help="only these")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    result = run(given.engine, given.faults, given.seed, given.kinds)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(bool(result["failed"]))


def run(engine: str, wanted: int, seed: int, only: list[str] | None = None) -> dict[str, Any]:
    """Plays rounds from `seed` on; what happened and which seeds failed."""
    if engine == "ray":
        from tests.chaos import nodes

        kinds, make, over = nodes.KINDS, nodes.RayRound, nodes.shut_down
    else:
        kinds, make, over = faults.KINDS | faults.PLAIN_KINDS, Round, lambda: None
    left_out = faults.skipped()
    kinds = {name: fault for name, fault in kinds.items() if name not in left_out and name in (only or kinds)}
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    print(f"{wanted} faults of {len(kinds)} kinds, about {wanted * PER_FAULT[engine] / 60:.0f} minutes", flush=True)
    server, began = JumpingServer(), time.monotonic()
    survived: Counter[str] = Counter()
    total: Counter[str] = Counter()
    failed: list[int] = []
    try:
        while total.total() < wanted:
            count = min(PER_ROUND, wanted - total.total())
            folder = Path(tempfile.mkdtemp(prefix="xtts-study-chaos-")) / "round"
            round = make(server, folder, seed, trials=trials_of(count))
            order = schedule(seed, list(kinds), count)
            try:
                survived += play(round, kinds, order)
                shutil.rmtree(folder.parent)
            except Exception:
                traceback.print_exc()
                shutil.copy(server.log, folder)
                failed.append(seed)
                print(f"FAILED: python -m tests.chaos --engine {engine} --seed {seed} --faults {count}; see {folder}")
            total += round.happened
            seconds = time.monotonic() - began
            done = f"{total.total()} of {wanted} faults in {seconds:.0f} s"
            print(f"seed {seed}: {done}, {len(failed)} rounds failed", flush=True)
            seed += 1
            if server.is_down:
                server.start()
    finally:
        server.remove()
        over()
    print(f"\n{'kind':34} {'faults':>7} {'survived':>9}")
    for kind in kinds:
        print(f"{kind:34} {total[kind]:7} {survived[kind]:9}")
    return {
        "engine": engine, "commit": commit(), "seconds": time.monotonic() - began, "failed": failed,
        "last_seed": seed - 1, "faults": dict(total), "survived": dict(survived), "left_out": left_out,
    }  # fmt: skip


if __name__ == "__main__":
    main()
