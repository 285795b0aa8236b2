"""Starts both ways in processes of their own: a search of ours, and stock trials, as many at a time as it has slots."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ways.usage import Peak, bytes_in
from search.settings.knobs import coqui_fields
from search.trial import Prepared, TrialSpec

ROOT = Path(__file__).parent.parent.parent
SLOTS = 2
OPTIMIZER = {"betas": [0.9, 0.96], "eps": 1e-8}
# coqui's recipe, but for test sentences.
RECIPE = {
    "project_name": "XTTS_trainer",
    "run_description": "GPT XTTS training",
    "dashboard_logger": "tensorboard",
    "logger_uri": None,
    "batch_group_size": 48,
    "num_loader_workers": 8,
    "eval_split_max_size": 256,
    "print_step": 50,
    "plot_step": 100,
    "log_model_step": 1000,
    "save_step": 10_000,
    "save_n_checkpoints": 1,
    "save_checkpoints": True,
    "print_eval": False,
    "optimizer": "AdamW",
    "optimizer_wd_only_on_weights": True,
}


def python(module: str, *arguments: Any, log: Path) -> subprocess.Popen[bytes]:
    """A fresh process of the module; its output goes to `log`."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )


def finish(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.wait():
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"a process ended with exit code {process.returncode}; the end of its output:\n{tail}")


def run_alone(module: str, *arguments: Any, folder: Path) -> dict[str, Any]:
    """What the process of the module wrote into its second argument, which is added here."""
    out, log = folder / "found.json", folder / "log.txt"
    finish(python(module, arguments[0], out, *arguments[1:], log=log), log)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def new_folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def search(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A search of ours; "memory" and "bytes" are of all its processes and trials together."""
    overrides = {"study.directory": str(folder), "study.workers": SLOTS, **settings}
    out, log = folder / "found.json", folder / "log.txt"
    with Peak() as peak:
        process = python("benchmarks.ways.search", json.dumps(overrides), out, log=log)
        peak.roots.add(process.pid)
        finish(process, log)
    return {**json.loads(out.read_text()), "memory": peak.bytes, "bytes": bytes_in(folder / "miniature")}


def ours(folder: Path, specs: Sequence[TrialSpec]) -> list[dict[str, Any]]:
    """The trials of `specs` under the meter, all at a time."""
    folders = [new_folder(folder, f"trial-{spec.number}") for spec in specs]
    started = []
    for place, spec in zip(folders, specs, strict=True):
        (place / "spec.json").write_text(spec.to_json(), encoding="utf-8")
        out = place / "found.json"
        started.append(python("benchmarks.ways.ours", place / "spec.json", out, log=place / "log.txt"))
    for place, process in zip(folders, started, strict=True):
        finish(process, place / "log.txt")
    return [json.loads((place / "found.json").read_text()) for place in folders]


def stock_config(spec: TrialSpec, prepared: Prepared, output: Path) -> dict[str, Any]:
    """coqui's config for the trial of `spec`, which writes below `output`: its steps in whole epochs.

    Stock evaluates after an epoch, so that the evaluations of `spec` must lie there.
    """
    an_epoch, short = divmod(-(-prepared.train_clips // spec.batch_size), spec.accumulation)
    epochs, rest = divmod(spec.horizon, an_epoch)
    ends = [an_epoch * (i + 1) for i in range(epochs)]
    assert not short and not rest and spec.evaluation_steps == ends, (spec.evaluation_steps, ends)
    return {
        **prepared.coqui_config,
        **RECIPE,
        **coqui_fields(spec.hyperparameters, spec.horizon, OPTIMIZER),
        "batch_size": spec.batch_size,
        "eval_batch_size": spec.eval_batch_size,
        "training_seed": spec.seed,
        "epochs": epochs,
        "run_name": f"trial-{spec.number}",
        "output_path": str(output),
    }


class Stock:
    """A trial the stock way, from the start of its process to its end."""

    def __init__(self, spec: TrialSpec, folder: Path, extra: Mapping[str, Any]) -> None:
        """Starts it; the trainer writes into run/ of `folder`. `extra` are fields of its config."""
        prepared = Prepared.from_json((Path(spec.prepared) / "prepared.json").read_text(encoding="utf-8"))
        self._run, self._log, self._out = new_folder(folder, "run"), folder / "log.txt", folder / "found.json"
        config = {**stock_config(spec, prepared, self._run), **extra}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        self._started = time.time()
        self.process = python(
            "benchmarks.ways.stock", folder / "config.json", self._out, spec.accumulation, log=self._log
        )

    def end(self) -> dict[str, Any]:
        finish(self.process, self._log)
        seconds = time.time() - self._started
        found = json.loads(self._out.read_text())
        first = found["first_step"] - self._started
        return {**found, "seconds": seconds, "first_step_seconds": first, "bytes": bytes_in(self._run)}


def stock(
    folder: Path, specs: Sequence[TrialSpec], extra: Mapping[str, Any] | None = None
) -> tuple[list[dict[str, Any]], int]:
    """The trials of `specs` the stock way, as many at a time as slots, and the most memory that they had together."""
    waiting = list(specs)
    running: list[Stock] = []
    found = []
    with Peak() as peak:
        while waiting or running:
            while waiting and len(running) < SLOTS:
                spec = waiting.pop(0)
                running.append(Stock(spec, new_folder(folder, f"trial-{spec.number}"), extra or {}))
                peak.roots.add(running[-1].process.pid)
            for trial in [trial for trial in running if trial.process.poll() is not None]:
                running.remove(trial)
                peak.roots.discard(trial.process.pid)
                found.append(trial.end())
            time.sleep(0.02)
    return found, peak.bytes


def refuse_unequal(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], spec: TrialSpec) -> None:
    """Ends the benchmark unless all did the same work."""
    work = {(trial["steps"], trial["evaluations"]) for trial in (*ours, *theirs)}
    if work != {(spec.horizon, len(spec.evaluation_steps))}:
        raise SystemExit(f"unequal work: (optimizer steps, evaluations) of the trials are {sorted(work)}")
