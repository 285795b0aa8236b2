"""`training_report.html`: what a full run found, in one file that needs no other."""

import csv
from collections.abc import Sequence
from pathlib import Path

from search.files import write_text
from search.full_run.result import FullResult
from search.pages.chart import BASE, Axis, Chart, Series
from search.pages.drawing import Picture, picture
from search.pages.page import render
from search.settings.best_config import BestConfig
from search.show import run_words
from search.sources import commit
from search.text import duration
from search.trial import Prepared

NAME = "training_report.html"


def write(directory: Path, result: FullResult, best: BestConfig, prepared: Prepared) -> Path:
    """Writes the report of the run in `directory` and returns its path."""
    page = render(
        Path(__file__).with_name("training_report.html.j2"),
        result=result,
        best=best,
        prepared=prepared,
        trusted=best.confirmed and best.confirmation and best.confirmation.verdict == "better than the stock recipe",
        knobs=run_words.knobs(result.record, best.hyperparameters),
        provenance=provenance(result, best, prepared),
        losses=losses(result),
        updates=updates(directory / "steps.csv", best.hyperparameters.clip_norm),
    )
    write_text(directory / NAME, page)
    return directory / NAME


def provenance(result: FullResult, best: BestConfig, prepared: Prepared) -> list[tuple[str, str]]:
    """(what, value) of where the run came from."""
    schedule = best.schedule
    batches = "one" if schedule.accumulation == 1 else str(schedule.accumulation)
    return [
        ("study", best.study),
        ("config", best.status),
        ("seed", str(result.seed)),
        ("batches", f"{schedule.batch_size} clips each, {batches} per optimizer step"),
        ("training clips", f"{prepared.train_clips} ({duration(prepared.train_seconds)})"),
        ("eval clips", f"{prepared.eval_clips} ({duration(prepared.eval_seconds)})"),
        ("left out", f"{len(prepared.dropped)} clips that cannot be trained on"),
        ("added to the vocabulary", " ".join(prepared.added_tokens) or "nothing"),
        ("trained parameters", f"{result.record['trainable_parameters']:,}"),
        ("data, by content", prepared.data_fingerprint),
        ("base model, by content", prepared.base_fingerprint),
        ("commit of the search", best.provenance.commit or "unknown"),
        ("commit of this run", commit() or "unknown"),
        ("versions", ", ".join(f"{name} {version}" for name, version in prepared.versions.items())),
    ]


def losses(result: FullResult) -> Picture | None:
    """Eval and train probe over the steps, with the base as a line."""
    steps, best = [e.step for e in result.evaluations], result.best
    series = [
        Series("eval", steps, [e.mel_ce for e in result.evaluations], "blue", "o", line="-"),
        Series("train probe", steps, [e.probe_mel_ce for e in result.evaluations], "orange", "s", line="-"),
    ]
    if best:
        series.append(Series(f"best, step {best.step}", [best.step], [best.mel_ce], "blue", "o", True, size=13))
    y = Axis("mel cross-entropy,\nnats per audio token", levels={BASE: result.base.mel_ce})
    return picture(Chart("Eval and train probe", _steps(steps), y, series))


def updates(steps_csv: Path, clip_norm: float | None) -> list[Picture | None]:
    """Learning rate and gradient norm of each step, as measured at the optimizer."""
    with open(steps_csv, encoding="utf-8", newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    steps, rates, norms = ([row[name] for row in rows] for name in ("step", "lr", "norm_before"))
    rate = Series("", steps, rates, "green", line="steps")
    norm = Series("before the clip" if clip_norm else "", steps, norms, "blue", line="-", width=0.9)
    clip = Axis("gradient norm, L2", levels={"clip": clip_norm} if clip_norm else {}, digits=".3g")
    highest = 1.05 * max(rates, default=1.0)
    return [
        picture(Chart("Learning rate", _steps(steps), Axis("learning rate", (0, highest)), [rate], height=2.2)),
        picture(Chart("Gradient norm", _steps(steps), clip, [norm], height=2.2)),
    ]


def _steps(steps: Sequence[float]) -> Axis:
    return Axis("optimizer steps", (0, 1.02 * max(steps, default=1)))
