"""A trial's figures as small user attributes: Optuna's own table of trials shows them, and sorts by the numbers."""

import math
import socket
from collections.abc import Mapping
from typing import Any

from search.study.spoken import Speech
from search.trial import Evaluation

Column = int | float | str


def columns(
    best: Evaluation | None, record: Mapping[str, Any] | None, speech: Speech | None, config: str | None
) -> dict[str, Column]:
    """What is known of a run that ended on this machine; figures that are not finite are left out.

    `best` is its lowest evaluation, `config` the name of a confirmation's config.
    """
    numbers = {"clipped_share": (record or {}).get("clipped_share")}
    if best:
        numbers = {"at_step": best.step, "text_ce": best.text_ce, "gap": best.gap, **numbers}
    if speech:
        numbers |= {"similarity": speech.mean("similarity"), "cer": speech.mean("cer")}
    texts = {"config": config, "host": socket.gethostname()}
    return {
        **{name: round(value, 4) for name, value in numbers.items() if value is not None and math.isfinite(value)},
        **{name: text for name, text in texts.items() if text is not None},
    }
