"""What a study has found so far, read once from its storage."""

import math
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.errors import UserError
from search.settings.sections import STOCK
from search.study import recorded, spoken
from search.study.spoken import Speech
from search.text import printable
from search.ties import lowest, ranked
from search.trial import INTERRUPTIONS, Evaluation, StopReason


@dataclass(frozen=True)
class Row:
    """A trial as the table shows it."""

    trial: FrozenTrial
    evaluations: list[Evaluation]
    record: dict[str, Any] | None

    @property
    def baseline(self) -> str | None:
        name = self.trial.user_attrs.get("baseline")
        return name if isinstance(name, str) else None

    @property
    def name(self) -> str | None:
        """The baseline, or the trial of an earlier study that it repeats; None for one that the sampler drew."""
        origin = self.trial.user_attrs.get(recorded.ORIGIN)
        return self.baseline or (f"from {origin}" if isinstance(origin, str) else None)

    @property
    def repeat(self) -> int:
        """Above 0: the stock recipe with another seed, run to measure the noise."""
        number = self.trial.user_attrs.get("repeat")
        return number if isinstance(number, int) else int(number is not None)  # of another form: it does not compete

    @property
    def reason(self) -> str:
        return printable(str(self.trial.user_attrs.get("stop_reason", self.trial.state.name.lower())))

    @property
    def host(self) -> str | None:
        """The machine that ran it."""
        name = recorded.part(self.trial.system_attrs.get("owner"), "host")
        return None if name is None else str(name)

    @property
    def error(self) -> str | None:
        text = recorded.part(self.trial.system_attrs.get("run"), "error")
        return None if text is None else str(text)

    @property
    def steps(self) -> int:
        """Optimizer steps that it trained; 0 where it does not tell."""
        return int(self.record["steps"]) if self.record else 0

    @property
    def speech(self) -> Speech | None:
        """What it spoke with the weights of its best evaluation; None for most trials."""
        return recorded.speech(self.trial.system_attrs.get(spoken.ATTRIBUTE))

    @property
    def unread(self) -> list[str]:
        """Of what the trial has, the parts that this release cannot read."""
        run, said = self.trial.system_attrs.get("run"), self.trial.system_attrs.get(spoken.ATTRIBUTE)
        parts = (
            ("evaluations", recorded.part(run, "evaluations"), self.evaluations),
            ("record", recorded.part(run, "record"), self.record),
            ("run", run, isinstance(run, dict)),
            ("speech", said, self.speech),
        )
        return [name for name, there, known in parts if there and not known]

    @property
    def best(self) -> Evaluation | None:
        return lowest(self.evaluations)


@dataclass(frozen=True)
class Findings:
    """A study read once from its storage."""

    study: str
    rows: list[Row]
    horizon: int
    base: Evaluation
    prepared: dict[str, Any]

    @property
    def completed(self) -> list[Row]:
        """COMPLETE trials, the best first; of ties the stock recipe, else the earliest.

        Without the repeats of the stock recipe, which would win by luck alone.
        """
        done = [row for row in self.rows if row.trial.state == TrialState.COMPLETE and not row.repeat]
        done.sort(key=lambda row: row.baseline != STOCK)
        return ranked(done, lambda row: math.inf if row.trial.value is None else row.trial.value)

    @property
    def judged(self) -> list[Row]:
        """Finished trials: COMPLETE and PRUNED. One that was cut short says nothing; its retry does."""
        return [row for row in self.rows if row.trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]

    @property
    def cut_short(self) -> list[Row]:
        """Those whose runs something else than a rule ended."""
        return [row for row in self.rows if row.reason in INTERRUPTIONS]

    @property
    def finished(self) -> int:
        return len(self.judged)

    @property
    def steps(self) -> tuple[int, int]:
        """(optimizer steps trained by finished trials that tell it, those that these would have taken unpruned)."""
        trained = sum(row.steps for row in self.judged)
        return trained, trained + sum(self.saved(row) for row in self.judged)

    def saved(self, row: Row) -> int:
        """Optimizer steps that pruning saved; of a run that diverged none, since no rule ended it."""
        return 0 if row.record is None or row.reason == StopReason.DIVERGED else self.horizon - row.steps


def read(study: optuna.Study) -> Findings:
    """Everything that report and export show. Raises UserError for a study that this xtts-study did not make."""
    refuse_foreign(study)
    prepared, horizon = study.user_attrs.get("prepared"), study.user_attrs.get("horizon")
    if not isinstance(prepared, dict) or recorded.prepared(prepared) is None or not isinstance(horizon, int):
        raise UserError(
            f"study {study.study_name!r} cannot be read by this release of xtts-study; use the release that made it"
        )
    [base] = recorded.evaluations([prepared["base_evaluation"]])
    return Findings(study.study_name, [row_of(t) for t in study.get_trials(deepcopy=False)], horizon, base, prepared)


def refuse_foreign(study: optuna.Study) -> None:
    """Raises UserError for a study of another tool."""
    if "fingerprint" not in study.user_attrs:
        raise UserError(f"study {study.study_name!r} was not made by xtts-study; name another with --study")


def row_of(trial: FrozenTrial) -> Row:
    """What the trial recorded, as far as this release can read it."""
    run = trial.system_attrs.get("run")
    found = recorded.evaluations(recorded.part(run, "evaluations"))
    return Row(trial, found, recorded.record(recorded.part(run, "record")))
