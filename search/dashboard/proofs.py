"""What a study's confirmation has come to, from trials that the dashboard has read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from search.best_config import Confirmation
from search.dashboard import figures
from search.report import Findings
from search.sections import CONFIRMATION
from search.settings import Settings

if TYPE_CHECKING:
    from search.confirmation.proof import Runs


@dataclass(frozen=True)
class Proof:
    runs: "Runs"
    found: Confirmation | None  # None while it is not over
    figures: dict[str, Any]  # Plotly's, by name


def proof(
    attributes: dict[str, Any], trials: Sequence[FrozenTrial], findings: Findings, settings: Settings
) -> Proof | None:
    """Of the confirmation with these `attributes` and `trials`; `findings` are the search's. None: it is none."""
    founded = attributes["fingerprint"]
    if not isinstance(founded, dict) or founded.get("confirms") != settings.study.name:
        return None
    from search.confirmation.proof import FULL, Runs, confirmation  # scipy: half a second, where there is something

    count = attributes.get("seeds", settings.confirm.seeds)
    first = founded.get("seed", settings.study.seed)
    seeds = [(first + i) % 2**31 for i in range(count)]
    runs = Runs(trials, seeds, attributes["full_horizon"])
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
    return Proof(runs, found, {name: figure for name, figure in drawn.items() if figure})
