"""What the dashboard says of a study and of its confirmation, in Markdown."""

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial

from search.best_config import Confirmation
from search.dashboard.notes import bullets, escape, in_words, table
from search.report import Findings, verdict
from search.trial import Prepared
from search.view import duration
from space.hyperparameters import Hyperparameters
from space.ranges import Range
from space.search_space import SearchSpace

SHOWN = 10  # clips and warnings that the check found
LONG = 600  # signs of a sentence of ours


def search_note(findings: Findings, space: SearchSpace | None, found: Confirmation | None, begun: bool) -> str:
    """`space` None: the study's is not known here. `found` is what its confirmation, if `begun`, has come to."""
    parts = [f"**{escape(_answer(findings, found), LONG)}**"]
    if space and findings.completed:
        told = verdict(findings, findings.completed[0], space)
        parts.append(f"The search by itself:\n\n{bullets(told)}" if found else bullets(told[1:]))  # the answer is told
    parts.append(f"Next: {_next(findings, found, begun)}")
    if space:
        parts.append("Searched:\n\n" + bullets(_searched(space)))
    parts.append("Data and base:\n\n" + bullets(_data(findings)))
    prepared = Prepared(**findings.prepared)
    if prepared.dropped:
        shown = [f"{file}: {reason}" for file, reason in prepared.dropped[:SHOWN]]
        parts.append(f"Clips left out, {len(prepared.dropped)}:\n\n" + bullets(_cut(shown, len(prepared.dropped))))
    if prepared.warnings:
        parts.append("The check warns:\n\n" + bullets(_cut(prepared.warnings[:SHOWN], len(prepared.warnings))))
    return "\n\n".join(parts)


def confirmation_note(name: str, found: Confirmation | None, trials: Sequence[FrozenTrial]) -> str:
    """Of the confirmation's own study; `name` is the search's."""
    parts = [f"Full runs that prove the search {escape(name)}."]
    if found is None:
        ended = sum(trial.state.is_finished() for trial in trials)
        parts.append(f"It is not over: {ended} of {len(trials)} runs have ended. `study.py confirm` continues it.")
        return "\n\n".join(parts)
    parts.append(f"**{escape(found.text, LONG)}**")
    parts.append(_candidates(found))
    from search.confirmation.report import lines  # scipy, which only a confirmation needs

    parts.append(bullets(lines(found), LONG))
    return "\n\n".join(parts)


def results(findings: Findings) -> dict[str, str]:
    """What has come of a study, as the page lists it among its attributes."""
    shown = {"finished trials": f"{findings.finished:,}"}
    best = findings.completed[0].trial if findings.completed else None
    if best:
        shown["best"] = f"{best.value:.4f} nats per audio token, trial {best.number}"
    return shown


def facts(attributes: dict[str, Any]) -> dict[str, str]:
    """What the study was founded on, in place of the attributes that hold it for programs."""
    prepared = attributes["prepared"]
    return {
        "base": f"{prepared['base_evaluation']['mel_ce']:.4f} nats per audio token",
        "trial": f"{attributes['horizon']:,} optimizer steps",
        "full run": f"{attributes['full_horizon']:,} optimizer steps",
        "training clips": f"{prepared['train_clips']:,} ({duration(prepared['train_seconds'])})",
        "eval clips": f"{prepared['eval_clips']:,} ({duration(prepared['eval_seconds'])})",
        "clips left out": f"{len(prepared['dropped']):,}",
        "added tokens": f"{len(prepared['added_tokens']):,}",
    }


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
    if not findings.completed:
        return "let the search go on; `study.py status` shows the same in a terminal."
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
    lines = [f"learning rate {_range(space.lr)}", f"weight decay {_range(space.weight_decay)}"]
    if space.max_milestones:
        gamma = f", each times {_range(space.gamma)}" if space.gamma else ""
        lines.append(f"up to {space.max_milestones} milestones at {_range(space.milestones)} of the run{gamma}")
    if space.clip_norm:
        lines.append(f"gradient clip {_range(space.clip_norm)}{', or none' if space.clip_can_be_off else ''}")
    if space.new_rows_lr_factor:
        lines.append(f"factor on the rate of new vocabulary rows {_range(space.new_rows_lr_factor)}")
    if space.frozen_layers:
        lines.append(f"frozen layers of the GPT {space.frozen_layers.low} to {space.frozen_layers.high}")
    return [*lines, *(f"baseline {b.name}: {in_words(b.hyperparameters)}" for b in space.baselines)]


def _range(allowed: Range) -> str:
    ends = f"{allowed.low:.3g} to {allowed.high:.3g}"
    return f"{allowed.low:.3g}" if allowed.low == allowed.high else ends + (" (logarithmic)" if allowed.log else "")


def _data(findings: Findings) -> list[str]:
    prepared = Prepared(**findings.prepared)
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
