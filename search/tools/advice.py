"""Which checkpoint to take: by its measured eval, or else by the log."""

import math
from itertools import combinations

from search.ties import is_lower, ranked
from search.tools.corrections import lowest_eval
from search.tools.run_folder import Checkpoint, Inspection, LoggedRun

CONTRADICTION = 0.05  # nats; two curves over the same clips differ by less


def warnings(found: Inspection) -> list[str]:
    """What speaks against the measurement: signs that the runs trained on the eval clips."""
    unsure = [f"It is not known whether the run trained on the eval clips: {found.unsure}."] if found.unsure else []
    return [*unsure, *_low_gaps(found), *_contradictions(found)]


def _low_gaps(found: Inspection) -> list[str]:
    low = [c.evaluation.gap for c in found.checkpoints if c.evaluation and c.evaluation.gap < 1]
    if not low:
        return []
    return [
        f"The gap of {len(low)} checkpoints is below 1 (down to {min(low):.2f}): the eval clips are easier than the"
        " training clips, or were trained on."
    ]


def _contradictions(found: Inspection) -> list[str]:
    """For each run whether the measured eval falls where the eval in its log rises."""
    lines = []
    for run in found.runs:
        logged = {e.epoch: e.eval for e in run.epochs if e.eval is not None and math.isfinite(e.eval)}
        course = [(c.step or 0, c, logged[c.epoch]) for c in run.checkpoints if c.evaluation and c.epoch in logged]
        course.sort(key=lambda point: point[0])
        for (_, first, before), (_, last, after) in combinations(course, 2):
            fall, rise = _mel_ce(first) - _mel_ce(last), after - before
            if fall > CONTRADICTION and rise > CONTRADICTION:
                lines.append(
                    f"From {first.name} to {last.name} the measured eval falls by {fall:.3f}, and the eval in the run's"
                    f" own log rises by {rise:.3f}: the clips measured are not those that it held out."
                )
                break
    return lines


def advice(found: Inspection) -> list[str]:
    """Which file to take, compared with the base model, and how much space the files use.

    By the measurement, unless there are signs that it was made on training clips.
    """
    measured = [c for c in found.checkpoints if c.evaluation and c.evaluation.is_finite]
    by_log = [line for run in found.runs for line in _by_log(found, run)]
    size = sum(c.size for c in found.checkpoints)
    space = [f"All checkpoints: {len(found.checkpoints)}, {gigabytes(size)}; nothing is deleted."] if size else []
    if not measured:
        return [*by_log, *space]
    if _contradictions(found) or (found.unsure and _low_gaps(found)):
        return ["No checkpoint can be advised by these measurements: see the warnings.", *by_log, *space]
    take = _by_measurement(found, ranked(measured, _mel_ce)[0])
    return [f"If the run did not train on the eval clips: {take}" if found.unsure else take, *space]


def _mel_ce(checkpoint: Checkpoint) -> float:
    return checkpoint.evaluation.mel_ce if checkpoint.evaluation else math.nan


def _by_measurement(found: Inspection, best: Checkpoint) -> str:
    value, base, name = _mel_ce(best), found.base, shown(found, best)
    if not base:
        against = f". The untouched base model is not measured: {found.base_reason}."
    elif is_lower(value, base.mel_ce):
        against = f", {base.mel_ce - value:.4f} below the untouched base model ({base.mel_ce:.4f})."
    else:
        return f"Take none: the untouched base model has eval {base.mel_ce:.4f}, the best of them {value:.4f} ({name})."
    return f"Take {name}: eval {value:.4f} nats per audio token{against}"


def _by_log(found: Inspection, run: LoggedRun) -> list[str]:
    """By the lowest logged eval, and the file that was written after it."""
    logged = [e for e in run.epochs if e.eval is not None and math.isfinite(e.eval)]
    if not logged:
        return []
    best = lowest_eval(logged)
    which = f"epoch {best.epoch}, whose logged eval is the lowest ({best.eval:.4g})"
    if best.micro_steps is None:
        return [f"By the log, take none: {which}, was evaluated before any training in it."]
    files = [c for c in run.checkpoints if c.name == best.best_model]
    files += [c for c in run.checkpoints if c.kind == "best" and c.epoch is not None and c.epoch == best.epoch]
    if files:
        return [f"By the log, take {shown(found, files[0])}, of {which}."]
    gone = " It is no longer on the disk." if run.checkpoints else ""
    name = f" ({best.best_model})" if best.best_model else ""
    return [f"By the log, the checkpoint to take is that of {which}{name}.{gone}"]


def shown(found: Inspection, checkpoint: Checkpoint) -> str:
    """The file's path below what was given."""
    return checkpoint.path.relative_to(found.path).as_posix()


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
