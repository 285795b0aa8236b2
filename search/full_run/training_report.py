"""`training_report.html`: what a full run found, in one file that needs no other."""

import csv
import time
from pathlib import Path
from typing import Any

from markupsafe import Markup

from search.confirmation.export import commit
from search.files import write_text
from search.full_run.result import FullResult
from search.pages.drawing import plain, to_svg
from search.pages.page import render
from search.settings.best_config import BestConfig
from search.text import duration
from search.trial import Prepared

NAME = "training_report.html"

# Colours of Okabe and Ito (2008), told apart also by the colour-blind. In the page they are CSS variables, which have
# other values where it is dark; matplotlib needs colours of its own to draw with.
_COLOURS = {"eval": "#0072b2", "probe": "#d55e00", "base": "#7f7f7f", "rate": "#009e73", "text": "#123456"}


def write(directory: Path, result: FullResult, best: BestConfig, prepared: Prepared) -> Path:
    """Writes the report of the run in `directory` and returns its path."""
    page = render(
        Path(__file__).with_name("training_report.html.j2"),
        result=result,
        best=best,
        prepared=prepared,
        trusted=best.confirmed and best.confirmation and best.confirmation.verdict == "better than the stock recipe",
        knobs=knobs(result, best),
        provenance=provenance(result, best, prepared),
        losses=Markup(losses_svg(result)),
        updates=Markup(updates_svg(directory / "steps.csv", best.hyperparameters.clip_norm)),
        duration=duration,
        written=time.strftime("%Y-%m-%d %H:%M"),
    )
    write_text(directory / NAME, page)
    return directory / NAME


def knobs(result: FullResult, best: BestConfig) -> list[tuple[str, str, str]]:
    """(knob, value, what it did in this run)."""
    point, record = best.hyperparameters, result.record
    inert = {text.partition(":")[0]: text.partition(":")[2].strip() for text in record["inert"]}
    changes = ", ".join(f"{rate:.3g} after step {int(step)}" for step, rate in record["lr_changes"])
    did = {
        "lr": f"applied from {_number(record['lr_first'])} to {_number(record['lr_last'])}",
        "weight_decay": f"shrank a decayed weight by {_share(record['cumulative_decay'])} in all",
        "milestones": changes or "none set",
        "gamma": "the factor at each milestone",
        "clip_norm": f"acted in {_share(record['clipped_share'])} of the steps; median norm"
        f" {_number(record['grad_norm_before'])} before, {_number(record['grad_norm_after'])} after"
        if point.clip_norm is not None
        else f"no clip; median norm {_number(record['grad_norm_before'])}",
    }
    values = {
        "lr": f"{point.lr:.3g}",
        "weight_decay": f"{point.weight_decay:.3g}",
        "milestones": ", ".join(f"step {step}" for step in best.schedule.milestones) or "none",
        "gamma": _number(point.gamma),
        "clip_norm": _number(point.clip_norm),
    }
    if point.new_rows_lr_factor != 1:
        values["new_rows_lr_factor"] = f"{point.new_rows_lr_factor:.3g}"
        ratio = record.get("new_rows_update_ratio")
        did["new_rows_lr_factor"] = f"their updates were {_times(ratio)} as long as the optimizer's own"
    if point.frozen_layers:
        values["frozen_layers"] = str(point.frozen_layers)
        did["frozen_layers"] = f"{record.get('frozen_parameters', 0):,} weights had no gradient and were not trained"
    return [(name, values[name], f"did not act: {inert[name]}" if name in inert else did[name]) for name in values]


def provenance(result: FullResult, best: BestConfig, prepared: Prepared) -> list[tuple[str, str]]:
    """(what, value) of where the run came from."""
    schedule = best.schedule
    batches = "one" if schedule.accumulation == 1 else str(schedule.accumulation)
    return [
        ("study", best.study),
        ("config", best.status),
        ("seed", str(result.seed)),
        ("batches", f"{schedule.batch_size} clips each, {batches} an optimizer step"),
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


def losses_svg(result: FullResult) -> str:
    """Eval and train probe over the steps, with the base as a line."""
    figure, (axes,) = _figure(1, 3.4)
    steps = [e.step for e in result.evaluations]
    axes.axhline(result.base.mel_ce, color=_COLOURS["base"], linestyle="--", label="eval of the untouched base")
    axes.plot(steps, [e.mel_ce for e in result.evaluations], "o-", color=_COLOURS["eval"], label="eval")
    axes.plot(steps, [e.probe_mel_ce for e in result.evaluations], "s-", color=_COLOURS["probe"], label="train probe")
    if result.best:
        axes.plot(
            result.best.step, result.best.mel_ce, "o", markersize=13, markerfacecolor="none", markeredgewidth=1.6,
            color=_COLOURS["eval"], label=f"best, step {result.best.step}",
        )  # fmt: skip
    axes.set_ylabel("mel cross-entropy,\nnats per audio token")
    axes.set_xlabel("optimizer steps")
    _legend(axes)
    return _svg(figure)


def updates_svg(steps_csv: Path, clip_norm: float | None) -> str:
    """Learning rate and gradient norm of each step, as measured at the optimizer."""
    with open(steps_csv, encoding="utf-8", newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    figure, (rate, norm) = _figure(2, 4.4)
    steps = [row["step"] for row in rows]
    rate.step(steps, [row["lr"] for row in rows], where="mid", color=_COLOURS["rate"])
    rate.set_ylabel("learning rate")
    rate.yaxis.set_major_formatter("{x:.3g}")
    rate.set_ylim(bottom=0)
    norms = [row["norm_before"] for row in rows]
    norm.plot(steps, norms, color=_COLOURS["eval"], linewidth=0.9, label="before the clip")
    norm.set_ylabel("gradient norm, L2")
    if norms and max(norms) > 30 * min(norms) > 0:
        norm.set_yscale("log")
        norm.yaxis.set_major_formatter("{x:g}")
    if clip_norm is not None:
        norm.axhline(clip_norm, color=_COLOURS["probe"], linestyle="--", label=f"clip, {clip_norm:.3g}")
        _legend(norm)
    norm.set_xlabel("optimizer steps")
    return _svg(figure)


def _figure(rows: int, height: float) -> tuple[Any, list[Any]]:
    """A figure (no display is needed for this class) and its axes, one above the other, over the same steps."""
    from matplotlib.figure import Figure  # half a second, which only the end of a run has

    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots(rows, sharex=True, squeeze=False)[:, 0]
    for each in axes:
        plain(each, _COLOURS["text"], _COLOURS["base"])
    return figure, list(axes)


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, labelcolor=_COLOURS["text"], fontsize=9)


def _svg(figure: Any) -> str:
    """The figure as an SVG element whose text is text and whose colours are the page's."""
    for axes in figure.axes:
        axes.set_xlim(left=0)
    return to_svg(figure, _COLOURS)


def _number(value: float | None) -> str:
    return "off" if value is None else f"{value:.3g}"


def _times(value: float | None) -> str:
    return "an unknown number of times" if value is None else f"{value:.3g} times"


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.3g} %"
