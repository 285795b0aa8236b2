"""Wall-clock time to an export at the mark, ours against the stock way.

    python -m benchmarks.time_to_export [--short] [--record]

*Ours* is `study.py --trials 40 --confirm` on the miniature, two slots on a CPU, from its start to its confirmed export;
data and base are prepared before. *The stock way* trains each of 40 configs in full: a fresh process a config, coqui's
recipe and `Trainer.fit()`, two at a time (`benchmarks.ways`). All its runs have the same length, so only the first four
are run, and their time is scaled to 40. It proves nothing: a proof would take further runs.

*The mark* is what 40 full runs find: the lowest evaluation of a search of ours with 40 full-length trials and no median
rule, plus one deviation between seeds of the race, because that lowest evaluation is selected. Our export holds the
mark if its mean over the fresh seeds of its race does. Stock's own logs cannot be compared with ours (docs/parity.md).
`--short` runs four configs of a tenth of the length.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.figures import show
from benchmarks.ways.run import ROOT, SLOTS, new_folder, run_alone, stock
from search.trial import Prepared, TrialSpec

CONFIGS, STOCK_RUNS = 40, 4
FULL_LENGTH = {"training.truncation": "1", "training.evaluations": "10", "pruning.median": "false"}


def search(folder: Path, settings: Mapping[str, str], *flags: str) -> tuple[dict[str, Any], float]:
    """The export of `study.py` in that folder, and the seconds it took."""
    values = {"study.workers": str(SLOTS), "study.directory": str(folder), **settings}
    given = (part for name, value in values.items() for part in ("--set", f"{name}={value}"))
    started = time.monotonic()
    subprocess.run([sys.executable, str(ROOT / "study.py"), *given, *flags], cwd=folder, check=True)
    seconds = time.monotonic() - started
    return json.loads((folder / "miniature" / "best_config.json").read_text(encoding="utf-8")), seconds


def full_runs(folder: Path, count: int) -> list[TrialSpec]:
    """The first runs of the search in that folder, with an evaluation at the end of each of stock's epochs."""
    trials = folder / "miniature" / "trials"
    specs = [TrialSpec.from_json((trials / str(n) / "spec.json").read_text(encoding="utf-8")) for n in range(count)]
    prepared = Prepared.from_json((Path(specs[0].prepared) / "prepared.json").read_text(encoding="utf-8"))
    epoch = -(-prepared.train_clips // specs[0].batch_size)
    return [replace(spec, evaluation_steps=list(range(epoch, spec.horizon + 1, epoch))) for spec in specs]


def compare(folder: Path, form: Mapping[str, str]) -> dict[str, float]:
    run_alone("benchmarks.ways.search", "{}", "--prepare", folder=new_folder(folder, "prepare"))
    export, ours = search(new_folder(folder, "ours"), form, "--confirm")
    full, full_seconds = search(new_folder(folder, "full"), {**form, **FULL_LENGTH})
    theirs, _ = stock(new_folder(folder, "stock"), full_runs(folder / "full", STOCK_RUNS))
    run_seconds = fmean(trial["seconds"] for trial in theirs)
    configs = int(form["study.trials"])
    race = export["confirmation"]
    exported = next(config for config in race["candidates"] if config["name"] == race["exported"])
    lowest = min(evaluation["mel_ce"] for evaluation in full["evidence"]["evaluations"])
    return {
        "ours, confirmed export, s": ours,
        f"stock, {configs} full runs, s": run_seconds * configs / SLOTS,
        "stock / ours": run_seconds * configs / SLOTS / ours,
        "stock, a full run, s": run_seconds,
        f"{configs} full runs of ours, s": full_seconds,
        "lowest of the full runs": lowest,
        "the mark": lowest + race["seed_sd"],
        "our export, mean of fresh seeds": fmean(run["value"] for run in exported["runs"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to an export at the mark.")
    parser.add_argument("--short", action="store_true", help="four configs, a tenth of the length")
    parser.add_argument("--record", action="store_true", help="commit these figures")
    given = parser.parse_args()
    form = {"study.trials": "4", "training.epochs": "4"} if given.short else {"study.trials": str(CONFIGS)}
    with tempfile.TemporaryDirectory(prefix="time-to-export-") as directory:
        found = compare(Path(directory), form)
    show("time_to_export --short" if given.short else "time_to_export", found, given.record)


if __name__ == "__main__":
    main()
