"""What a search or a confirmation came to, in plain types: for scripts and for messages. Losses in nats per token."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.confirmation.verdict import Estimate, searched, stock_trial
from search.settings import best_config
from search.settings.best_config import BestConfig, Difference
from search.study.findings import Findings, Row
from search.trial import Evaluation


def losses(evaluation: Evaluation) -> dict[str, Any]:
    """All of an evaluation, and its gap."""
    return {**asdict(evaluation), "gap": evaluation.gap}


def of_search(findings: Findings, total: int, path: Path | None) -> dict[str, Any]:
    """The best trial, by how much it lies below the stock recipe's and the base, and what was exported to `path`."""
    found = searched(findings)
    return {
        "of": "search",
        "study": findings.study,
        "finished": findings.finished,
        "total": total,
        "best": _trial(found.best if found else None),
        "stock": _trial(stock_trial(findings)),
        "base": losses(findings.base),
        "over_stock": _difference(found.over_stock if found else None),
        "over_base": _difference(found.over_base if found else None),
        "path": str(path.absolute()) if path else None,
        "confirmed": best_config.read(path).confirmed if path else False,
    }


def _trial(row: Row | None) -> dict[str, Any] | None:
    if row is None or row.best is None:
        return None
    return {"trial": row.trial.number, "reason": row.reason, "lowest": losses(row.best)}


def _difference(found: Estimate | None) -> dict[str, Any] | None:
    """As a confirmation has it, but without an interval: one run of each."""
    return None if found is None else Difference(estimate=found.value, low=None, high=None).model_dump()


def of_confirmation(best: BestConfig, findings: Findings, path: Path) -> dict[str, Any]:
    """What was proven of the config that is exported to `path`."""
    found = best.confirmation
    assert found is not None
    return {
        "of": "confirmation",
        "study": findings.study,
        "confirmed": best.confirmed,
        "verdict": found.verdict,
        "text": found.text,
        "winner": found.winner,
        "exported": found.exported,
        "over_stock": found.over_stock.model_dump() if found.over_stock else None,
        "over_base": found.over_base.model_dump() if found.over_base else None,
        "base": losses(findings.base),
        "seed_sd": found.seed_sd,
        "hyperparameters": best.hyperparameters.model_dump(),
        "path": str(path.absolute()),
    }
