"""The note of a trial in Optuna's dashboard: Markdown (CommonMark with GitHub's extensions, no HTML).

All text from data, names, errors or hosts goes through `escape`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.study.findings import Row
from search.study.spoken import LEFT_OUT, Speech
from search.text import duration
from search.trial import INTERRUPTIONS, Evaluation, StopReason
from space.hyperparameters import Hyperparameters

_MARKS = re.compile(r"[\\`*_\[\]<>#|~&=]")  # with a meaning in Markdown anywhere
_LIST = re.compile(r"^(\d{0,9})([-+.)])")  # with a meaning at the start of a line
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # some scripts need them; marks of direction are not shown
_LINKED = re.compile(r"(?:(?<=www)\.|://|@)+", re.IGNORECASE)

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
}
_BREAK = "\\\n"  # Optuna's page does not wrap the lines of a note beside long attributes: they are short instead
_CUT_SHORT = f"{_BREAK}This says nothing about its hyperparameters, which are run again."


@dataclass(frozen=True)
class Standing:
    """What a trial is compared with, how long its run is, and where its files are."""

    base: Evaluation
    stock: tuple[int, Evaluation] | None  # trial of the stock recipe and its best evaluation
    horizon: int  # optimizer steps
    rises: int  # in a row, that end a run
    min_delta: float  # nats; smaller rises do not count
    folder: str = "trials"  # of the runs, in the study's folder


def escape(text: object, limit: int = 300) -> str:
    """`text` as one line that the page shows letter by letter, also in a table, cut at `limit` characters.

    Marks get a backslash. The page makes links of bare addresses after it has removed backslashes, so the part by which
    it recognises an address is put into a code span.
    """
    line = " ".join(str(text).split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() or c in _JOINERS else "\N{REPLACEMENT CHARACTER}" for c in line)
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    shown, last = [], 0
    for found in _LINKED.finditer(line):
        shown += [_MARKS.sub(r"\\\g<0>", line[last : found.start()]), f"`{found[0]}`"]
        last = found.end()
    shown.append(_MARKS.sub(r"\\\g<0>", line[last:]))
    return _LIST.sub(r"\1\\\2", "".join(shown))


def rate(value: float | None) -> str:
    """4.0e-4."""
    if value is None or not math.isfinite(value):
        return "none" if value is None else str(value)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.3g} %"


def best_of(row: Row) -> Evaluation | None:
    """The lowest finite evaluation."""
    return min((e for e in row.evaluations if math.isfinite(e.mel_ce)), key=lambda e: e.mel_ce, default=None)


def trial_note(row: Row, point: Hyperparameters | None, standing: Standing) -> str:
    """Of a trial that has ended. `point` None: its parameters are not all known, or of another space."""
    parts = [_headline(row, point), _stopped(row, standing)]
    if row.evaluations or row.trial.intermediate_values:
        parts.append(_table(row, standing))
    if row.record and row.record["steps"]:  # without an update they could not act
        parts.append(_knobs(row, point))
    if speech := row.speech:
        parts.append(_spoken(speech))
    elif row.trial.user_attrs.get(LEFT_OUT):
        parts.append("It did not speak: speech.share left no time for it.")
    parts.append(_files(row, standing.folder))
    if row.unread:
        parts.append(f"Not shown, since this release cannot read it: {', '.join(row.unread)}.")
    return "\n\n".join(parts)


def _headline(row: Row, point: Hyperparameters | None) -> str:
    tried = point.describe() if point else "  ".join(f"{k} {_short(v)}" for k, v in row.trial.params.items())
    label = _label(row)
    return f"**{label + ': ' if label else ''}{escape(tried) if tried else 'no parameters'}**"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _label(row: Row) -> str:
    """What the trial is besides its parameters; empty for one that the sampler drew."""
    attributes = row.trial.user_attrs
    if isinstance(candidate := row.trial.system_attrs.get("candidate"), dict):
        length = "full run" if attributes.get("length") == "full" else "pruned in the search, run to the trials' end"
        return f"{escape(candidate.get('name'))}, seed {escape(attributes.get('seed'))}, {length}"
    if row.repeat:
        return f"Repeat {row.repeat} of the stock recipe, with seed {escape(attributes.get('seed', 'of its own'))}"
    return f"Baseline {escape(row.baseline)}" if row.baseline else ""


def _stopped(row: Row, standing: Standing) -> str:
    reason, again = row.trial.user_attrs.get("stop_reason"), row.trial.user_attrs.get("attempt")
    known = next((r for r in StopReason if r == reason), None)
    if known is None:
        text = f"**{escape(reason or row.trial.state.name.lower())}**"
    else:
        twice = "twice" if standing.rises == 2 else f"{standing.rises} times"
        by = "" if known == StopReason.FINISHED else "Stopped by "
        each = f", by more than {standing.min_delta:.2g} nats each time" if standing.min_delta else ""
        told = REASONS[known].format(rises=twice, each=each).replace(". ", f".{_BREAK}")
        text = f"{by}**{escape(known)}**: {told}"
        text += _CUT_SHORT if known in INTERRUPTIONS else ""
    attempt = f" Attempt {escape(again + 1)}." if isinstance(again, int) and again else ""
    return f"{text}{attempt}" + (f"\n\nError: {escape(row.error)}" if row.error else "")


def _table(row: Row, standing: Standing) -> str:
    best = best_of(row)
    values = {step: value for step, value in row.trial.intermediate_values.items() if math.isfinite(value)}
    lines: list[Sequence[str]] = [("", "eval", "text", "train probe", "gap", "at step")]
    if best:
        lines.append(_line("**this trial**", best, f"{best.step} of {standing.horizon}", bold=True))
    elif values:
        step = min(values, key=lambda s: values[s])
        lines.append(("**this trial**", f"**{values[step]:.4f}**", "", "", "", f"{step} of {standing.horizon}"))
    else:
        lines.append(("**this trial**", "not finite", "", "", "", ""))
    if standing.stock and standing.stock[0] != row.trial.number:
        number, stock = standing.stock
        lines.append(_line(f"stock recipe, trial {number}", stock, str(stock.step)))
    lines.append(_line("untouched base", standing.base, "0"))
    return f"{table(lines, ':' + 5 * '>')}\n\nLosses in nats per token. The gap is eval / train probe; 1 means no gap."


def _line(name: str, e: Evaluation, step: str, bold: bool = False) -> tuple[str, ...]:
    mark = "**" if bold else ""
    return name, f"{mark}{e.mel_ce:.4f}{mark}", f"{e.text_ce:.2f}", f"{e.probe_mel_ce:.4f}", f"{e.gap:.2f}", step


def table(lines: Sequence[Sequence[str]], sides: str) -> str:
    """A table of `lines` of cells, the first as its head; `sides` has : for a left-aligned column, > for a right one.

    The page puts no space between columns, so each cell after the first begins with one.
    """
    rows = ["| " + " | ".join([cells[0], *(f"\N{EM SPACE}{cell}" for cell in cells[1:])]) + " |" for cells in lines]
    rule = "|" + "|".join(":--" if side == ":" else "--:" for side in sides) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])


def _knobs(row: Row, point: Hyperparameters | None) -> str:
    record = row.record or {}
    lines = [f"learning rate: {_trace(record)}"]
    norms = f"median norm {_short(record['grad_norm_before'])} before it, {_short(record['grad_norm_after'])} after"
    if point and point.clip_norm is None:
        lines.append(f"no gradient clip; median norm {_short(record['grad_norm_before'])}")
    else:
        lines.append(f"gradient clip: acted in {percent(record['clipped_share'])} of the steps; {norms}")
    lines.append(f"weight decay: shrank a decayed weight by {percent(record['cumulative_decay'])} in all")
    if (ratio := record.get("new_rows_update_ratio")) is not None:
        lines.append(f"new vocabulary rows: their updates were {ratio:.3g} times as long as the optimizer's own")
    if frozen := record.get("frozen_parameters"):
        lines.append(f"frozen: {frozen:,} weights were not trained")
    lines += [f"did not act: {text}" for text in record["inert"]]
    return "What the knobs did:\n\n" + bullets(lines)


def _trace(record: Mapping[str, Any]) -> str:
    """The learning rates that the optimizer applied: the first, each change, the last."""
    changes = [f"{rate(value)} after {int(step)} steps" for step, value in record["lr_changes"]]
    if len(changes) > 4:
        changes = [*changes[:3], f"{len(changes) - 4} more changes", changes[-1]]
    last = record["lr_changes"][-1][1] if changes else record["lr_first"]
    ends = [f"{rate(record['lr_last'])} in the last"] if last != record["lr_last"] else []
    shown = ", ".join([f"{rate(record['lr_first'])} from the first step", *changes, *ends])
    return f"{shown}{'' if ends else ' to the last'}, step {record['steps']}"


def bullets(lines: Iterable[str], limit: int = 300) -> str:
    return "\n".join(f"* {escape(line, limit)}" for line in lines)


def _spoken(speech: Speech) -> str:
    """Means over the sentences, each beside that of the recordings; then a line per sentence."""
    told = []
    if (similarity := speech.mean("similarity")) is not None:
        beside = speech.mean("recorded_similarity")
        told.append(
            f"speaker similarity to the voice reference {similarity:.2f}"
            + ("" if beside is None else f" (the recordings: {beside:.2f})")
        )
    if (cer := speech.mean("cer")) is not None:
        own = speech.mean("recorded_cer")
        told.append(
            f"character error rate{f' by {speech.recogniser}' if speech.recogniser else ''} {percent(cer)}"
            + ("" if own is None else f" (the recordings: {percent(own)})")
        )
    for number, sentence in enumerate(speech.sentences, 1):
        figures = [f"{sentence.seconds:.1f} s"]
        if sentence.similarity is not None:
            figures.append(f"similarity {sentence.similarity:.2f}")
        if sentence.cer is not None:
            figures.append(f"CER {percent(sentence.cer)}")
        if sentence.cut:
            figures.append("cut: the model did not stop by itself")
        told.append(f"sentence {number} ({', '.join(figures)}): {sentence.text}")
    return f"Spoken with the weights of step {speech.step}:\n\n{bullets(told)}"


def _files(row: Row, folder: str) -> str:
    """How long it took, and where its log and its curves are."""
    where = f"{folder}/{row.trial.number}"
    host = f" on {escape(row.host, 80)}" if row.host else ""
    lines = [f"Log: `{where}/log.txt` in the study's folder{host}; run in TensorBoard: `{where}`"]
    if row.record:
        spent = [
            f"{what} {duration(row.record[f'{key}_seconds'])}"
            for what, key in (("set-up", "setup"), ("training", "train"), ("evaluation", "evaluation"))
        ]
        if (speech := row.speech) and speech.took:
            spent.append(f"speaking {duration(speech.took)}")
        lines.insert(0, f"Time: {', '.join(spent)}")
    return _BREAK.join(lines)
