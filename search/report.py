"""What a study has found so far, in tables: at the end of a search and for `status`."""

import datetime
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table
from rich.text import Text

from search import recorded, speech
from search.errors import UserError
from search.noise import repeats_sd
from search.printable import printable
from search.sections import STOCK
from search.speech import Speech
from search.ties import is_lower, lowest, ranked
from search.trial import INTERRUPTIONS, Evaluation, StopReason
from search.views.styles import WARNING
from search.views.view import duration
from space.search_space import SearchSpace

SHOWN = 5  # best trials


@dataclass(frozen=True)
class Row:
    """A trial as the table shows it."""

    trial: FrozenTrial
    evaluations: list[Evaluation]
    record: dict[str, Any] | None

    @property
    def baseline(self) -> str | None:
        name = self.trial.user_attrs.get("baseline")
        return name if isinstance(name, str) else None

    @property
    def repeat(self) -> int:
        """Above 0: the stock recipe with another seed, run to measure the noise."""
        number = self.trial.user_attrs.get("repeat")
        return number if isinstance(number, int) else int(number is not None)  # of another form: it does not compete

    @property
    def reason(self) -> str:
        return printable(str(self.trial.user_attrs.get("stop_reason", self.trial.state.name.lower())))

    @property
    def host(self) -> str | None:
        """The machine that ran it."""
        name = recorded.part(self.trial.user_attrs.get("owner"), "host")
        return None if name is None else str(name)

    @property
    def error(self) -> str | None:
        text = recorded.part(self.trial.user_attrs.get("run"), "error")
        return None if text is None else str(text)

    @property
    def steps(self) -> int:
        """Optimizer steps that it trained; 0 where it does not tell."""
        return int(self.record["steps"]) if self.record else 0

    @property
    def speech(self) -> Speech | None:
        """What it spoke with the weights of its best evaluation; None for most trials."""
        return recorded.speech(self.trial.user_attrs.get(speech.ATTRIBUTE))

    @property
    def unread(self) -> list[str]:
        """Of what the trial has, the parts that this release cannot read."""
        run, said = self.trial.user_attrs.get("run"), self.trial.user_attrs.get(speech.ATTRIBUTE)
        parts = (
            ("evaluations", recorded.part(run, "evaluations"), self.evaluations),
            ("record", recorded.part(run, "record"), self.record),
            ("run", run, isinstance(run, dict)),
            ("speech", said, self.speech),
        )
        return [name for name, there, known in parts if there and not known]

    @property
    def best(self) -> Evaluation | None:
        return lowest(self.evaluations)


@dataclass(frozen=True)
class Findings:
    """A study read once from its storage."""

    study: str
    rows: list[Row]
    horizon: int
    base: Evaluation
    prepared: dict[str, Any]

    @property
    def completed(self) -> list[Row]:
        """COMPLETE trials, the best first; of ties the stock recipe, else the earliest.

        Without the repeats of the stock recipe, which would win by luck alone.
        """
        done = [row for row in self.rows if row.trial.state == TrialState.COMPLETE and not row.repeat]
        done.sort(key=lambda row: row.baseline != STOCK)
        return ranked(done, lambda row: math.inf if row.trial.value is None else row.trial.value)

    @property
    def judged(self) -> list[Row]:
        """Finished trials: COMPLETE and PRUNED. One that was cut short says nothing; its retry does."""
        return [row for row in self.rows if row.trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]

    @property
    def cut_short(self) -> list[Row]:
        """Those whose runs something else than a rule ended."""
        return [row for row in self.rows if row.reason in INTERRUPTIONS]

    @property
    def finished(self) -> int:
        return len(self.judged)

    @property
    def steps(self) -> tuple[int, int]:
        """(optimizer steps trained by finished trials that tell it, those that these would have taken unpruned)."""
        trained = sum(row.steps for row in self.judged)
        return trained, trained + sum(self.saved(row) for row in self.judged)

    def saved(self, row: Row) -> int:
        """Optimizer steps that pruning saved; of a run that diverged none, since no rule ended it."""
        return 0 if row.record is None or row.reason == StopReason.DIVERGED else self.horizon - row.steps


def read(study: optuna.Study) -> Findings:
    """Everything that report and export show. Raises UserError for a study that this xtts-study did not make."""
    if "fingerprint" not in study.user_attrs:
        raise UserError(f"study {study.study_name!r} was not made by xtts-study; name another with --study")
    prepared, horizon = study.user_attrs.get("prepared"), study.user_attrs.get("horizon")
    if not isinstance(prepared, dict) or recorded.prepared(prepared) is None or not isinstance(horizon, int):
        raise UserError(
            f"study {study.study_name!r} cannot be read by this release of xtts-study; use the release that made it"
        )
    [base] = recorded.evaluations([prepared["base_evaluation"]])
    return Findings(study.study_name, [row_of(t) for t in study.get_trials(deepcopy=False)], horizon, base, prepared)


def row_of(trial: FrozenTrial) -> Row:
    """What the trial recorded, as far as this release can read it."""
    run = trial.user_attrs.get("run")
    found = recorded.evaluations(recorded.part(run, "evaluations"))
    return Row(trial, found, recorded.record(recorded.part(run, "record")))


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
