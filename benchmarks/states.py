"""What saved states cost a trial: figures of docs/running.md. `python -m benchmarks.states`.

Searches of the miniature, as `study.py` runs them, one slot and no pruning: with no state, with a state every 1.2 s,
and with one at each optimizer step. The first trial of each is left out: it waits for the fork server's imports.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean

import optuna

from search.study.recorded import SLOT_SECONDS
from tests.conftest import ROOT

SAVE_MINUTES = (None, 0.02, 1e-9)
TRIALS = 3
GIVEN = {
    "training.steps": 100, "training.truncation": 0.5, "speech.sentences": 0,
    "pruning.median": "false", "pruning.two_increases": "false",
}  # fmt: skip
SAVED = re.compile(r"saved the state of step \d+: ([\d.]+) MB in ([\d.]+) s")


def measure(minutes: float | None, folder: Path) -> None:
    """Prints a row."""
    given = {**GIVEN, **({} if minutes is None else {"study.save_minutes": minutes})}
    words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, str(ROOT / "study.py"), "--trials", str(TRIALS), "--workers", "1", *words]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    study = folder / "runs" / "miniature"
    trials = optuna.load_study(study_name="miniature", storage=f"sqlite:///{study / 'study.db'}").get_trials()[1:]
    logs = [(study / "trials" / str(trial.number) / "log.txt").read_text() for trial in trials]
    saved = [(float(size), float(seconds)) for log in logs for size, seconds in SAVED.findall(log)]
    a_trial = fmean(trial.user_attrs[SLOT_SECONDS] for trial in trials)
    megabytes, seconds = (sum(each[i] for each in saved) / len(trials) for i in (0, 1))
    print(
        f"| {minutes} | {a_trial:.2f} | {len(saved) / len(trials):.0f} | {megabytes:.0f} | {seconds:.2f} |", flush=True
    )


def main() -> None:
    print("| save_minutes | seconds a trial | states | MB written | seconds of it |\n|---|---|---|---|---|")
    for minutes in SAVE_MINUTES:
        with tempfile.TemporaryDirectory() as folder:
            measure(minutes, Path(folder))


if __name__ == "__main__":
    main()
