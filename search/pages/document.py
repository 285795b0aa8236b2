"""What the sections of a report say. Plain data, for the template."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from search.confirmation.export import commit
from search.pages.answer import safe_place
from search.pages.canvas import kind
from search.pages.material import Material, completed, lowest
from search.settings.settings import safe_url
from search.show import confirmation_tables as confirmation_report
from search.show.tables import counted
from search.study.findings import Row
from search.study.noise import repeats_sd
from search.text import duration
from space.hyperparameters import Hyperparameters

BEST = 50  # trials in the table
NEAR = 5  # best trials that are looked at for the edges of ranges
DROPPED = 30  # clips that are named


@dataclass(frozen=True)
class Table:
    """Cells are text; the columns of `numbers`, by place, are set to the right."""

    header: list[str]
    rows: list[list[str]]
    numbers: frozenset[int] = frozenset()


def counts(material: Material) -> str:
    """How many trials there are, in sentences."""
    findings = material.findings
    done = sum(completed(row.trial) for row in findings.judged)
    told = f"Trials: {findings.finished:,} finished ({done:,} completed, {findings.finished - done:,} pruned)"
    told += f", {material.running:,} running." if material.running else "."
    cut = findings.cut_short
    if cut:
        told += f" {len(cut):,} more {'was' if len(cut) == 1 else 'were'} cut short ({counted(cut)})."
    unread = sum(bool(row.unread) for row in findings.rows)
    if unread:
        told += f" Of {unread:,} something is recorded that this release cannot read."
    return told


def best_title(material: Material) -> str:
    """What the table of the best trials holds."""
    findings = material.findings
    repeats = sum(completed(row.trial) and row.repeat > 0 for row in findings.judged)
    done = len(findings.completed)
    told = f"The best {min(done, BEST):,} of {done:,} completed trials"
    return told + (f", besides {repeats:,} repeat{'s' if repeats > 1 else ''} of the stock recipe" if repeats else "")


def best_trials(material: Material) -> Table:
    rows = [*material.findings.completed[:BEST]]
    cells = [
        [
            str(row.trial.number) + (f" ({row.baseline})" if row.baseline else ""),
            f"{row.trial.value:.4f}",
            str(best.step),
            f"{best.text_ce:.3f}",
            f"{best.gap:.2f}",
            kind(row).label,
            _words(material, row),
        ]
        for row in rows
        if (best := row.best) is not None and row.trial.value is not None
    ]
    header = ["trial", "eval, nats", "at step", "text, nats", "gap", "stopped by", "parameters"]
    return Table(header, cells, frozenset({1, 2, 3, 4}))


def _words(material: Material, row: Row) -> str:
    try:
        return material.space.from_params(row.trial.params).describe()
    except (KeyError, ValueError):
        return ", ".join(f"{name} {value}" for name, value in row.trial.params.items())


def boundaries(material: Material) -> list[str]:
    """A line for each range at whose edge the best trial, or most of the best five, lie."""
    near = material.findings.completed[:NEAR]
    at: Counter[str] = Counter()
    for row in near:
        at.update({text.split()[0] for text in material.space.at_edge(row.trial.params)})
    best = material.space.at_edge(near[0].trial.params) if near else []
    told = [f"{text}: the best value may lie outside; widen the range." for text in best]
    named = {text.split()[0] for text in best}
    told += [
        f"{name}: {count} of the {len(near)} best trials lie at an edge of its range, though not the best one."
        for name, count in at.items()
        if name not in named and 2 * count > len(near)
    ]
    return told


def savings(material: Material) -> tuple[str, Table] | None:
    """What pruning saved, in a sentence and by stop reason; None before a trial has finished."""
    findings = material.findings
    trained, unpruned = findings.steps
    if not unpruned:
        return None
    saved = f"{1 - trained / unpruned:.0%} saved"
    text = f"{trained:,} optimizer steps were trained, of {unpruned:,} without pruning: {saved}."
    seconds = [(row.record["train_seconds"], row.record["evaluation_seconds"]) for row in findings.rows if row.record]
    if seconds:
        train, evaluation = (sum(each) for each in zip(*seconds, strict=True))
        text += f" Training took {duration(train)}, evaluation {duration(evaluation)}, summed over the slots."
    rows = []
    for label, of in _by_kind(findings.judged).items():
        steps, saved_steps = sum(row.steps for row in of), sum(findings.saved(row) for row in of)
        rows.append([label, f"{len(of):,}", f"{steps:,}", f"{saved_steps:,}"])
    return text, Table(["stopped by", "trials", "steps trained", "steps saved"], rows, frozenset({1, 2, 3}))


def _by_kind(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(kind(row).label, []).append(row)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def noise(material: Material) -> list[str]:
    """How far runs of one config differ by chance, and what that means for the order of the best."""
    deviation, freedom = repeats_sd([row.trial for row in material.findings.rows])
    source = f"{freedom + 1} short runs of the stock recipe"
    found = material.confirmation
    told = []
    if deviation is not None:
        told.append(_noise(source, deviation, freedom, material))
    if found is not None and found.seed_sd is not None:
        told.append(_noise("full runs of one config", found.seed_sd, found.seed_sd_df, material))
    return told


def _noise(source: str, deviation: float, freedom: int, material: Material) -> str:
    best = material.best
    close = [
        row for row in material.findings.completed
        if best and best.trial.value is not None and (row.trial.value or 0.0) - best.trial.value <= 2 * deviation
    ]  # fmt: skip
    told = (
        f"By chance alone, {source} differ by {deviation:.4f} nats per audio token (standard deviation, {freedom}"
        f" degree{'s' if freedom > 1 else ''} of freedom)."
    )
    if len(close) < 2:
        return told + (" No other trial lies within twice that of the best." if close else "")
    return (
        f"{told} {len(close)} trials, the best included, lie within twice that of the best: their order is not proven."
    )


def confirmation(material: Material) -> Table | None:
    """The configs by their means; None while there is no result."""
    found = material.confirmation
    if found is None:
        return None
    rows = []
    for c in sorted(found.candidates, key=lambda c: float("inf") if c.mean is None else c.mean):
        notes = ["lowest mean"] if c.name == found.winner else []
        notes += ["exported"] if c.name == found.exported else []
        notes += [f"out after {c.dropped_after} seeds"] if c.dropped_after else []
        rows.append([
            c.name,
            ("diverged" if c.runs else "-") if c.mean is None else f"{c.mean:.4f}",
            "-" if c.truncated is None else f"{c.truncated:.4f}",
            "  ".join("diverged" if run.value is None else f"{run.value:.4f}" for run in c.runs),
            ", ".join(notes),
            Hyperparameters.from_dict(c.hyperparameters.model_dump()).describe(),
        ])  # fmt: skip
    header = ["config", "mean, nats", "short run, nats", "each seed, nats", "note", "parameters"]
    return Table(header, rows, frozenset({1, 2}))


def confirmation_lines(material: Material, *starts: str) -> list[str]:
    """What `status` says of the confirmation, of the lines that begin with one of `starts`."""
    lines = confirmation_report.lines(material.confirmation) if material.confirmation else []
    return [line for line in lines if line.startswith(starts)]


def progress(material: Material) -> str | None:
    """How far a confirmation is that is not over."""
    if material.runs is None or material.confirmation is not None:
        return None
    states = Counter(trial.state for trial in material.runs.trials)
    ended = states[TrialState.COMPLETE] + states[TrialState.PRUNED]
    return (
        f"A confirmation of {len(material.runs.candidates)} configs is not over: {ended} runs have ended,"
        f" {states[TrialState.RUNNING]} are running, {states[TrialState.WAITING]} are queued. It proves nothing yet."
    )


def audit(material: Material) -> Table | None:
    found = material.confirmation and material.confirmation.audit
    if not found:
        return None

    def cell(value: float | None) -> str:
        return "not known" if value is None else f"{value:.4f}"

    rows = [
        [str(t.trial), str(t.pruned_at), cell(t.pruned_value), cell(t.truncated), cell(t.full)] for t in found.trials
    ]
    header = ["trial", "pruned at step", "then, nats", "at the trials' end", "in a full run"]
    return Table(header, rows, frozenset(range(5)))


def data(material: Material) -> tuple[list[tuple[str, str]], list[str], Table]:
    """(facts, warnings of the check, clips left out: [file, reason])."""
    prepared = material.findings.prepared
    facts = [
        ("training", f"{prepared['train_clips']:,} clips, {duration(prepared['train_seconds'])}"),
        ("evaluation", f"{prepared['eval_clips']:,} clips, {duration(prepared['eval_seconds'])}"),
        ("left out", f"{len(prepared['dropped']):,} clips that cannot be trained on"),
        ("added to the vocabulary", f"{len(prepared['added_tokens'])} tokens"),
    ]
    dropped = Table(["clip", "why"], [list(map(str, each)) for each in prepared["dropped"][:DROPPED]])
    return facts, list(prepared.get("warnings", [])), dropped


def provenance(material: Material) -> list[tuple[str, str]]:
    """(what, value): enough to make the study again, and nothing secret."""
    findings, settings = material.findings, material.settings
    hosts = Counter(row.host for row in findings.rows if row.host)
    prepared = findings.prepared
    first = min((row.trial.datetime_start for row in findings.rows if row.trial.datetime_start), default=None)
    last = max((row.trial.datetime_complete for row in findings.rows if row.trial.datetime_complete), default=None)
    fingerprint: dict[str, Any] = dict(material.attributes["fingerprint"])
    shown = [
        ("study", findings.study),
        ("storage", safe_url(settings.storage_url)),
        ("sound", safe_place(settings.study.artifacts or str(settings.directory / "artifacts"))),
        ("first trial started", f"{first:%Y-%m-%d %H:%M}" if first else "-"),
        ("last trial ended", f"{last:%Y-%m-%d %H:%M}" if last else "-"),
        ("hosts", ", ".join(f"{host} ({count:,} trials)" for host, count in hosts.most_common(20)) or "-"),
        ("trial", f"{findings.horizon:,} optimizer steps, {fingerprint.get('evaluations', '?')} evaluations"),
        ("full run", f"{material.full_horizon:,} optimizer steps"),
        ("commit of this report", commit() or "unknown"),
        ("versions", ", ".join(f"{name} {version}" for name, version in prepared["versions"].items())),
    ]
    return [*shown, *((name, str(value)) for name, value in fingerprint.items())]


def worst_unseen(material: Material) -> int:
    """Finished trials without a finite evaluation, which no figure can show."""
    return sum(lowest(row) is None for row in material.findings.judged)
