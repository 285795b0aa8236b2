"""A confirmation in tables, and in sentences: at its end and for `status`."""

import math

from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.best_config import Audit, Candidate, Confirmation, Fidelity
from search.confirmation.proof import FULL, Runs
from search.trial import Evaluation
from space.hyperparameters import Hyperparameters


def show(found: Confirmation, base: Evaluation, console: Console) -> None:
    """The candidates by their means, the verdict, the noise, and how far the search's short runs can be trusted."""
    table = _table(found, base)
    table.expand = console.is_terminal
    console.print(table)
    console.print(Text(found.text, style="bold"))
    for line in lines(found):
        console.print(line)


def lines(found: Confirmation) -> list[str]:
    """Noise, fidelity and audit, in sentences."""
    told = [f"Intervals: {found.method}."]
    if len({len(candidate.runs) for candidate in found.candidates}) > 1:
        told.append(
            "Means are at the same seeds: that of a config with fewer seeds is corrected for those it did not run."
        )
    if found.seed_sd is not None:
        told.append(
            f"Seed noise: runs of one config differ by {found.seed_sd:.4f} nats per audio token (standard deviation,"
            f" {found.seed_sd_df} degrees of freedom). pruning.min_delta = {found.seed_sd:.2g} ignores smaller rises."
        )
    if found.fidelity:
        told += _fidelity(found.fidelity)
    if found.audit:
        told += _audit(found.audit)
    return told


def show_progress(runs: Runs, console: Console) -> None:
    """Of a confirmation that is not over: how many runs have ended, and who is out."""
    states = [trial.state for trial in runs.trials]
    done = sum(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states)
    what = "joins" if TrialState.RUNNING in states else "continues"
    console.print(
        f"Confirmation: {done} runs finished, {states.count(TrialState.RUNNING)} running,"
        f" {states.count(TrialState.WAITING)} queued; study.py confirm {what} it."
    )
    values = runs.values(FULL)
    for candidate in runs.candidates:
        known = [
            f"{value:.4f}" if math.isfinite(value) else "diverged"
            for _, value in sorted(values.get(candidate.name, {}).items())
        ]
        console.print(Text(f"  {candidate.name}: {'  '.join(known) or 'no full run has ended yet'}"))


def _table(found: Confirmation, base: Evaluation) -> Table:
    table = Table(
        title=f"Confirmation of {found.study.removesuffix('.confirm')}, full runs",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for name in ("config", "mean", "short run", "seeds"):
        table.add_column(name, justify="left" if name == "config" else "right", no_wrap=True)
    table.add_column("lowest evaluation of each seed", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("parameters", ratio=1, no_wrap=True, overflow="ellipsis")
    for candidate in sorted(found.candidates, key=lambda c: math.inf if c.mean is None else c.mean):
        _add(table, candidate, found)
    table.add_section()
    table.add_row("base", f"{base.mel_ce:.4f}", "", "", "", "", "untouched base model")
    return table


def _add(table: Table, candidate: Candidate, found: Confirmation) -> None:
    notes = []
    if candidate.name == found.winner:
        notes.append("lowest mean")
    if candidate.name == found.exported:
        notes.append("exported")
    if candidate.dropped_after:
        notes.append(f"out after {candidate.dropped_after} seeds")
    table.add_row(
        Text(candidate.name),
        ("diverged" if candidate.runs else "-") if candidate.mean is None else f"{candidate.mean:.4f}",
        "-" if candidate.truncated is None else f"{candidate.truncated:.4f}",
        str(len(candidate.runs)),
        "  ".join("diverged" if run.value is None else f"{run.value:.4f}" for run in candidate.runs),
        ", ".join(notes),
        Text(Hyperparameters.from_dict(candidate.hyperparameters.model_dump()).describe()),
        style="bold" if candidate.name == found.exported else "",
    )


def _fidelity(found: Fidelity) -> list[str]:
    if found.tau is None:
        return [f"Short and full runs: {found.configs} configs cannot be ranked, their values are the same."]
    overlap = f"{found.top_overlap} of the {found.top} best of one are among the {found.top} best of the other"
    if found.top == 1:
        overlap = f"the best of one is {'' if found.top_overlap else 'not '}the best of the other"
    told = [
        f"Short and full runs rank {found.configs} configs with Kendall's tau {found.tau:.2f} (95 % interval"
        f" {found.low:.2f} to {found.high:.2f}, p {found.p_value:.2g}); {overlap}."
    ]
    return [*told, *([found.advice[0].upper() + found.advice[1:] + "."] if found.advice else [])]


def _audit(found: Audit) -> list[str]:
    ended = [
        f"trial {t.trial} ({t.pruned_value:.4f} when pruned at step {t.pruned_at}, {_value(t.truncated)} at the trials'"
        f" end, {_value(t.full)} in full)"
        for t in found.trials
    ]
    return [
        f"Audit of pruning: {'; '.join(ended)}.",
        f"Regret of pruning them: {_value(found.regret)} against the search's best trial, {_value(found.full_regret)}"
        " against the winner, in full at the same seed.",
    ]


def _value(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4f}"
