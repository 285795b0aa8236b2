"""A confirmation in tables and sentences: at its end, for `status`, and for the pages."""

import math

from optuna.trial import TrialState
from rich.console import Console
from rich.text import Text

from search.confirmation.fidelity import FEWEST_TO_RANK
from search.confirmation.proof import rate_line
from search.confirmation.runs import FULL, Runs
from search.settings.best_config import Audit, Candidate, Confirmation, Fidelity, LineStep, RateLine
from search.settings.sections import CONFIRMATION
from search.show.styles import Table, show_table
from search.ties import ranks
from search.trial import Evaluation


def show(found: Confirmation, base: Evaluation, console: Console) -> None:
    """The rate line, the race, the verdict, the noise, and how far the search's short runs can be trusted."""
    if found.rate_line:
        _show_line(found.rate_line, console)
    show_table(console, race(found, ["base", f"{base.mel_ce:.4f}", "", "", "untouched base model", ""]))
    console.print(Text(found.text, style="bold"))
    for line in lines(found):
        console.print(line)


def lines(found: Confirmation) -> list[str]:
    """How the intervals were made, noise, fidelity and audit, in sentences."""
    return [f"Intervals: {found.method}.", *noise(found), *fidelity(found.fidelity), *audit(found.audit, found.seed_sd)]


def noise(found: Confirmation) -> list[str]:
    if found.seed_sd is None:
        return []
    return [
        f"Seed noise: runs of one config differ by {found.seed_sd:.4f} nats per audio token (standard deviation,"
        f" {found.seed_sd_df} degrees of freedom)."
    ]


def fidelity(found: Fidelity | None) -> list[str]:
    """Whether short runs rank configs as full runs do."""
    if found is None:
        return []
    if found.tau is None:
        return [f"Short and full runs: {found.configs} configs cannot be ranked, their values are the same."]
    if found.configs < FEWEST_TO_RANK:
        return [f"Short and full runs: {found.configs} configs are too few to rank; a larger --audit adds to them."]
    overlap = f"{found.top_overlap} of the {found.top} best of one are among the {found.top} best of the other"
    if found.top == 1:
        overlap = f"the best of one is {'' if found.top_overlap else 'not '}the best of the other"
    unlikely = found.p_value is not None and found.p_value <= 0.05
    chance = "" if unlikely else " Chance may order so few configs like that; a larger --audit adds to them."
    told = [
        f"Short and full runs rank {found.configs} configs with Kendall's tau {found.tau:.2f} (95 % interval"
        f" {found.low:.2f} to {found.high:.2f}, p {found.p_value:.2g}); {overlap}.{chance}"
    ]
    return [*told, *([found.advice[0].upper() + found.advice[1:] + "."] if found.advice else [])]


def ranked(runs: Runs) -> Table:
    """Value and place in a short run and in a full run of the configs with both, the best in full first.

    The full run is that of the rate line, or of the audit.
    """
    short, full = runs.short, runs.at(runs.plan.seed)
    both = [n for n in short if math.isfinite(short[n]) and math.isfinite(full.get(n, math.inf))]
    cells = [
        [[f"{of[n]:.4f}" for n in both], [f"{1 + r}." for r in ranks([of[n] for n in both])]] for of in (short, full)
    ]
    rows = zip(both, *cells[0], *cells[1], strict=True)
    ordered = sorted(map(list, rows), key=lambda row: full[row[0]])
    return Table("Short against full runs", ("config", "short run", "", "full run", ""), ordered, (1, 2, 3, 4))


def audit(found: Audit | None, seed_sd: float | None) -> list[str]:
    """What pruning lost."""
    if found is None:
        return []
    ended = [
        f"trial {t.trial} ({t.pruned_value:.4f} when pruned at step {t.pruned_at}, {_value(t.truncated)} at the trials'"
        f" end, {_value(t.full)} in full)"
        for t in found.trials
    ]
    is_small = found.full_regret and seed_sd is not None and found.full_regret <= 2 * seed_sd
    chance = " The latter is within twice the seed noise, so it may be chance." if is_small else ""
    return [
        f"Audit of pruning: {'; '.join(ended)}.",
        f"Regret of pruning them: {_value(found.regret)} against the search's best trial, {_value(found.full_regret)}"
        f" against the best of the rate line, in full; 0 means that nothing was lost.{chance}",
    ]


