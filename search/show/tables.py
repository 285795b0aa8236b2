"""What a study has found so far, in tables and sentences: at the end of a search and for `status`."""

import datetime
from collections import Counter
from collections.abc import Mapping

from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.settings.sections import STOCK
from search.show.styles import WARNING
from search.study.findings import Findings, Row
from search.study.noise import repeats_sd
from search.text import duration, printable
from search.ties import is_lower
from search.trial import StopReason
from space.search_space import SearchSpace

SHOWN = 5  # best trials


def show(findings: Findings, space: SearchSpace, console: Console, confirmed: bool = False) -> None:
    """The table of the best trials beside the baselines and the base, the counts, and what the pruning saved.

    `confirmed`: what a confirmation has proven is told after it.
    """
    table = _table(findings, space)
    table.expand = console.is_terminal  # then the last column gives way; a pipe gets whole lines
    console.print(table)
    console.print(": ".join(filter(None, [f"{findings.finished} finished trials", counted(findings.judged)])))
    if findings.cut_short:
        console.print(f"{len(findings.cut_short)} cut short: {printable(why_cut_short(findings.cut_short))}")
    trained, unpruned = findings.steps
    if unpruned:
        console.print(
            f"Optimizer steps: {trained:,} trained, {unpruned:,} without pruning: {1 - trained / unpruned:.0%} saved"
        )
    best = findings.completed[0] if findings.completed else None
    if best is None:
        console.print("No trial has completed yet.")
        return
    for line in verdict(findings, best, space, confirmed):
        console.print(line)


def counted(rows: list[Row]) -> str:
    """12 median, 3 finished."""
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(row.reason for row in rows).most_common())


def why_cut_short(rows: list[Row]) -> str:
    """How often for which reason, and the error of the last."""
    last = rows[-1]
    where = f"trial {last.trial.number} on {last.host or 'an unknown host'}"
    return f"{counted(rows)}. The last was {where}: {last.error or 'no error was recorded'}"


def show_running(findings: Findings, space: SearchSpace, console: Console) -> None:
    """A line for each trial that runs now, anywhere."""
    for row in findings.rows:
        if row.trial.state != TrialState.RUNNING or row.trial.datetime_start is None:
            continue
        age = duration((datetime.datetime.now() - row.trial.datetime_start).total_seconds())
        values = row.trial.intermediate_values
        last = (
            f"step {max(values)}/{findings.horizon}  eval {values[max(values)]:.4f}" if values else "no evaluation yet"
        )
        host = printable(row.host or "an unknown host")
        console.print(f"running for {age} on {host}: trial {row.trial.number}  {last}  {_described(row, space)}")


def _described(row: Row, space: SearchSpace) -> str:
    """The trial's parameters in words; nothing while it is being asked for."""
    try:
        return space.from_params(row.trial.params).describe()
    except (KeyError, ValueError):
        return ""


def verdict(findings: Findings, best: Row, space: SearchSpace, confirmed: bool = False) -> list[str]:
    """What the best trial means, in sentences, and what speaks against trusting it."""
    assert best.trial.value is not None
    proof = "; study.py confirm does it" if best.trial.value < findings.base.mel_ce else ""
    unproven = f"One seed and a truncated run each: the order of close trials is not proven{proof}."
    return [*_gains(findings, best), *([] if confirmed else [unproven]), *doubts(findings, best, space)]


