"""What the dashboard says of a study and of its confirmation, in Markdown."""

from collections.abc import Callable
from typing import Any

from optuna.trial import TrialState

from search.pages.dashboard_proofs import Proof
from search.pages.trial_notes import bullets, escape, in_words, percent, rate, table
from search.settings.best_config import Confirmation
from search.show.tables import verdict, why_cut_short
from search.study import recorded
from search.study.findings import Findings
from search.text import duration
from search.trial import Prepared, StopReason
from space.hyperparameters import Hyperparameters
from space.ranges import Range
from space.search_space import SearchSpace

SHOWN = 10  # clips and warnings that the check found
LONG = 600  # signs of a sentence of ours


def search_note(findings: Findings, space: SearchSpace | None, proof: Proof | None) -> str:
    """`space` None: the study's is not known here. `proof` is what its confirmation has come to, if it has begun."""
    found = proof.found if proof else None
    parts = [f"**{escape(_answer(findings, found), LONG)}**"]
    if proof and proof.unread:
        parts.append(_uncounted(proof))
    if space and findings.completed:
        told = verdict(findings, findings.completed[0], space, confirmed=found is not None)
        if found:
            parts.append(f"The search by itself:\n\n{bullets(told)}")
        else:
            parts.append(bullets(told[1:]))  # the answer is told
    if cut := _cut_short(findings):
        parts.append(cut)
    parts.append(f"Next: {_next(findings, found, begun=proof is not None)}")
    if space:
        parts.append("Searched:\n\n" + bullets(_searched(space)))
    parts.append("Data and base:\n\n" + bullets(_data(findings)))
    prepared = _prepared(findings)
    if prepared.dropped:
        shown = [f"{file}: {reason}" for file, reason in prepared.dropped[:SHOWN]]
        parts.append(f"Clips left out, {len(prepared.dropped)}:\n\n" + bullets(_cut(shown, len(prepared.dropped))))
    if prepared.warnings:
        parts.append("The check warns:\n\n" + bullets(_cut(prepared.warnings[:SHOWN], len(prepared.warnings))))
    return "\n\n".join(parts)


def confirmation_note(name: str, proof: Proof | None, findings: Findings) -> str:
    """Of a confirmation's own study, with these `findings`, of the search `name`. No `proof`: of other settings."""
    parts = [f"Full runs that prove the search {escape(name)}."]
    if proof is None:
        told = "What they have come to is shown by the dashboard of that study: start it with its `--settings`, or with"
        return "\n\n".join([*parts, f"{findings.finished} have finished. {told} `--study` and its name."])
    trials, found = proof.runs.trials, proof.found
    if proof.unread:
        parts.append(_uncounted(proof))
    if found is None:
        ended = sum(trial.state.is_finished() for trial in trials)
        parts.append(f"It is not over: {ended} of {len(trials)} runs have ended. `study.py confirm` continues it.")
        return "\n\n".join(parts)
    parts.append(f"**{escape(found.text, LONG)}**")
    parts.append(_candidates(found))
    from search.show.confirmation_tables import lines  # scipy, which only a confirmation needs

    parts.append(bullets(lines(found), LONG))
    return "\n\n".join(parts)


def _uncounted(proof: Proof) -> str:
    count = proof.unread + len(proof.runs.trials)
    return f"{proof.unread} of {count} runs are not counted: this release cannot read them."


def searched(findings: Findings) -> dict[str, str]:
    """What has come of a search, as the page lists it among its attributes."""
    shown = {"finished trials": f"{findings.finished:,}"}
    best = findings.completed[0].trial if findings.completed else None
    if best:
        shown["best"] = f"{best.value:.4f} nats per audio token, trial {best.number}"
    return shown


