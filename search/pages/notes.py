"""The notes of a study, its trials and its confirmation in Optuna's dashboard, from the templates `*_note.md.j2`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from search.pages.answer import answer
from search.pages.markdown import escape, render
from search.pages.material import Material
from search.show import tables
from search.study import recorded
from search.study.findings import Row
from search.study.spoken import LEFT_OUT, Speech
from search.text import duration
from search.trial import INTERRUPTIONS, Evaluation, StopReason
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


@dataclass(frozen=True)
class Standing:
    """What a trial is compared with, how long its run is, and where its files are."""

    base: Evaluation
    stock: tuple[int, Evaluation] | None  # trial of the stock recipe and its best evaluation
    horizon: int  # optimizer steps
    rises: int  # in a row, that end a run
    min_delta: float  # nats; smaller rises do not count
    folder: str = "trials"  # of the runs, in the study's folder
    line_seed: int | None = None  # of the rate line of a confirmation; its race has other seeds


def trial_note(row: Row, point: Hyperparameters | None, standing: Standing) -> str:
    """Of a trial that has ended. `point` None: its parameters are not all known, or of another space."""
    reason, attempt = row.trial.user_attrs.get("stop_reason"), row.trial.user_attrs.get("attempt")
    known = next((r for r in StopReason if r == reason), None)
    where = f"{standing.folder}/{row.trial.number}"
    return render(
        "trial_note.md.j2",
        row=row,
        point=point,
        standing=standing,
        record=row.record,
        label=_label(row, standing.line_seed),
        tried=point.describe() if point else "  ".join(f"{k} {_short(v)}" for k, v in row.trial.params.items()),
        known=known,
        reason=known or reason or row.trial.state.name.lower(),
        why=_why(known, standing) if known else "",
        attempt=attempt + 1 if isinstance(attempt, int) and attempt else None,
        values=sorted((value, s) for s, value in row.trial.intermediate_values.items() if math.isfinite(value)),
        is_reported=bool(row.evaluations or row.trial.intermediate_values),
        rates=_rates(row.record) if row.record and row.record["steps"] else "",
        means=_means(row.speech) if row.speech else [],
        is_silent=LEFT_OUT in row.trial.user_attrs,
        where=where,
        duration=duration,
        percent=percent,
        short=_short,
    )


def _label(row: Row, line_seed: int | None) -> Markup | str:
    """What the trial is besides its parameters; empty for one that the sampler drew."""
    attributes = row.trial.user_attrs
    if isinstance(candidate := row.trial.system_attrs.get("candidate"), dict):
        seed = attributes.get("seed")
        if attributes.get("length") != "full":
            what = "pruned in the search, run to the trials' end"
        elif candidate.get("pruned_at") is not None:
            what = "full run of the audit of pruning"
        elif line_seed is None:
            what = "full run"
        elif seed == line_seed:
            what = "full run of the rate line"
        else:
            what = "full run of the race, with a fresh seed"
        return Markup(f"{escape(candidate.get('name'))}, seed {escape(seed)}, {what}")
    if row.repeat:
        return f"Repeat {row.repeat} of the stock recipe, with seed {attributes.get('seed', 'of its own')}"
    return Markup(f"Baseline {escape(row.baseline)}") if row.baseline else ""


def _why(reason: StopReason, standing: Standing) -> Markup:
    """Why it ended, a line for each sentence: Optuna's page does not wrap a note's lines beside long attributes."""
    rises = "twice" if standing.rises == 2 else f"{standing.rises} times"
    each = f", by more than {standing.min_delta:.2g} nats each time" if standing.min_delta else ""
    told = REASONS[reason].format(rises=rises, each=each) + (_RUN_AGAIN if reason in INTERRUPTIONS else "")
    return Markup(told.replace(". ", ".\\\n"))


def _rates(record: Mapping[str, Any]) -> str:
    """The learning rates that the optimizer applied: the first, each change, the last."""
    changes = [f"{rate(value)} after {int(step)} steps" for step, value in record["lr_changes"]]
    if len(changes) > 4:
        changes = [*changes[:3], f"{len(changes) - 4} more changes", changes[-1]]
    last = record["lr_changes"][-1][1] if changes else record["lr_first"]
    ends = [f"{rate(record['lr_last'])} in the last"] if last != record["lr_last"] else []
    shown = ", ".join([f"{rate(record['lr_first'])} from the first step", *changes, *ends])
    return f"{shown}{'' if ends else ' to the last'}, step {record['steps']}"


def _means(speech: Speech) -> list[tuple[str, str]]:
    """(mean over the sentences, the same of the recordings; empty where that is not known)."""
    means = {name: speech.mean(name) for name in ("similarity", "recorded_similarity", "cer", "recorded_cer")}
    own, beside, cer, own_cer = means.values()
    told = []
    if own is not None:
        told.append((f"speaker similarity to the voice reference {own:.2f}", "" if beside is None else f"{beside:.2f}"))
    if cer is not None:
        by = f" by {speech.recogniser}" if speech.recogniser else ""
        told.append((f"character error rate{by} {percent(cer)}", "" if own_cer is None else percent(own_cer)))
    return told


def rate(value: float | None) -> str:
    """4.0e-4."""
    if value is None or not math.isfinite(value):
        return "none" if value is None else str(value)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.3g} %"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
        duration=duration,
    )


def confirmation_note(material: Material) -> str:
    """The rate line so far, and the result of the race, or how many runs have ended."""
    from search.confirmation.proof import rate_line  # scipy, which only a confirmation needs
    from search.show import confirmation_tables

    found, runs = material.confirmation, material.runs
    line = found.rate_line if found else rate_line(runs) if runs else None
    return render("confirmation_note.md.j2", material=material, found=found, line=line, words=confirmation_tables)
