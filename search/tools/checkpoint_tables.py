"""The report on checkpoints, for people and for scripts."""

import json
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.text import printable
from search.ties import lowest
from search.tools.advice import advice, gigabytes
from search.tools.run_folder import Checkpoint, Report, Run
from search.trial import Evaluation

SHOWN = 30  # epochs of a log; the first and the last ones


def show(report: Report, console: Console) -> None:
    """Tables and sentences. Nothing that a folder holds reaches the terminal but as printed signs."""
    if not console.is_terminal:
        console.width = 1000  # in a pipe no line is cut
    for run in report.runs:
        _line(console, str(run.path), "bold")
        if run.losses:
            _epochs(run, console)
        if run.evaluations:
            _evaluations(run, console)
        for note in run.notes:
            _line(console, f"* {note}")
        if run.checkpoints:
            _checkpoints(report, run, console)
        console.print()
    if report.measured_on:
        _line(console, f"Measured on {report.measured_on}: nats per token, dropout off; gap = eval / training clips.")
        if any(c.claimed_eval is not None and not c.kind.startswith("our") for c in report.checkpoints):
            _line(
                console,
                "The eval that coqui's trainer claims is another number: the text loss is part of it, batches count"
                " alike whatever their length, and the first one not at all.",
            )
    if report.unmeasured:
        _line(console, f"Not measured: {report.unmeasured}")
    for sentence in advice(report):
        _line(console, sentence, "bold")


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style), soft_wrap=not console.is_terminal)


def _table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
    """`left` columns of words, then numbers; a column that is empty in every row is left out."""
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False, header_style="")
    used = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    for i in used:
        words = [word for text in (columns[i], *(row[i] for row in rows)) for word in text.split()]
        # A narrow terminal folds the names, at both ends, and leaves the numbers whole.
        width = max(map(len, words)) if 0 < i < len(columns) - 1 else None
        justify: Literal["left", "right"] = "left" if i < left or not columns[i] else "right"
        table.add_column(columns[i], justify=justify, overflow="fold", min_width=width)
    for row in rows:
        table.add_row(*(Text(printable(row[i])) for i in used))
    console.print(table)


def _epochs(run: Run, console: Console) -> None:
    losses = run.losses
    shown = losses if len(losses) <= SHOWN else [*losses[: SHOWN // 2], *losses[-SHOWN // 2 :]]
    rows = [
        [
            "?" if e.epoch is None else str(e.epoch), "" if e.micro_steps is None else f"{e.micro_steps}",
            _n(e.train_logged), _n(e.eval), _times(e.gap_logged),
            _n(e.train), _times(e.gap), _n(e.train_mel_ce), _n(e.eval_mel_ce), _n(e.train_text_ce), _n(e.eval_text_ce),
            e.best_model or "",
        ]
        for e in shown
    ]  # fmt: skip
    columns = [
        "epoch", "step", "train as logged", "eval", "gap as logged", "true train", "true gap",
        "train mel", "eval mel", "train text", "eval text", "best model",
    ]  # fmt: skip
    title = f"{run.log.name if run.log else ''}: losses in nats"
    if len(shown) < len(losses):
        title += f" (the first and last {SHOWN // 2} of {len(losses)} epochs)"
    _table(console, printable(title), columns, rows, 0)


def _evaluations(run: Run, console: Console) -> None:
    best = lowest(run.evaluations)
    _line(console, f"* evaluations.csv: {len(run.evaluations)} evaluations, of our own trainer: nothing to correct.")
    if best:
        _line(console, f"* The lowest is that of step {best.step}, {best.mel_ce:.4f} (gap {best.gap:.2f}).")


def _checkpoints(report: Report, run: Run, console: Console) -> None:
    steps = run.accumulation.steps if run.accumulation else None
    rows = [_row(c, steps) for c in run.checkpoints]
    base = report.base
    if base:
        rows.append(["untouched base model", *[""] * 7, *_measured(base), ""])
    columns = [
        "file", "kind", "size", "written", "step", "epoch", "claims train", "claims eval",
        "eval", "text", "train clips", "gap", "",
    ]  # fmt: skip
    _table(console, "checkpoints", columns, rows, 2)


def _row(checkpoint: Checkpoint, accumulation: int | None) -> list[str]:
    c = checkpoint
    claimed = _n(c.claimed_train)
    if claimed and accumulation and accumulation > 1 and not c.kind.startswith("our"):
        claimed += f" (x{accumulation}: {_n((c.claimed_train or 0) * accumulation)})"
    remark = f"the weights of {c.same_as}" if c.same_as else f"not measured: {c.reason}" if c.reason else ""
    return [
        c.name, c.kind, gigabytes(c.size), _date(c),
        "" if c.step is None else str(c.step), "" if c.epoch is None else str(c.epoch), claimed, _n(c.claimed_eval),
        *_measured(c.evaluation), remark,
    ]  # fmt: skip


def _date(checkpoint: Checkpoint) -> str:
    """As the file says it ("November 22, 2026"), or else when it was last written."""
    with suppress(ValueError, TypeError):
        return time.strftime("%Y-%m-%d", time.strptime(checkpoint.date or "", "%B %d, %Y"))
    return checkpoint.date or time.strftime("%Y-%m-%d", time.localtime(checkpoint.modified))


def _measured(evaluation: Evaluation | None) -> list[str]:
    if evaluation is None:
        return [""] * 4
    e = evaluation
    return [f"{e.mel_ce:.4f}", f"{e.text_ce:.3f}", f"{e.probe_mel_ce:.4f}", f"{e.gap:.2f}"]


def _n(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3g}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.{2 if value < 10 else 1}f}x"


def to_json(report: Report) -> str:
    """One document in ASCII; what is not finite is null."""
    document = {
        "path": str(report.path),
        "runs": [_run_document(run) for run in report.runs],
        "measured_on": report.measured_on,
        "unmeasured": report.unmeasured,
        "base": _evaluation_document(report.base),
        "base_reason": report.base_reason,
        "advice": advice(report),
    }
    return json.dumps(_finite(document), indent=2, allow_nan=False)


def _run_document(run: Run) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "accumulation": run.accumulation.steps if run.accumulation else None,
        "epochs": [asdict(e) for e in run.losses],
        "evaluations": [_evaluation_document(e) for e in run.evaluations],
        "notes": run.notes,
        "checkpoints": [
            {**asdict(c), "path": str(c.path), "evaluation": _evaluation_document(c.evaluation)}
            for c in run.checkpoints
        ],
    }


def _evaluation_document(evaluation: Evaluation | None) -> dict[str, Any] | None:
    return None if evaluation is None else {**asdict(evaluation), "gap": evaluation.gap}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
