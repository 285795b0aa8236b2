"""`training_report.html`: what a full run found, in one file that needs no other."""

import csv
import time
from pathlib import Path

from markupsafe import Markup

from search.files import write_text
from search.full_run.result import FullResult
from search.pages.drawing import COLOURS, DASHED, WIDE, figure, legend, to_svg
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
        losses=losses_svg(result),
        updates=updates_svg(directory / "steps.csv", best.hyperparameters.clip_norm),
        duration=duration,
        written=time.strftime("%Y-%m-%d %H:%M"),
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


def losses_svg(result: FullResult) -> Markup:
    """Eval and train probe over the steps, with the base as a line."""
    made, (axes,) = figure(WIDE)
    steps, blue = [e.step for e in result.evaluations], COLOURS["blue"]
    axes.axhline(result.base.mel_ce, color=COLOURS["grey"], linestyle=DASHED, label="eval of the untouched base")
    axes.plot(steps, [e.mel_ce for e in result.evaluations], "o-", color=blue, label="eval")
    axes.plot(steps, [e.probe_mel_ce for e in result.evaluations], "s-", color=COLOURS["orange"], label="train probe")
    if result.best:
        label = f"best, step {result.best.step}"
        axes.plot(
            result.best.step, result.best.mel_ce, "o", markersize=13, markerfacecolor="none", color=blue, label=label
        )
    axes.set(xlabel="optimizer steps", ylabel="mel cross-entropy,\nnats per audio token")
    axes.set_xlim(left=0)
    legend(made, 4)
    return to_svg(made)


def updates_svg(steps_csv: Path, clip_norm: float | None) -> Markup:
    """Learning rate and gradient norm of each step, as measured at the optimizer."""
    with open(steps_csv, encoding="utf-8", newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    made, (rate, norm) = figure((WIDE[0], 4.4), rows=2, sharex=True)
    steps = [row["step"] for row in rows]
    rate.step(steps, [row["lr"] for row in rows], where="mid", color=COLOURS["green"])
    rate.set_ylabel("learning rate")
    rate.yaxis.set_major_formatter("{x:.3g}")
    rate.set_ylim(bottom=0)
    norms = [row["norm_before"] for row in rows]
    norm.plot(steps, norms, color=COLOURS["blue"], linewidth=0.9, label="before the clip")
    if clip_norm is not None:
        norm.axhline(clip_norm, color=COLOURS["orange"], linestyle=DASHED, label=f"clip, {clip_norm:.3g}")
        norm.legend(frameon=False, labelcolor=COLOURS["text"], fontsize=8)
    norm.set(xlabel="optimizer steps", ylabel="gradient norm, L2")
    norm.set_xlim(left=0)
    return to_svg(made)
