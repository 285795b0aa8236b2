"""The notes of a search and of its confirmation in Optuna's dashboard, in Markdown."""

from optuna.trial import TrialState

from search.pages.material import Material
from search.pages.trial_note import bullets, escape
from search.settings.best_config import Confirmation
from search.show.tables import verdict, why_cut_short
from search.study import recorded
from search.study.findings import Findings
from search.text import duration
from search.trial import Prepared, StopReason

SHOWN = 10  # clips and warnings that the check found
LONG = 600  # characters of a sentence of ours


def search_note(material: Material) -> str:
    """The answer so far, what to do next, the data, and what the check found."""
    findings, found = material.findings, material.confirmation
    parts = [f"**{escape(_answer(findings, found), LONG)}**"]
    if material.best:
        told = verdict(findings, material.best, material.space, confirmed=found is not None)
        # Without a confirmation the first sentence is the answer above.
        parts.append(f"The search by itself:\n\n{bullets(told)}" if found else bullets(told[1:]))
    if cut := findings.cut_short:
        parts.append(f"Cut short, which says nothing about a config: {escape(why_cut_short(cut), LONG)}")
    parts.append(f"Next: {_next(findings, found, begun=material.runs is not None)}")
    prepared = recorded.prepared(findings.prepared)
    assert prepared
    parts.append("Data and base:\n\n" + bullets(_data(findings, prepared)))
    dropped = [f"{file}: {reason}" for file, reason in prepared.dropped]
    for title, lines in ((f"Clips left out, {len(dropped)}", dropped), ("The check warns", prepared.warnings)):
        if lines:
            parts.append(f"{title}:\n\n" + bullets(_cut(lines)))
    return "\n\n".join(parts)


def confirmation_note(material: Material) -> str:
    """The result of the full runs, or how many of them have ended."""
    parts = [f"Full runs that prove the search {escape(material.findings.study)}."]
    found, trials = material.confirmation, material.runs.trials if material.runs else []
    if found is None:
        ended = sum(trial.state.is_finished() for trial in trials)
        parts.append(f"It is not over: {ended} of {len(trials)} runs have ended. `study.py confirm` continues it.")
        return "\n\n".join(parts)
    from search.show.confirmation_tables import lines  # scipy, which only a confirmation needs

    return "\n\n".join([*parts, f"**{escape(found.text, LONG)}**", _candidates(found), bullets(lines(found), LONG)])


def _answer(findings: Findings, found: Confirmation | None) -> str:
    if found:
        return found.text
    best = findings.completed[0] if findings.completed else None
    if best is None or best.trial.value is None:
        return f"No trial has completed yet; the untouched base is at {findings.base.mel_ce:.4f} nats per audio token."
    gain = findings.base.mel_ce - best.trial.value
    if gain <= 0:
        return f"Do not fine-tune: no trial beats the untouched base model ({findings.base.mel_ce:.4f})."
    return (
        f"Trial {best.trial.number} is {gain:.4f} nats per audio token below the untouched base model"
        f" ({best.trial.value:.4f} against {findings.base.mel_ce:.4f}), in a short run with one seed."
    )


def _next(findings: Findings, found: Confirmation | None, begun: bool) -> str:
    if findings.judged and all(row.reason == StopReason.DIVERGED for row in findings.judged):
        return "all finished trials diverged: look into the data (`study.py check`), or search at lower learning rates."
    if not findings.completed:
        return "let the search go on; `study.py status` shows the same in a terminal."
    if not begun and any(row.trial.state == TrialState.RUNNING for row in findings.rows):
        return "let the search go on; then `study.py confirm` proves its winner in full runs with several seeds."
    if not begun and (findings.completed[0].trial.value or 0.0) >= findings.base.mel_ce:
        return (
            "use the base as it is; or look into the data (`study.py check`), widen the space or lengthen the trials."
        )
    if not begun:
        return "`study.py confirm` proves the winner in full runs with several seeds."
    if found is None:
        return "`study.py confirm` goes on with the confirmation, which is not over."
    if found.verdict == "do not fine-tune":
        return "leave the base as it is, or search with more or better data."
    return "`study.py export`, then `study.py train` with the best\\_config.json that it writes."


def _data(findings: Findings, prepared: Prepared) -> list[str]:
    lines = [
        f"{prepared.train_clips:,} training clips ({duration(prepared.train_seconds)}), {prepared.eval_clips:,} eval"
        f" clips ({duration(prepared.eval_seconds)}), {prepared.probe_clips} training clips for the train probe",
        f"a trial runs {findings.horizon:,} optimizer steps",
        f"untouched base: eval {findings.base.mel_ce:.4f}, text {findings.base.text_ce:.2f} nats per token, gap"
        f" {findings.base.gap:.2f}",
    ]
    if prepared.added_tokens:
        lines.append(f"{len(prepared.added_tokens)} letters and tags added to the vocabulary")
    return lines


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], f"and {more} more; study.py check lists them"] if more > 0 else lines


def _candidates(found: Confirmation) -> str:
    lines = []
    for c in sorted(found.candidates, key=lambda c: (c.mean is None, c.mean)):
        mean = ("diverged" if c.runs else "no run") if c.mean is None else f"mean {c.mean:.4f}, {len(c.runs)} seeds"
        name = f"{c.name}{' (exported)' if c.name == found.exported else ''}"
        lines.append(f"{name}: {mean}; {c.hyperparameters.describe()}")
    return bullets([*lines, f"untouched base: {found.base:.4f}"])
