"""What a report is made of: a study, its confirmation and its sound, read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import TrialState

from search.confirmation import confirm, proof
from search.confirmation.candidates import same
from search.confirmation.proof import Runs
from search.confirmation.race import Fit
from search.confirmation.verdict import Searched, searched, stock_trial
from search.settings.best_config import Confirmation, covered, line_of
from search.settings.settings import Settings
from search.show import tables
from search.study import findings as search_findings
from search.study import spending, storage
from search.study.findings import Findings, Row
from search.study.fingerprint import differing_settings
from search.workers.outlook import to_come
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
        return [row for row in self.findings.judged if row.best is not None]

    @cached_property
    def searched(self) -> Searched | None:
        """The answer of the search alone; None before a trial has completed."""
        return searched(self.findings)

    @property
    def best(self) -> Row | None:
        return self.searched.best if self.searched else None

    @cached_property
    def stock(self) -> Row | None:
        """The trial of the stock recipe; None where it has no evaluation."""
        return stock_trial(self.findings)

    @cached_property
    def fit(self) -> Fit | None:
        """The means of the full runs, and their differences; None before the confirmation is over."""
        return self.runs.race.fit if self.runs and self.confirmation else None

    @cached_property
    def late(self) -> int | None:
        """The best trial, where the confirmation lacks its config."""
        if self.best is None or self.confirmation is None:
            return None
        number, point = self.best.trial.number, tables.point_of(self.best, self.space)
        ran = [c.hyperparameters for c in self.confirmation.candidates]
        ran += [step.hyperparameters for step in line_of(self.confirmation)]
        has_run = number in covered(self.confirmation) or point is None or any(same(point, other) for other in ran)
        return None if has_run else number

    @property
    def full_horizon(self) -> int:
        """Optimizer steps of a full run."""
        return int(self.attributes["full_horizon"])

    @property
    def spent(self) -> list[str]:
        """What all runs have cost, and what those to come are expected to."""
        full = self.runs.trials if self.runs else ()
        return [*spending.told(self.findings, full), *to_come(self.settings, self.findings, self.runs is not None)]

    @property
    def running(self) -> int:
        return sum(row.trial.state == TrialState.RUNNING for row in self.findings.rows)

    @cached_property
    def differing(self) -> list[str]:
        """The differences between the settings given and the study's, where a report depends on them."""
        # Sources as for an export; seed and repeats are often flags of the search alone, and the study has its own.
        return differing_settings(self.attributes, self.settings, "code", "seed", "repeats")


def read(settings: Settings) -> Material:
    """Raises UserError for a study that does not exist, or that xtts-study did not make."""
    return material(settings, storage.load_study(settings), confirm.read(settings))


def material(settings: Settings, study: optuna.Study, runs: Runs | None) -> Material:
    """Of a study, and of the runs of its confirmation, if there are any."""
    findings = search_findings.read(study)
    found = proof.confirmation(runs, findings, settings) if runs else None
    return Material(settings, study.user_attrs, findings, runs, found)


def completed(row: Row) -> bool:
    return bool(row.trial.state == TrialState.COMPLETE)
