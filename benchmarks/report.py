"""What a report costs: the time of the whole command, and the size of the page, without its sound.

    python -m benchmarks.report        # the figures of docs/report.md

`study.py report` as a process, five times each, of studies that were written straight into an SQLite file.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna

from tests import shown

TRIALS = (40, 2000)
RUNS = 5


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print("| trials | seconds, median | least | most | page without sound, MB |\n|---|---|---|---|---|")
    for trials in TRIALS:
        with tempfile.TemporaryDirectory() as folder:
            seconds, size = cost(Path(folder), trials)
        middle = statistics.median(seconds)
        print(f"| {trials:,} | {middle:.1f} | {min(seconds):.1f} | {max(seconds):.1f} | {size / 1e6:.2f} |", flush=True)


def cost(folder: Path, trials: int) -> tuple[list[float], int]:
    """(seconds of each run, bytes of the page without its sound) of a study of so many trials."""
    settings = shown.study(folder, trials)
    command = [sys.executable, "study.py", "report", "--settings", str(folder / "study.toml")]
    command += ["--set", f"study.directory={folder}"]
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    page = (settings.directory / "report.html").read_text(encoding="utf-8")
    return seconds, len(re.sub(r'src="data:[^"]*"', "", page).encode())


if __name__ == "__main__":
    main()
