"""Warm start: what the finished trials of earlier studies tell a new one.

They are stored as an attribute of the new study when it is founded, never as its trials, so nothing can count one. All
later starts and machines go by that attribute: none of them needs the earlier studies. `earlier` reads those.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FixedTrial, TrialState, create_trial

from search.errors import UserError
from search.settings.settings import Settings
from search.study.ledger import Entry
from search.study.recorded import ORIGIN
from search.study.sampler import Earlier
from space.search_space import SearchSpace

ATTRIBUTE = "warm_start"  # system attribute of a study

# In JSON's types {"studies": names, "left_out": how many trials lie outside the space, "trials": [{"study", "number",
# "params", "rank"}]}. Ranks are in 0 to 1 within a study, 0 the best; None for a pruned trial.
Memory = Mapping[str, Any]
NOTHING: Memory = {"studies": [], "left_out": 0, "trials": []}


def queue(memory: Memory, queued: Sequence[Entry]) -> list[Entry]:
    """The best trial of each study that is not among the `queued` ones."""
    entries: list[Entry] = []
    for name in memory["studies"]:
        there = [_key(params) for params, _ in [*queued, *entries]]
        ranked = [t for t in memory["trials"] if t["study"] == name and t["rank"] is not None]
        for trial in sorted(ranked, key=lambda t: t["rank"]):
            if _key(trial["params"]) not in there:
                entries.append((trial["params"], {ORIGIN: f"{name}, trial {trial['number']}"}))
                break
    return entries


def known(memory: Memory, space: SearchSpace) -> list[Earlier]:
    """The trials as a sampler takes them. With numbers below 0 they are older to Optuna than any of the study."""
    found = []
    for number, trial in enumerate(memory["trials"], -len(memory["trials"])):
        fixed, rank = FixedTrial(trial["params"]), trial["rank"]
        space.suggest(fixed)  # type: ignore[arg-type]
        # Without values by step, a pruned trial ranks behind those of the study.
        state, value = (TrialState.PRUNED, None) if rank is None else (TrialState.COMPLETE, rank)
        made = create_trial(state=state, value=value, params=fixed.params, distributions=fixed.distributions)
        made.number = number
        found.append(Earlier(made, rank, trial["study"]))
    return found


def described(memory: Memory) -> str:
    """A line for people."""
    count, left_out = len(memory["trials"]), memory["left_out"]
    outside = f"; {left_out} outside this study's space were left out" if left_out else ""
    return (
        f"warm start: the sampler knows {count} finished trials of {', '.join(memory['studies'])}"
        f"{outside}; none of them counts here"
    )


def refuse_others(memory: Memory, settings: Settings) -> None:
    """Raises UserError when the settings name other studies than those that the study was founded with."""
    names, founded = settings.study.warm_start, memory["studies"]
    if names and set(names) != set(founded):
        raise UserError(
            f"study {settings.study.name!r} was founded {'with' if founded else 'without'} a warm start"
            f"{' from ' if founded else ''}{', '.join(founded)}, and --warm-start (study.warm_start) names"
            f" {', '.join(names)}; leave it out, or give this search another name with --study"
        )


def _key(params: Mapping[str, Any]) -> list[str]:
    """The same for parameters that differ by rounding alone."""
    return sorted(f"{name} {value:.6g}" for name, value in params.items())
