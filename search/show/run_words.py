"""What the knobs of a run did, measured at the optimizer: for the note of a trial and the page of a full run."""

import math
from collections.abc import Mapping
from typing import Any

from space.hyperparameters import Hyperparameters


def knobs(record: Mapping[str, Any] | None, point: Hyperparameters | None) -> list[tuple[str, str]]:
    """(knob, what it did), then those that did not act; nothing for a run without an update.

    `point` None: it is not known whether the clip was on.
    """
    if not record or not record["steps"]:
        return []
    before, after = short(record["grad_norm_before"]), short(record["grad_norm_after"])
    clip = f"acted in {percent(record['clipped_share'])} of the steps; median norm {before} before it, {after} after"
    if point and point.clip_norm is None:
        clip = f"off; median norm {before}"
    decay = f"shrank a decayed weight by {percent(record['cumulative_decay'])} in all"
    found = [("learning rate", _rates(record)), ("gradient clip", clip), ("weight decay", decay)]
    if (ratio := record.get("new_rows_update_ratio")) is not None:
        found.append(("new vocabulary rows", f"their updates were {ratio:.3g} times as long as the optimizer's own"))
    if frozen := record.get("frozen_parameters"):
        found.append(("frozen layers", f"{frozen:,} weights were not trained"))
    return [*found, *(("did not act", text) for text in record["inert"])]


def _rates(record: Mapping[str, Any]) -> str:
    """The learning rates that the optimizer applied: the first, each change, the last."""
    changes = [f"{rate(value)} after {int(step)} steps" for step, value in record["lr_changes"]]
    if len(changes) > 4:
        changes = [*changes[:3], f"{len(changes) - 4} more changes", changes[-1]]
    last = record["lr_changes"][-1][1] if changes else record["lr_first"]
    ends = [f"{rate(record['lr_last'])} in the last"] if last != record["lr_last"] else []
    shown = ", ".join([f"{rate(record['lr_first'])} from the first step", *changes, *ends])
    return f"{shown}{'' if ends else ' to the last'}, step {record['steps']}"


def rate(value: float | None) -> str:
    """4.0e-4."""
    if value is None or not math.isfinite(value):
        return "none" if value is None else str(value)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.3g} %"


def short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