def proven(findings: Findings, found: Confirmation | None) -> dict[str, str]:
    """The same of a confirmation."""
    shown = {"finished runs": f"{findings.finished:,}"}
    if found is None:
        return shown
    chosen = next(c for c in found.candidates if c.name == found.exported)
    mean = "" if chosen.mean is None else f", mean {chosen.mean:.4f} nats per audio token, {len(chosen.runs)} seeds"
    return shown | {"exported": f"{found.exported}{mean}"}


def facts(attributes: dict[str, Any]) -> dict[str, str]:
    """What the study was founded on, in place of the attributes that hold it for programs."""
    prepared = recorded.prepared(attributes["prepared"])
    assert prepared
    return {
        "untouched base": f"{prepared.base_evaluation['mel_ce']:.4f} nats per audio token",
        "length of a trial": f"{attributes['horizon']:,} optimizer steps",
        "length of a full run": f"{attributes['full_horizon']:,} optimizer steps",
        "training clips": f"{prepared.train_clips:,} ({duration(prepared.train_seconds)})",
        "eval clips": f"{prepared.eval_clips:,} ({duration(prepared.eval_seconds)})",
        "clips left out": f"{len(prepared.dropped):,}",
        "added tokens": f"{len(prepared.added_tokens):,}",
    }


def _prepared(findings: Findings) -> Prepared:
    found = recorded.prepared(findings.prepared)
    assert found
    return found


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


def _cut_short(findings: Findings) -> str:
    """How many runs were cut short, and the error of the last; empty without any."""
    cut = findings.cut_short
    return f"Cut short, which says nothing about a config: {escape(why_cut_short(cut), LONG)}" if cut else ""


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


def _searched(space: SearchSpace) -> list[str]:
    lines = [f"learning rate {_range(space.lr, rate)}", f"weight decay {_range(space.weight_decay)}"]
    if space.max_milestones:
        gamma = f", each times {_range(space.gamma)}" if space.gamma else ""
        places = _range(space.milestones, percent)
        lines.append(f"up to {space.max_milestones} milestones at {places} of the run{gamma}")
    if space.clip_norm:
        lines.append(f"gradient clip {_range(space.clip_norm)}{', or none' if space.clip_can_be_off else ''}")
    if space.new_rows_lr_factor:
        lines.append(f"factor on the rate of new vocabulary rows {_range(space.new_rows_lr_factor)}")
    if space.frozen_layers:
        lines.append(f"frozen layers of the GPT {space.frozen_layers.low} to {space.frozen_layers.high}")
    for baseline in space.baselines:
        words = in_words(baseline.hyperparameters)
        lines.append(f"baseline {baseline.name}: {words[0].lower()}{words[1:]}")
    return lines


def _range(allowed: Range, shown: Callable[[float], str] = "{:.3g}".format) -> str:
    if allowed.low == allowed.high:
        return shown(allowed.low)
    return f"{shown(allowed.low)} to {shown(allowed.high)}{' (logarithmic)' if allowed.log else ''}"


def _data(findings: Findings) -> list[str]:
    prepared = _prepared(findings)
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


def _cut(lines: list[str], count: int) -> list[str]:
    return [*lines, f"and {count - len(lines)} more; study.py check lists them"] if count > len(lines) else lines


def _candidates(found: Confirmation) -> str:
    lines = [("config", "mean eval", "short run", "seeds", "")]
    for c in sorted(found.candidates, key=lambda c: (c.mean is None, c.mean)):
        point = Hyperparameters.from_dict(c.hyperparameters.model_dump())
        mean = ("diverged" if c.runs else "no run") if c.mean is None else f"{c.mean:.4f}"
        short = "" if c.truncated is None else f"{c.truncated:.4f}"
        name = f"**{escape(c.name)}**" if c.name == found.exported else escape(c.name)
        lines.append((name, mean, short, str(len(c.runs)), escape(in_words(point))))
    lines.append(("untouched base", f"{found.base:.4f}", "", "", ""))
    note = "Nats per audio token. The config in bold is what `study.py export` writes."
    return f"{table(lines, ':>>>:')}\n\n{note}"
