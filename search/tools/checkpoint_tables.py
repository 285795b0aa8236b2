"""What was found about checkpoints, for people and for scripts."""

import json
import time
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from search.show.styles import WARNING
from search.text import printable
from search.ties import lowest
from search.tools.advice import advice, gigabytes, warnings
from search.tools.corrections import nats, times
from search.tools.run_folder import Checkpoint, Inspection, LoggedRun

SHOWN = 30  # epochs of a log; the first and the last ones


def show(found: Inspection, console: Console) -> None:
    """Tables and sentences. Whatever a folder contains reaches the terminal as printable characters only."""
    if not console.is_terminal:
        console.width = 1000  # in a pipe no line is cut
    for run in found.runs:
        _line(console, str(run.path), "bold")
        if run.epochs:
            _epochs(run, console)
        if run.evaluations:
            _line(console, f"* evaluations.csv: {len(run.evaluations)} evaluations of our own trainer, correct as is.")
            if best := lowest(run.evaluations):
                _line(console, f"* The lowest is that of step {best.step}, {best.mel_ce:.4f} (gap {best.gap:.2f}).")
        for note in run.notes:
            _line(console, f"* {note}")
        if run.checkpoints:
            _checkpoints(found, run, console)
        console.print()
    if found.measured_on:
        _line(console, f"Measured on {found.measured_on}: nats per token, dropout off; gap = eval / training clips.")
        if any(c.claimed_eval is not None and not c.is_ours for c in found.checkpoints):
            _line(
                console,
                "The eval that coqui's trainer claims is another number: it includes the text loss, weighs all batches"
                " alike whatever their length, and leaves out the first one.",
            )
    if found.unmeasured:
        _line(console, f"Not measured: {found.unmeasured}")
    for sentence in warnings(found):
        _line(console, f"Warning: {sentence}", WARNING)
    for sentence in advice(found):
        _line(console, sentence, "bold")


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style), soft_wrap=not console.is_terminal)


def _table(console: Console, title: str, cells: dict[str, list[str]], left: int) -> None:
    """`left` columns of words, then numbers; a column that is empty in every row is left out."""
    table = Table(title=title, title_justify="left", title_style="", box=None, pad_edge=False, header_style="")
    used = {heading: column for heading, column in cells.items() if any(column)}
    for i, (heading, column) in enumerate(used.items()):
        words = " ".join((heading, *column)).split()
        # A narrow terminal folds headings, and the names at both ends, and leaves the numbers whole.
        width = max(map(len, words)) if 0 < i < len(used) - 1 else None
        side: JustifyMethod = "left" if i < left or not heading else "right"
        table.add_column(heading, justify=side, overflow="fold", min_width=width)
    for row in zip(*used.values(), strict=True):
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def _epochs(run: LoggedRun, console: Console) -> None:
    epochs, title = run.epochs, "losses in nats"
    if len(epochs) > SHOWN:
        title += f" (the first and last {SHOWN // 2} of {len(epochs)} epochs)"
        epochs = [*epochs[: SHOWN // 2], *epochs[-SHOWN // 2 :]]
    cells = {
        "epoch": ["?" if e.epoch is None else str(e.epoch) for e in epochs],
        "step": [_count(e.micro_steps) for e in epochs],
        "train as logged": [nats(e.train_logged) for e in epochs],
        "eval": [nats(e.eval) for e in epochs],
        "gap as logged": [times(e.gap_logged) for e in epochs],
        "true train": [nats(e.train) for e in epochs],
        "true gap": [times(e.gap) for e in epochs],
        "train mel": [nats(e.train_mel_ce) for e in epochs],
        "eval mel": [nats(e.eval_mel_ce) for e in epochs],
        "train text": [nats(e.train_text_ce) for e in epochs],
        "eval text": [nats(e.eval_text_ce) for e in epochs],
        "best model": [e.best_model or "" for e in epochs],
    }
    _table(console, title, cells, 0)


def _checkpoints(found: Inspection, run: LoggedRun, console: Console) -> None:
    rows = list(run.checkpoints)
    if found.base:
        rows.append(Checkpoint(Path(), "untouched base model", "", evaluation=found.base))
    measured = [c.evaluation for c in rows]
    cells = {
        "file": [c.name for c in rows],
        "kind": [c.kind for c in rows],
        "size": [gigabytes(c.size) if c.kind else "" for c in rows],
        "written": [time.strftime("%Y-%m-%d", time.localtime(c.modified)) if c.kind else "" for c in rows],
        "step": [_count(c.step) for c in rows],
        "epoch": [_count(c.epoch) for c in rows],
        "claims train": [_claimed(c, run.accumulation) for c in rows],
        "claims eval": [nats(c.claimed_eval) for c in rows],
        "eval": [f"{e.mel_ce:.4f}" if e else "" for e in measured],
        "text": [f"{e.text_ce:.3f}" if e else "" for e in measured],
        "train clips": [f"{e.probe_mel_ce:.4f}" if e else "" for e in measured],
        "gap": [f"{e.gap:.2f}" if e else "" for e in measured],
        "": [
            f"the weights of {c.same_as}" if c.same_as else f"not measured: {c.reason}" if c.reason else ""
            for c in rows
        ],
    }
    _table(console, "checkpoints", cells, 2)


def _claimed(checkpoint: Checkpoint, accumulation: int | None) -> str:
    logged = checkpoint.claimed_train
    if logged is None or checkpoint.is_ours or accumulation in (None, 1):
        return nats(logged)
    return f"{nats(logged)} (x{accumulation}: {nats(logged * (accumulation or 1))})"


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def to_json(found: Inspection) -> str:
    """One document in ASCII; a value that is not finite is null. config.json, a file of the run, is left out."""
    plain = json.loads(TypeAdapter(Inspection).dump_json(found, exclude={"runs": {"__all__": {"config"}}}))
    return json.dumps({**plain, "warnings": warnings(found), "advice": advice(found)}, indent=2, allow_nan=False)
