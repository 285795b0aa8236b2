"""What a report is made of: a study, its confirmation and its sound, read once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.confirmation import confirm as session
from search.confirmation.proof import Runs
from search.settings.best_config import Confirmation
from search.settings.sections import STOCK
from search.settings.settings import Settings
from search.study import findings as report
from search.study import storage
from search.study.findings import Findings, Row
from search.study.fingerprint import differences, fingerprint
from search.trial import Prepared
from space.search_space import SearchSpace


@dataclass(frozen=True)
class Material:
    """A study and what its confirmation came to: `runs` without a `confirmation` are not over."""

    settings: Settings
    attributes: Mapping[str, Any]  # of the study
    findings: Findings
    runs: Runs | None
    confirmation: Confirmation | None

    @cached_property
    def space(self) -> SearchSpace:
        return self.settings.search_space()

    @cached_property
    def judged(self) -> list[Row]:
        """Finished trials with a finite evaluation, by their numbers."""
        return [row for row in self.findings.judged if lowest(row) is not None]

    @property
    def best(self) -> Row | None:
        completed = self.findings.completed
        return completed[0] if completed else None

    @cached_property
    def stock(self) -> Row | None:
        """The trial of the stock recipe."""
        return next((row for row in self.judged if row.baseline == STOCK and not row.repeat), None)

    @property
    def full_horizon(self) -> int:
        """Optimizer steps of a full run."""
        return int(self.attributes["full_horizon"])

    @cached_property
    def running(self) -> int:
        return sum(row.trial.state == TrialState.RUNNING for row in self.findings.rows)

    @cached_property
    def differing(self) -> list[str]:
        """In what the settings given are not those that the study was made with, of what a report is read by."""
        try:
            prepared = Prepared(**self.attributes["prepared"])
        except TypeError as error:
            return [f"the study was made by another release of xtts-study ({error})"]
        there, here = self.attributes["fingerprint"], fingerprint(self.settings, prepared)
        # Sources as for an export; seed and repeats are often flags of the search alone, and the study has its own.
        aside = {"code": None, "seed": None, "repeats": None}
        return differences({**there, **aside}, {**here, **aside})


def read(settings: Settings) -> Material:
    """Raises UserError for a study that does not exist, or that xtts-study did not make."""
    study = storage.load_study(settings)
    findings = report.read(study)
    runs = session.read(settings)
    found = session.result(runs, findings, settings) if runs else None
    return Material(settings, study.user_attrs, findings, runs, found)


def lowest(row: Row) -> float | None:
    """The lowest finite evaluation of a trial, nats per audio token; of a pruned one, before it was pruned."""
    return min((e.mel_ce for e in row.evaluations if math.isfinite(e.mel_ce)), default=None)


def completed(trial: FrozenTrial) -> bool:
    return bool(trial.state == TrialState.COMPLETE)
