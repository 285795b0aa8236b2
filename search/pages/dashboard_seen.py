"""A study as the dashboard last looked at it: what is derived of finished trials is derived once."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.confirmation.candidates import Candidate
from search.pages import study_notes
from search.pages import trial_figures as figures
from search.pages.dashboard_proofs import Proof, proof
from search.pages.trial_notes import Standing, best_of, trial_note
from search.settings.sections import CONFIRMATION, STOCK
from search.settings.settings import Settings
from search.study import recorded
from search.study.findings import Findings, Row, row_of
from search.study.spoken import Speech
from search.trial import Evaluation
from space.hyperparameters import Hyperparameters

# Ours, of trials and of studies. They are shown in another form; what else somebody has set is shown as it is.
_TRIAL = {
    "run", "owner", "stop_reason", "baseline", "repeat", "candidate", "seed", "length", "retry_of", "attempt", "speech",
    "speech_left_out",
}  # fmt: skip
_STUDY = {"fingerprint", "prepared", "horizon", "full_horizon", "searches", "seeds"}
_NUMBERS = ("at_step", "text_ce", "gap", "clipped_share", "similarity", "cer")  # columns in their order
_COLUMNS = ("config", "baseline", "seed", "length", "stop_reason", *_NUMBERS, "host")


@dataclass(frozen=True)
class Shown:
    """A trial as the page shows it."""

    note: str
    attributes: dict[str, Any]
    speech: Speech | None


def is_ours(attributes: dict[str, Any]) -> bool:
    """Whether the study is one that this release can read."""
    lengths = (attributes.get("horizon"), attributes.get("full_horizon"))
    founded = "fingerprint" in attributes and all(isinstance(length, int) for length in lengths)
    return founded and recorded.prepared(attributes.get("prepared")) is not None


class Seen:
    """A study of ours. `look` brings it up to date; everything else reads what it left."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name, self._settings = name, settings
        self.is_confirmation = name.endswith(CONFIRMATION)
        # Of a study with other settings neither space nor folder is known here.
        self._is_known = name.removesuffix(CONFIRMATION) == settings.study.name
        self._space = settings.search_space() if self._is_known else None
        self.stamp: tuple[Any, ...] = ()
        self.rows: dict[int, Row] = {}  # by trial id
        self._shown: dict[int, Shown] = {}
        self._stocks: dict[Any, tuple[int, Evaluation]] = {}
        self._trials: dict[int, FrozenTrial] = {}

    def look(
        self,
        attributes: dict[str, Any],
        trials: list[FrozenTrial],
        confirmation: tuple[dict[str, Any], list[FrozenTrial]] | None,
        search: Findings | None,
    ) -> None:
        """`confirmation` has the attributes and trials of a search's; `search` is what a confirmation is of."""
        self.foreign = {key: value for key, value in attributes.items() if key not in _STUDY}
        stamp = _stamp(trials), _stamp(confirmation[1]) if confirmation else None, search.finished if search else None
        if stamp == self.stamp:
            return
        self._attributes = attributes
        [base] = recorded.evaluations([attributes["prepared"]["base_evaluation"]])
        self._read(trials)
        rows = [self.rows[trial._trial_id] for trial in trials]
        self.findings = Findings(self.name, rows, attributes["horizon"], base, attributes["prepared"])
        stocks = self._find_stocks(rows)
        if stocks != self._stocks:
            self._stocks, self._shown = stocks, {}
        self.median = figures.median_of([row for row in rows if row.trial.user_attrs.get("length") != "truncated"])
        if search:
            self._judge(proof(attributes, trials, search, self._settings))
        else:
            self._judge(proof(*confirmation, self.findings, self._settings) if confirmation else None)
        self.stamp = stamp

    def _read(self, trials: list[FrozenTrial]) -> None:
        """The rows of all trials, those anew that have changed; what was shown of these is forgotten."""
        rows, shown = {}, {}
        for trial in trials:
            known = trial._trial_id
            before = self._trials.get(known)
            if before is None or not _same(before, trial):
                rows[known] = row_of(trial)
                continue
            rows[known] = self.rows[known]
            if known in self._shown:
                shown[known] = self._shown[known]
        self.rows, self._shown = rows, shown
        self._trials = {trial._trial_id: trial for trial in trials}

    def _find_stocks(self, rows: Sequence[Row]) -> dict[Any, tuple[int, Evaluation]]:
        """(trial, best evaluation) of the stock recipe: in a search one, in a confirmation one a seed and length."""
        found: dict[Any, tuple[int, Evaluation]] = {}
        for row in rows:
            if _name_of(row) == STOCK and row.trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                best = best_of(row)
                if best:
                    found.setdefault(self._like(row), (row.trial.number, best))
        return found

    def _like(self, row: Row) -> tuple[Any, ...]:
        """What runs have in common that may be compared."""
        attributes = row.trial.user_attrs
        return (str(attributes.get("seed")), str(attributes.get("length"))) if self.is_confirmation else ()

    def _judge(self, proof: Proof | None) -> None:
        """The study's note and figures."""
        # The lowest of a confirmation's runs is one of luck.
        self.best = self.findings.completed[:1]
        if self.is_confirmation:
            self.best = _exported(self.findings, proof)
        best = self.best[0] if self.best and not self.is_confirmation else None
        drawn = {}
        if any(map(figures.points, self.findings.rows)):
            drawn["evaluations"] = figures.evaluations(self.findings.rows, self.median, self.findings.base, best)
        if proof:
            drawn = {**proof.figures, **drawn}
        if self.is_confirmation:
            self.note = study_notes.confirmation_note(self.name.removesuffix(CONFIRMATION), proof, self.findings)
            self._results = study_notes.proven(self.findings, proof.found if proof else None)
        else:
            self._results = study_notes.searched(self.findings)
            self.note = study_notes.search_note(self.findings, self._space, proof)
        self.figures = {name: json.dumps(figure, allow_nan=False) for name, figure in drawn.items()}

    def trial(self, trial_id: int) -> Shown | None:
        """None for one that is not, or no more, in the study."""
        if trial_id not in self._shown:
            row = self.rows.get(trial_id)
            if row is None:
                return None
            standing = Standing(
                self.findings.base,
                self._stocks.get(self._like(row)),
                self.horizon_of(row),
                *self._rule(),
            )
            self._shown[trial_id] = Shown(trial_note(row, self._point(row), standing), _columns(row), row.speech)
        return self._shown[trial_id]

    def _rule(self) -> tuple[int, float]:
        """Rises in a row that end a run, and how small a rise is none, where it is known."""
        rule = self._settings.pruning
        if not self._is_known:
            return 2, 0.0
        return rule.n_increases, rule.min_delta if isinstance(rule.min_delta, float) else 0.0

    def horizon_of(self, row: Row) -> int:
        """Optimizer steps of its run."""
        full = self.is_confirmation and row.trial.user_attrs.get("length") == "full"
        return int(self._attributes["full_horizon" if full else "horizon"])

    def _point(self, row: Row) -> Hyperparameters | None:
        try:
            if isinstance(candidate := row.trial.user_attrs.get("candidate"), dict):
                return Candidate.from_dict(candidate).point
            return self._space.from_params(row.trial.params) if self._space else None
        except (KeyError, TypeError, ValueError):  # it is being drawn, or another tool's
            return None

    def columns(self) -> list[dict[str, Any]]:
        """Those that any trial has. Only numbers may be sorted by, and be axes of the page's figures."""
        every = [self.trial(known) for known in self.rows]
        there = dict.fromkeys(name for shown in every if shown for name in shown.attributes)
        ordered = [name for name in _COLUMNS if name in there] + [name for name in there if name not in _COLUMNS]
        return [{"key": name, "sortable": name in _NUMBERS} for name in ordered]

    def facts(self) -> dict[str, str]:
        """What the page lists as the study's attributes."""
        return self._results | study_notes.facts(self._attributes)


