"""How important the searched dimensions are, for Optuna's page: the report's figures in place of the page's own.

Its own are of completed trials alone. On a pruned study these are the survivors, all with a good learning rate, so that
it takes the rate for unimportant and chance for importance.
"""

from typing import Any

from search.pages.dimensions import dimensions
from search.pages.importance import importance
from search.study.findings import Findings

CHANCE = " (chance?)"  # behind the name of a dimension that is not told from chance


def importances(findings: Findings) -> list[dict[str, Any]]:
    """As GET /api/studies/<id>/param_importances has them; none before there are trials enough to tell."""
    judged = [row for row in findings.judged if row.best is not None]
    names = [dimension.name for dimension in dimensions(judged)]
    found = importance(judged, names) if len(names) > 1 else None
    if found is None:
        return []
    kinds = {name: type(d).__name__ for row in judged for name, d in row.trial.distributions.items()}
    return [
        {"name": name + ("" if name in found.told else CHANCE), "importance": share, "distribution": kinds[name]}
        for name, share in found.shares.items()
    ]