def _gains(findings: Findings, best: Row) -> list[str]:
    """By how much the best trial beats the base and the stock recipe."""
    assert best.trial.value is not None
    lines = []
    gain = findings.base.mel_ce - best.trial.value
    if not is_lower(best.trial.value, findings.base.mel_ce):
        lines.append(f"Do not fine-tune: no trial beats the untouched base model ({findings.base.mel_ce:.4f}).")
        subject = f"Trial {best.trial.number}, the best,"
    else:
        subject = "It"
        lines.append(
            f"Trial {best.trial.number} is {gain:.4f} nats per audio token below the untouched base model"
            f" ({best.trial.value:.4f} against {findings.base.mel_ce:.4f})."
        )
    stock = next((row for row in findings.judged if row.baseline == STOCK and row.best), None)
    if stock and stock.best:
        margin = stock.best.mel_ce - best.trial.value
        if stock.trial.number == best.trial.number:
            lines.append(f"{subject} is the stock recipe (V0): no other trial was better.")
        elif is_lower(best.trial.value, stock.best.mel_ce):
            lines.append(f"{subject} is {margin:.4f} below the stock recipe (V0, {stock.best.mel_ce:.4f}).")
        elif stock.trial.state == TrialState.COMPLETE:
            lines.append(f"{subject} is no better than the stock recipe (V0, {stock.best.mel_ce:.4f}).")
        else:
            lines.append(
                f"The stock recipe (V0) came to {stock.best.mel_ce:.4f} before it was stopped ({stock.reason})."
            )
    return lines


def doubts(findings: Findings, best: Row, space: SearchSpace) -> list[str]:
    """What speaks against the best trial, besides that it is one short run: close ones, edges, idle knobs."""
    assert best.trial.value is not None
    lines = _noise(findings, best.trial.value)
    lines += [f"Warning: {text}; widen the range." for text in space.at_edge(best.trial.params)]
    lines += [f"Did not act in trial {best.trial.number}: {text}" for text in (best.record or {}).get("inert", [])]
    return lines


def _noise(findings: Findings, best: float) -> list[str]:
    """What the repeats of the stock recipe say about close trials; nothing without repeats."""
    deviation, freedom = repeats_sd([row.trial for row in findings.rows])
    if deviation is None:
        return []
    close = sum(r.trial.value is not None and r.trial.value - best <= 2 * deviation for r in findings.completed)
    return [
        f"Seed noise: {freedom + 1} runs of the stock recipe differ by {deviation:.4f} (standard deviation); {close}"
        f" trial{'s' if close > 1 else ''}, the best included, within twice that of the best."
    ]


def time_share(spent: Mapping[str, float], wall: float, slots: int) -> str:
    """How much of the slots' time went into what, as in {"training": 40.0}; all in seconds."""
    total = wall * slots
    shares = ", ".join(f"{what} {seconds / total:.0%}" for what, seconds in spent.items() if seconds)
    rest = 1 - sum(spent.values()) / total
    return f"Time: {duration(wall)} on {slots} slot{'s' if slots > 1 else ''}; {shares}, the rest {rest:.0%}"


def _table(findings: Findings, space: SearchSpace) -> Table:
    table = Table(title=f"Study {findings.study}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("trial", "eval", "at step", "text", "gap"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("stopped by", no_wrap=True)
    table.add_column("parameters", ratio=1, no_wrap=True, overflow="ellipsis")
    shown = findings.completed[:SHOWN]
    for row in shown:
        _add(table, row, space, bold=row is shown[0])
    rest = [row for row in findings.judged if row.baseline and row.best and row not in shown]
    if rest:
        table.add_section()
    for row in rest:
        _add(table, row, space)
    table.add_section()
    base = findings.base
    table.add_row(
        "base", f"{base.mel_ce:.4f}", "0", f"{base.text_ce:.2f}", f"{base.gap:.2f}", "", "untouched base model"
    )
    return table


def _add(table: Table, row: Row, space: SearchSpace, bold: bool = False) -> None:
    best = row.best
    parameters = Text(_described(row, space))
    if row.baseline:
        parameters.append(f"  {row.baseline}")
    table.add_row(
        str(row.trial.number),
        f"{best.mel_ce:.4f}" if best else "-",
        str(best.step) if best else "-",
        f"{best.text_ce:.2f}" if best else "-",
        f"{best.gap:.2f}" if best else "-",
        Text(row.reason, style=WARNING if row.reason == StopReason.TWO_INCREASES else ""),
        parameters,
        style="bold" if bold else "",
    )
