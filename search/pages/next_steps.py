"""What to do next with a study: commands as a shell takes them, without secrets."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.confirmation import export
from search.confirmation.verdict import Searched
from search.errors import UserError
from search.pages.material import Material
from search.settings.best_config import Confirmation
from search.settings.bucket import parse_s3
from search.settings.sections import CONFIRMATION, MOST_SEEDS
from search.settings.settings import safe_url
from search.study.divergence import is_hopeless
from search.text import shown

MORE_SEEDS, MORE_TRIALS = 2, 20
_ANEW = "search again under another --study: a study keeps its space, its data and the length of its trials"


@dataclass(frozen=True)
class Step:
    """A command, which may be empty, and what it is for."""

    command: str
    purpose: str


def without_answer(material: Material, options: str) -> list[Step]:
    """No trial has completed."""
    if is_hopeless([row.trial for row in material.findings.rows]):
        return [Step("", "Change what is said above, in another study.")]
    return [Step(_command("", options), "starts the search, or continues it")]


def after_search(material: Material, found: Searched, options: str) -> list[Step]:
    """Without the result of a confirmation."""
    finished, total = material.findings.finished, material.settings.study.trials
    if found.verdict == "do not fine-tune":
        longer = "widen the space, or lengthen the trials (training.epochs, training.truncation)"
        return [
            Step("", f"Use the base as it is; or check the data (study.py check), {longer}, and {_ANEW}."),
            Step(_command(f"--trials {finished + MORE_TRIALS}", options), f"runs {MORE_TRIALS} more trials"),
        ]
    if material.runs is not None:
        return [Step(_command("confirm", options), "continues the confirmation")]
    more = [Step(_command("", options), f"continues the search, to {total:,} finished trials")] * (finished < total)
    why = "finds the rate by a few full runs, and proves the config with fresh seeds"
    return [*more, Step(_command("confirm", options), why)]


def after_confirmation(material: Material, found: Confirmation, options: str) -> list[Step]:
    late = material.late
    again = [] if late is None else [Step(_command("confirm", options), f"runs trial {late} in full, too")]
    if found.verdict == "do not fine-tune":
        return [*again, Step("", f"Use the base as it is; or check the data (study.py check), and {_ANEW}.")]
    path = material.settings.directory / "best_config.json"
    name = shown(path.absolute())
    is_there = export.confirmation_at(path, found.study.removesuffix(CONFIRMATION)) == found
    exports = [] if is_there else [Step(_command("export", options), f"writes {name}")]
    train = Step(f"python study.py train {shlex.quote(name)} --output full", "trains it in full")
    steps, runs = [*again, *exports, train], material.runs
    assert runs is not None
    more = min(MOST_SEEDS, runs.plan.seeds + MORE_SEEDS)  # where chance may have hidden a gain
    if found.verdict == "no better than the stock recipe" and found.over_stock and more > runs.plan.seeds:
        why = f"may tell {found.winner} from the stock recipe"
        steps.append(Step(_command(f"confirm --seeds {more}", options), why))
    return steps


def _command(name: str, options: str) -> str:
    return " ".join(filter(None, ("python study.py", name, options)))


def options_of(given: Mapping[str, Any]) -> str:
    """The common options as a shell takes them, for the commands of the page; passwords are ***."""
    words: list[str] = []
    for entry in given["set_"]:
        key, _, value = entry.partition("=")
        hide = {"study.storage": safe_url, "study.artifacts": safe_place}.get(key.strip())
        words += ["--set", f"{key}={hide(value)}" if hide else entry]
    for name in ("settings", "storage", "study"):
        if given[name] is not None:
            words += [f"--{name}", safe_url(str(given[name])) if name == "storage" else str(given[name])]
    return shlex.join(words)


def safe_place(place: str) -> str:
    """Of artifacts: a folder, or the URL of a bucket; *** for a URL of another form, which may hold a key."""
    if "://" not in place:
        return place
    try:
        parse_s3(place)
    except UserError:
        return "***"
    return place
