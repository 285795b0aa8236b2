"""What studies and trials say of themselves in their attributes, as far as this release can read it, to be shown.

A newer release may have written them, or somebody by hand: what is unknown is left out, and what is of another form is
as if it were not there. Which trials and runs count, and what they came to, is Optuna's: their states, values and
parameters. A fingerprint is compared as it is.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from search.study.spoken import Speech
from search.trial import Evaluation, Prepared, RunRecord

T = TypeVar("T")

# Attributes of a trial that are documents. Optuna's dashboard shows user attributes in full, and system attributes not.
DOCUMENTS = frozenset({"owner", "queued", "run", "speech", "candidate", "state"})
STATE = "state"  # attribute of a trial that runs or waits: the saved state of its run
SLOT_SECONDS = "slot_seconds"  # attribute of a trial that has ended: how long its run held its slot
ORIGIN = "origin"  # attribute of a trial that repeats one of an earlier study, for a warm start: "STUDY, trial N"
STATE_FILE = "state-"  # how the names of artifacts begin that are saved states
ARTIFACT = "artifacts:"  # how the names of the system attributes begin by which Optuna knows a trial's files

_LONE = re.compile("[\ud800-\udfff]")  # of names that are no UTF-8, which JSON is not read with

_EVALUATIONS, _RECORD = TypeAdapter(list[Evaluation]), TypeAdapter(RunRecord)
_SPEECH, _PREPARED = TypeAdapter(Speech), TypeAdapter(Prepared)


@dataclass(frozen=True)
class Kept:
    """The saved state of a run in the artifact store, as its trial's attribute names it."""

    files: dict[str, int]  # bytes of each artifact that may be there: the state, and one being written or removed
    current: str | None = None  # the artifact that is whole; None while the first one is written
    step: int = 0  # optimizer steps done in it, at least


_KEPT = TypeAdapter(Kept)


def by_kind(attributes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A trial's attributes as Optuna's {"user_attrs": ..., "system_attrs": ...}."""
    system = {name for name in attributes if name in DOCUMENTS or name.startswith(ARTIFACT)}
    return {
        "user_attrs": {name: value for name, value in attributes.items() if name not in system},
        "system_attrs": {name: value for name, value in attributes.items() if name in system},
    }


def part(document: object, name: str) -> Any:
    """What a document has under a name; None for anything else than a document."""
    return document.get(name) if isinstance(document, dict) else None


def evaluations(values: object) -> list[Evaluation]:
    """All of a run, or none."""
    found = read(_EVALUATIONS, values) or []
    return found if all(e.step >= 0 and e.probe_mel_ce for e in found) else []  # the gap is divided by the probe's


def record(values: object) -> dict[str, Any] | None:
    """A RunRecord's fields."""
    found = read(_RECORD, values)
    if found is None or not all(len(change) == 2 and math.isfinite(change[0]) for change in found.lr_changes):
        return None
    return vars(found) if math.isfinite(found.setup_seconds + found.train_seconds + found.evaluation_seconds) else None


def speech(values: object) -> Speech | None:
    found = read(_SPEECH, values)
    return found if found and math.isfinite(found.took) else None


def prepared(values: object) -> Prepared | None:
    found = read(_PREPARED, values)
    if found is None or not evaluations([found.base_evaluation]):
        return None
    return found if math.isfinite(found.train_seconds + found.eval_seconds) else None


def kept(values: object) -> Kept:
    """Nothing where it names what is no state: whoever is done with a state removes its files."""
    found = read(_KEPT, values)
    if found is None or not all(name.startswith(STATE_FILE) and size >= 0 for name, size in found.files.items()):
        return Kept({})
    return found if found.current in (None, *found.files) else Kept({})


def _code(lone: re.Match[str]) -> str:
    return f"\\\\x{ord(lone[0]):04x}"


def read(adapter: TypeAdapter[T], values: object) -> T | None:
    """None where `values` are not of the adapter's type, to the letter."""
    try:
        return adapter.validate_json(_LONE.sub(_code, json.dumps(values, ensure_ascii=False)), strict=True)
    except ValidationError:
        return None