def show_progress(runs: Runs, console: Console) -> None:
    """Of a confirmation that is not over: how many runs have ended, the rate line, and the race so far."""
    console.print(progress(runs))
    found = rate_line(runs)
    if found.steps:
        _show_line(found, console)
    values, fresh = runs.values(FULL), runs.plan.fresh
    for name in (c.name for c in runs.racing):
        known = [_run(value) for seed, value in sorted(values.get(name, {}).items()) if seed in fresh]
        console.print(Text(f"  race, {name}: {'  '.join(known) or 'no run with a fresh seed has ended yet'}"))


def _show_line(found: RateLine, console: Console) -> None:
    show_table(console, line(found))
    console.print(line_sentence(found))


def line(found: RateLine) -> Table:
    """A full run in each row."""
    header = ("config", "learning rate", "lowest", "at step", "turned", "sum of rates until then", "")
    rows = [_line_row(step, found.finalist) for step in found.steps]
    title = f"Rate line: full runs with seed {found.seed}, the search's own"
    return Table(title, header, rows, (1, 2, 3, 5), found.finalist)


def _line_row(step: LineStep, finalist: str | None) -> list[str]:
    told = ["cut short" if step.run is None else "diverged", "-", "-", "-"]
    if step.run and step.run.value is not None:
        turned = "turned" if step.turned else "no"
        told = [f"{step.run.value:.4f}", str(step.run.best_step), turned, f"{step.sum_of_rates:.3g}"]
    note = "the finalist: it races" if step.name == finalist else ""
    return [step.name, f"{step.hyperparameters.lr:.2e}", *told, note]


def line_sentence(found: RateLine) -> str:
    """What the turns of the runs say about the learning rate."""
    turned = any(step.turned and step.run and step.run.value is not None for step in found.steps)
    if turned and found.sum_of_rates is not None:
        return (
            f"Runs turn when their learning rates sum to about {found.sum_of_rates:.3g}; a rate that reaches this sum"
            " only at the end of the run is the highest that does not overfit."
        )
    if any(step.turned for step in found.steps):
        return "Runs diverged and none turned, so the sum of learning rates at which runs turn is not known."
    return "No run turned (was lowest before three quarters of its length): at these rates nothing overfits."


def progress(runs: Runs) -> str:
    """How far a confirmation is that is not over."""
    states = [trial.state for trial in runs.trials]
    done = sum(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states)
    what = "joins" if TrialState.RUNNING in states else "continues"
    return (
        f"Confirmation: {done} runs finished, {states.count(TrialState.RUNNING)} running,"
        f" {states.count(TrialState.WAITING)} queued; study.py confirm {what} it."
    )


def ordered(found: Confirmation) -> list[Candidate]:
    """The configs by their means, the lowest first; those that diverged last."""
    return sorted(found.candidates, key=lambda c: math.inf if c.mean is None else c.mean)


def race(found: Confirmation, *more: list[str]) -> Table:
    """A config in each row, the lowest mean first, then `more`."""
    fresh = " with fresh seeds" if found.rate_line else ""
    title = f"Confirmation of {found.study.removesuffix(CONFIRMATION)}, full runs{fresh}"
    header = ("config", "mean", "short run", "each fresh seed", "", "parameters")
    return Table(title, header, [*(_row(each, found) for each in ordered(found)), *more], (1, 2), found.exported)


def _row(candidate: Candidate, found: Confirmation) -> list[str]:
    seeds = candidate.dropped_after
    notes = ["lowest mean"] if candidate.name == found.winner else []
    notes += ["exported"] if candidate.name == found.exported else []
    notes += [f"out after {seeds} seed{'s' if seeds > 1 else ''}"] if seeds else []
    mean = ("diverged" if candidate.runs else "-") if candidate.mean is None else f"{candidate.mean:.4f}"
    short = "-" if candidate.truncated is None else f"{candidate.truncated:.4f}"
    lowest = "  ".join(_run(run.value) for run in candidate.runs)
    point = candidate.hyperparameters.describe()
    return [candidate.name, mean, short, lowest, ", ".join(notes), point]


def _value(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4f}"


def _run(value: float | None) -> str:
    return "diverged" if value is None or math.isinf(value) else f"{value:.4f}"
