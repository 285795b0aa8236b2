"""What a command came to, in plain types: for scripts and for messages. Losses in nats per token."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from search.confirmation.verdict import Estimate, searched, stock_trial
from search.settings.best_config import BestConfig, Difference
from search.study import spending
from search.study.findings import Findings, Row
from search.trial import Evaluation


def losses(evaluation: Evaluation) -> dict[str, Any]:
    """All of an evaluation, and its gap."""
    return {**asdict(evaluation), "gap": evaluation.gap}


def of_search(findings: Findings, total: int, path: Path | None, confirmed: bool) -> dict[str, Any]:
    """The best trial, how far it lies below the stock recipe and the base, and the file that was exported."""
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
        "confirmed": confirmed,
        "spent": spent(row.trial for row in findings.rows),
    }


def spent(trials: Iterable[FrozenTrial]) -> dict[str, float]:
    """Hours that their runs held slots: of GPUs, and of slots on CPUs."""
    found = spending.total(spending.ended(trials))
    return {"gpu_hours": found.gpu / spending.HOUR, "slot_hours": found.cpu / spending.HOUR}


def _trial(row: Row | None) -> dict[str, Any] | None:
    if row is None or row.best is None:
        return None
    return {"trial": row.trial.number, "reason": row.reason, "lowest": losses(row.best)}


def _difference(found: Estimate | None) -> dict[str, Any] | None:
    """As a confirmation has it, but without an interval: one run of each."""
    return None if found is None else Difference(estimate=found.value, low=None, high=None).model_dump()


def of_confirmation(best: BestConfig, findings: Findings, path: Path) -> dict[str, Any]:
    """What was proven of the config that is exported to `path`."""
    assert best.confirmation is not None
    fields = {"verdict", "text", "winner", "exported", "over_stock", "over_base", "seed_sd", "rate_line"}
    return {
        "of": "confirmation",
        "study": findings.study,
        "confirmed": best.confirmed,
        **best.confirmation.model_dump(include=fields),
        "base": losses(findings.base),
        "hyperparameters": best.hyperparameters.to_dict(),
        "path": str(path.absolute()),
    }
