"""What a command came to, in plain types: for scripts and for messages. Losses in nats per token."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.settings.best_config import BestConfig
from search.settings.sections import STOCK
from search.study.findings import Findings, Row
from search.trial import Evaluation


def losses(evaluation: Evaluation) -> dict[str, Any]:
    """All of an evaluation, and its gap."""
    return {**asdict(evaluation), "gap": evaluation.gap}


def of_search(findings: Findings, total: int, path: Path | None, confirmed: bool) -> dict[str, Any]:
    """The best trial, how far it lies below the stock recipe and the base, and the file that was exported."""
    best = _trial(findings.completed[0]) if findings.completed else None
    stock = _trial(next((row for row in findings.judged if row.baseline == STOCK), None))
    base = losses(findings.base)
    return {
        "of": "search",
        "study": findings.study,
        "finished": findings.finished,
        "total": total,
        "best": best,
        "stock": stock,
        "base": base,
        "over_stock": _difference(best, stock["lowest"] if stock else None),
        "over_base": _difference(best, base),
        "path": str(path.absolute()) if path else None,
        "confirmed": confirmed,
    }


def _trial(row: Row | None) -> dict[str, Any] | None:
    if row is None or row.best is None:
        return None
    return {"trial": row.trial.number, "reason": row.reason, "lowest": losses(row.best)}


def _difference(best: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, Any] | None:
    """As in a confirmation, but without an interval: there is one run of each."""
    if best is None or other is None:
        return None
    return {"estimate": other["mel_ce"] - best["lowest"]["mel_ce"], "low": None, "high": None}


def of_confirmation(best: BestConfig, findings: Findings, path: Path) -> dict[str, Any]:
    """What was proven of the config that is exported to `path`."""
    assert best.confirmation is not None
    fields = {"verdict", "text", "winner", "exported", "over_stock", "over_base", "seed_sd"}
    return {
        "of": "confirmation",
        "study": findings.study,
        "confirmed": best.confirmed,
        **best.confirmation.model_dump(include=fields),
        "base": losses(findings.base),
        "hyperparameters": best.hyperparameters.model_dump(),
        "path": str(path.absolute()),
    }
