"""Which configs a confirmation runs at full length: the best trials, the stock recipe, the space's default."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from search.settings.settings import Settings
from search.study.findings import Findings, Row
from search.trial import StopReason
from space.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Candidate:
    """A config of a confirmation, or a pruned trial that is finished to see what pruning lost."""

    name: str
    point: Hyperparameters
    trial: int | None = None  # of the search, that ran it
    truncated: float | None = None  # its value in the search, nats; None unless COMPLETE
    pruned_at: int | None = None  # an audited trial: the step of its last evaluation
    pruned_value: float | None = None  # its lowest evaluation by then

    @property
    def is_audited(self) -> bool:
        return self.pruned_at is not None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "point": self.point.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Candidate":
        return cls(**{**values, "point": Hyperparameters.from_dict(values["point"])})


def candidates(findings: Findings, settings: Settings) -> list[Candidate]:
    """The stock recipe; the default of the space, its first baseline, where it differs; the `confirm.top` best trials.

    A recipe that the space does not contain was clipped in the search; here it runs as it stands. Of truncated trials
    the best is there at `confirm.lower_rates`, too.
    """
    space, stock = settings.search_space(), settings.stock_recipe()
    found = [_with_trial(Candidate(stock.name, stock.hyperparameters), findings, settings)]
    default = space.baselines[0] if space.baselines else stock
    params, clipped = space.to_params(default.hyperparameters)
    fitted = space.from_params(params)
    if not same(fitted, stock.hyperparameters):
        name = f"{default.name} within the space" if clipped else default.name
        found.append(_with_trial(Candidate(name, fitted), findings, settings))
    best = 0
    for row in findings.completed:
        if best == settings.confirm.top:
            break
        point = space.from_params(row.trial.params)
        if not any(same(point, other.point) for other in found):
            found.append(Candidate(_name(row, found), point, row.trial.number, row.trial.value))
            best += 1
    if findings.completed and settings.training.truncation < 1:
        first = next(iter(findings.completed))
        for factor, point in lower_rates(space.from_params(first.trial.params), settings):
            if not any(same(point, other.point) for other in found):
                found.append(Candidate(f"trial {first.trial.number} at {factor:g} x lr", point))
    return found


def lower_rates(point: Hyperparameters, settings: Settings) -> list[tuple[float, Hyperparameters]]:
    """(factor, the point at that multiple of its learning rate) for each of `confirm.lower_rates`."""
    return [(factor, replace(point, lr=factor * point.lr)) for factor in settings.confirm.lower_rates]


def audited(findings: Findings, settings: Settings, known: Sequence[Candidate]) -> list[Candidate]:
    """`confirm.audit` trials that the median rule pruned, chosen at random by the study's seed; none of `known`."""
    space = settings.search_space()
    pruned = [
        Candidate(
            f"trial {r.trial.number}", space.from_params(r.trial.params), r.trial.number, None, last.step, r.best.mel_ce
        )
        for r in findings.judged
        if r.reason == StopReason.MEDIAN and r.best is not None and (last := r.evaluations[-1])
    ]
    pruned = [c for c in pruned if not any(same(c.point, other.point) for other in known)]
    count = min(settings.confirm.audit, len(pruned))
    return random.Random(f"{settings.study.seed}/audit").sample(pruned, count)


def _with_trial(candidate: Candidate, findings: Findings, settings: Settings) -> Candidate:
    """With the best COMPLETE trial of the search that ran this point, if there is one."""
    space = settings.search_space()
    for row in findings.completed:
        if same(space.from_params(row.trial.params), candidate.point):
            return Candidate(candidate.name, candidate.point, row.trial.number, row.trial.value)
    return candidate


def _name(row: Row, others: Sequence[Candidate]) -> str:
    """The baseline's, unless another config has it: the search clips a recipe that its space does not contain."""
    if row.baseline and row.baseline not in {other.name for other in others}:
        return row.baseline
    return f"trial {row.trial.number}"


def same(one: Hyperparameters, other: Hyperparameters) -> bool:
    """Whether two points train alike; a way through Optuna's parameters may have rounded one in the last digit."""

    def numbers(point: Hyperparameters) -> list[float | None]:
        knobs = [point.lr, point.weight_decay, point.gamma, point.clip_norm]
        return [*knobs, point.new_rows_lr_factor, point.frozen_layers, *point.milestones]

    a, b = numbers(one), numbers(other)
    return len(a) == len(b) and all(
        x == y if x is None or y is None else math.isclose(x, y, rel_tol=1e-9) for x, y in zip(a, b, strict=True)
    )
