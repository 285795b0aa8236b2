"""What a study has found so far, in tables and sentences: for the terminal, and for the pages."""

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence

from optuna.trial import TrialState
from rich.console import Console

from search.confirmation.candidates import Candidate
from search.confirmation.verdict import searched, sentences
from search.show.styles import Table, show_table
from search.study.findings import Findings, Row
from search.study.noise import repeats_sd
from search.study.settling import worth
from search.text import duration, printable
from space.hyperparameters import Hyperparameters
from space.search_space import SearchSpace

SHOWN = 5  # best trials


def show(findings: Findings, space: SearchSpace, console: Console, confirmed: bool = False) -> None:
    """The table of the best trials beside the baselines and the base, the counts, and what the pruning saved.

    `confirmed`: what a confirmation has proven is told after it.
    """
    shown, base = findings.completed[:SHOWN], findings.base
    rest = [row for row in findings.judged if row.name and row.best and row not in shown]
    losses = [f"{base.mel_ce:.4f}", "0", f"{base.text_ce:.2f}", f"{base.gap:.2f}"]
    found = trials(f"Study {findings.study}", [*shown, *rest], space, ["base", *losses, "", "untouched base model"])
    show_table(console, found)
    for line in [*counts(findings), *pruning(findings)]:
        console.print(printable(line))
    for line in verdict(findings, space, confirmed):
        console.print(line)


def counts(findings: Findings) -> list[str]:
    """How many trials have finished and were cut short, with the reasons."""
    lines = [": ".join(filter(None, [f"{findings.finished} finished trials", counted(findings.judged)]))]
    if findings.cut_short:
        lines.append(f"{len(findings.cut_short)} cut short: {why_cut_short(findings.cut_short)}")
    return lines


def counted(rows: list[Row]) -> str:
    """12 median, 3 finished."""
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(row.reason for row in rows).most_common())


def why_cut_short(rows: list[Row]) -> str:
    """How often for which reason, and the error of the last."""
    last = rows[-1]
    where = f"trial {last.trial.number} on {last.host or 'an unknown host'}"
    return f"{counted(rows)}. The last was {where}: {last.error or 'no error was recorded'}"


def pruning(findings: Findings) -> list[str]:
    """What pruning saved; nothing before a trial has finished."""
    trained, unpruned = findings.steps
    if not unpruned:
        return []
    return [f"Optimizer steps: {trained:,} trained, {unpruned:,} without pruning: {1 - trained / unpruned:.0%} saved"]


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
        console.print(f"running for {age} on {host}: trial {row.trial.number}  {last}  {described(row, space)}")


def point_of(row: Row, space: SearchSpace) -> Hyperparameters | None:
    """Of a trial, or of a full run of a confirmation; None where it cannot be read, or while it is being drawn."""
    candidate = row.trial.system_attrs.get("candidate")
    try:
        return Candidate(**candidate).point if candidate else space.from_params(row.trial.params)
    except (KeyError, TypeError, ValueError):
        return None


def described(row: Row, space: SearchSpace) -> str:
    point = point_of(row, space)
    return point.describe() if point else ""


def verdict(findings: Findings, space: SearchSpace, confirmed: bool = False) -> list[str]:
    """What the best trial means, in sentences, and what speaks against trusting it."""
    found = searched(findings)
    if found is None:
        return ["No trial has completed yet."]
    proof = "" if found.verdict == "do not fine-tune" else "; study.py confirm does it"
    unproven = f"One seed and a truncated run each: the order of close trials is not proven{proof}."
    return [*sentences(found), *([] if confirmed else [unproven]), *doubts(findings, found.best, space)]


def doubts(findings: Findings, best: Row, space: SearchSpace) -> list[str]:
    """What speaks for more trials, and against the best, besides that it is one short run."""
    base, trials = findings.base.mel_ce, [row.trial for row in findings.rows]
    brought = worth(trials, base)
    told = [f"{str(brought)[:1].upper()}{str(brought)[1:]}."] if brought else []
    idle = [f"Did not act in trial {best.trial.number}: {text}" for text in (best.record or {}).get("inert", [])]
    return [*told, *noise(findings), *edges(best, space), *idle]


def edges(best: Row, space: SearchSpace) -> list[str]:
    """A warning for each parameter of the best trial that lies at the edge of its range."""
    return [f"Warning: {text}; widen the range." for text in space.at_edge(best.trial.params)]


def noise(findings: Findings) -> list[str]:
    """What the repeats of the stock recipe say about close trials; nothing without repeats."""
    deviation, freedom = repeats_sd([row.trial for row in findings.rows])
    values = [row.trial.value for row in findings.completed if row.trial.value is not None]
    if deviation is None or not values:
        return []
    close = sum(value - values[0] <= 2 * deviation for value in values)
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


def trials(title: str, rows: Sequence[Row], space: SearchSpace, *more: list[str]) -> Table:
    """A trial in each row, the best first, then `more`."""
    header = ("trial", "eval", "at step", "text", "gap", "stopped by", "parameters")
    cells = [*(_cells(row, space) for row in rows), *more]
    best = str(rows[0].trial.number) if rows and rows[0].trial.state == TrialState.COMPLETE else None
    return Table(title, header, cells, range(5), best)


def _cells(row: Row, space: SearchSpace) -> list[str]:
    best = row.best
    numbers = [f"{best.mel_ce:.4f}", str(best.step), f"{best.text_ce:.2f}", f"{best.gap:.2f}"] if best else ["-"] * 4
    name = f"  {printable(row.name)}" if row.name else ""
    return [str(row.trial.number), *numbers, row.reason, described(row, space) + name]