def _exported(findings: Findings, proof: Proof | None) -> list[Row]:
    """The full runs of the config that a confirmation exports; none before it is over."""
    found = proof.found if proof else None
    numbers = {run.trial for c in found.candidates if c.name == found.exported for run in c.runs} if found else set()
    return [row for row in findings.rows if row.trial.number in numbers]


def _stamp(trials: Sequence[FrozenTrial]) -> tuple[Any, ...]:
    """Differs where anything of the trials does: finished ones do not change."""
    going = [t for t in trials if not t.state.is_finished()]
    parts = ((t._trial_id, t.state, len(t.params), len(t.intermediate_values), len(t.user_attrs)) for t in going)
    return len(trials), *parts


def _same(before: FrozenTrial, now: FrozenTrial) -> bool:
    return before.state.is_finished() and before.datetime_complete == now.datetime_complete


def _name_of(row: Row) -> str | None:
    """The recipe that a trial ran, or the config of a confirmation."""
    candidate = row.trial.user_attrs.get("candidate")
    return candidate.get("name") if isinstance(candidate, dict) else row.baseline


def _columns(row: Row) -> dict[str, Any]:
    """What a trial has of the columns, then what somebody else has set."""
    attributes, best, speech = row.trial.user_attrs, best_of(row), row.speech
    candidate = attributes.get("candidate")
    found: dict[str, Any] = {
        "config": candidate.get("name") if isinstance(candidate, dict) else None,
        "baseline": f"{STOCK}, repeat {row.repeat}" if row.repeat else row.baseline,
        "seed": attributes.get("seed"),
        "length": attributes.get("length"),
        "stop_reason": attributes.get("stop_reason"),
        "clipped_share": _rounded((row.record or {}).get("clipped_share")),
        "host": row.host,
    }
    if best:
        found |= {"at_step": best.step, "text_ce": _rounded(best.text_ce), "gap": _rounded(best.gap)}
    if speech:
        found |= {name: _rounded(speech.mean(name)) for name in ("similarity", "cer")}
    ours = {name: found[name] for name in _COLUMNS if found.get(name) is not None}
    return ours | {key: value for key, value in attributes.items() if key not in _TRIAL}


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)
