"""The notes of a study, its trials and its confirmation in Optuna's dashboard, from the templates `*_note.md.j2`."""

import math

from markupsafe import Markup

from search.confirmation.proof import rate_line
from search.confirmation.runs import FULL, part_of
from search.pages.answer import answer
from search.pages.markdown import escape, render
from search.pages.material import Material
from search.settings.sections import Pruning
from search.show import confirmation_tables, tables
from search.show.run_words import knobs, short
from search.study import recorded
from search.study.findings import Row
from search.study.spoken import LEFT_OUT
from search.trial import INTERRUPTIONS, StopReason
from space.hyperparameters import Hyperparameters

SHOWN = 10  # clips and warnings that the check found
REASONS = {
    StopReason.FINISHED: "it reached its end.",
    StopReason.TWO_INCREASES: "the evaluation rose {rises} in a row{each}. Its lowest evaluation is a full result.",
    StopReason.GAP: "the gap rose above its bound.",
    StopReason.MEDIAN: "its best evaluation so far was above the median of the completed trials. It cannot win.",
    StopReason.DIVERGED: "a loss or a gradient was not finite. It was not applied to the weights.",
    StopReason.OUT_OF_MEMORY: "there was not enough memory.",
    StopReason.TIMEOUT: "it gave no sign of life for too long.",
    StopReason.CRASHED: "it crashed.",
    StopReason.PREEMPTED: "its machine or its search disappeared.",
    StopReason.STOPPED_BY_USER: "it was stopped by hand.",
    StopReason.STOPPED_BY_NAME: "somebody ended it early. Its lowest evaluation is its result.",
}
_RUN_AGAIN = " This says nothing about its hyperparameters, which are run again."


def trial_note(row: Row, point: Hyperparameters | None, material: Material, stock: Row | None) -> str:
    """Of a trial that has ended, or of a run of the confirmation, beside the stock recipe's trial.

    `point` None: its parameters are not all known, or of another space.
    """
    reason, attempt = row.trial.user_attrs.get("stop_reason"), row.trial.user_attrs.get("attempt")
    known = next((r for r in StopReason if r == reason), None)
    is_full, means = row.trial.user_attrs.get("length") == FULL, row.speech.mean if row.speech else None
    return render(
        "trial_note.md.j2",
        row=row,
        point=point,
        material=material,
        stock=stock,
        horizon=material.full_horizon if is_full else material.findings.horizon,
        record=row.record,
        label=_label(row, material),
        tried=point.describe() if point else "  ".join(f"{k} {short(v)}" for k, v in row.trial.params.items()),
        known=known,
        reason=known or reason or row.trial.state.name.lower(),
        why=_why(known, material.settings.pruning) if known else "",
        attempt=attempt + 1 if isinstance(attempt, int) and attempt else None,
        values=sorted((value, s) for s, value in row.trial.intermediate_values.items() if math.isfinite(value)),
        is_reported=bool(row.evaluations or row.trial.intermediate_values),
        knobs=knobs(row.record, point),
        means={n: means(n) for n in ("similarity", "recorded_similarity", "cer", "recorded_cer")} if means else {},
        is_silent=LEFT_OUT in row.trial.user_attrs,
        where=f"{'confirm' if 'candidate' in row.trial.system_attrs else 'trials'}/{row.trial.number}",
    )


def _label(row: Row, material: Material) -> Markup | str:
    """What the trial is besides its parameters; empty for one that the sampler drew."""
    attributes = row.trial.user_attrs
    if isinstance(candidate := row.trial.system_attrs.get("candidate"), dict):
        seed, is_audited = attributes.get("seed"), candidate.get("pruned_at") is not None
        part = f" of the {part_of(is_audited, seed, material.runs.plan.seed)}" if material.runs else ""
        is_full = attributes.get("length") == FULL
        what = f"full run{part}" if is_full else "pruned in the search, run to the trials' end"
        return Markup(f"{escape(candidate.get('name'))}, seed {escape(seed)}, {what}")
    if row.repeat:
        return f"Repeat {row.repeat} of the stock recipe, with seed {attributes.get('seed', 'of its own')}"
    if row.baseline:
        return Markup(f"Baseline {escape(row.baseline)}")
    return Markup(f"Point {escape(row.name)}") if row.name else ""


def _why(reason: StopReason, rule: Pruning) -> Markup:
    """Why it ended, a line for each sentence: Optuna's page does not wrap a note's lines beside long attributes."""
    rises = "twice" if rule.n_increases == 2 else f"{rule.n_increases} times"
    has_delta = isinstance(rule.min_delta, float) and rule.min_delta > 0
    each = f", by more than {rule.min_delta:.2g} nats each time" if has_delta else ""
    told = REASONS[reason].format(rises=rises, each=each) + (_RUN_AGAIN if reason in INTERRUPTIONS else "")
    return Markup(told.replace(". ", ".\\\n"))


def search_note(material: Material) -> str:
    """The answer so far and what to do next, as a report has them, then the data, and what the check found."""
    prepared = recorded.prepared(material.findings.prepared)
    assert prepared
    dropped = [f"{file}: {reason}" for file, reason in prepared.dropped]
    return render(
        "study_note.md.j2",
        answer=answer(material, ""),
        material=material,
        findings=material.findings,
        prepared=prepared,
        found=((f"Clips left out, {len(dropped)}", dropped), ("The check warns", prepared.warnings)),
        shown=SHOWN,
        why_cut_short=tables.why_cut_short,
    )


def confirmation_note(material: Material) -> str:
    """The rate line so far, and the result of the race, or how many runs have ended."""
    found, runs = material.confirmation, material.runs
    line = found.rate_line if found else rate_line(runs) if runs else None
    return render("confirmation_note.md.j2", material=material, found=found, line=line, words=confirmation_tables)
