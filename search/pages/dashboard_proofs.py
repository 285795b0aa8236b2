"""What a study's confirmation has come to, from trials that the dashboard has read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from search.confirmation.readable import confirms, is_readable, seeds_of
from search.pages import trial_figures as figures
from search.settings.best_config import Confirmation
from search.settings.sections import CONFIRMATION
from search.settings.settings import Settings
from search.study.findings import Findings

if TYPE_CHECKING:
    from search.confirmation.proof import Runs


@dataclass(frozen=True)
class Proof:
    runs: "Runs"
    found: Confirmation | None  # None while it is not over
    unread: int  # runs that are left out, since this release cannot read them
    figures: dict[str, Any]  # Plotly's, by name


def proof(
    attributes: dict[str, Any], trials: Sequence[FrozenTrial], findings: Findings, settings: Settings
) -> Proof | None:
    """Of the confirmation with these `attributes` and `trials`; `findings` are the search's. None: it is none."""
    seeds = seeds_of(attributes, settings)
    if not confirms(attributes, settings) or seeds is None:
        return None
    from search.confirmation.proof import FULL, Runs, confirmation  # scipy: half a second, where there is something

    runs = Runs([trial for trial in trials if is_readable(trial)], seeds, attributes["full_horizon"])
    found = confirmation(runs, findings, settings, settings.study.name + CONFIRMATION)
    fit, base = runs.race().fit, findings.base.mel_ce
    means = {}
    for name, mean in fit.means.items():
        below = fit.below(base, name)
        low, high = (None if end is None else base - end for end in (below.high, below.low))
        means[name] = (mean, low, high)
    exported = found.exported if found else None
    drawn = {
        "confirmation": figures.confirmation(means, runs.values(FULL), base, exported, fit.level),
        "fidelity": figures.fidelity(found) if found else None,
    }
    return Proof(runs, found, len(trials) - len(runs.trials), {name: f for name, f in drawn.items() if f})
