"""What the runs of a study have cost: how long each held its slot, weighted by its share of a GPU; CPU slots apart.

A run holds its slot from the start of its process to its last word. Whoever ends its trial stores that; of a run whose
machine died it is the time up to its last heartbeat. docs/budget.md says how the figures are used.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from search.study import recorded
from search.study.findings import Findings, Row
from search.trial import INTERRUPTIONS

HOUR = 3600.0


@dataclass(frozen=True)
class Amount:
    """Seconds of GPUs, and of slots on CPUs."""

    gpu: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.gpu + other.gpu, self.cpu + other.cpu)

    def __str__(self) -> str:
        return " and ".join(self._parts) or "nothing"

    @property
    def _parts(self) -> list[str]:
        kinds = ((self.gpu, "GPU h"), (self.cpu, "slot h on CPUs" if self.gpu else "slot h"))
        return [f"{hours(seconds)} {unit}" for seconds, unit in kinds if seconds]


def hours(seconds: float) -> str:
    """Of three digits."""
    found = seconds / HOUR
    return f"{found:,.0f}" if found >= 100 else f"{found:.3g}"


@dataclass(frozen=True)
class Held:
    """How long one run held its slot."""

    trial: int
    host: str
    machine: str | None  # as leases name it
    reason: str  # why it ended
    seconds: float
    gpus: float  # the slot's share of a GPU; 0 on a CPU

    @property
    def weight(self) -> float:
        return self.gpus or 1.0

    @property
    def amount(self) -> Amount:
        return weighed(self.seconds, self.gpus)


def weighed(seconds: float, gpus: float) -> Amount:
    """Of a slot that has this share of a GPU; none: a CPU's."""
    return Amount(gpu=gpus * seconds) if gpus else Amount(cpu=seconds)


def held(trial: int, owner: object, reason: str, seconds: object) -> Held | None:
    """Of a run by its owner's signature; None where `seconds` are not known."""
    host, machine = recorded.part(owner, "host") or "an unknown host", recorded.part(owner, "machine")
    known = _number(seconds)
    if known is None:
        return None
    return Held(trial, str(host), machine, reason, known, _number(recorded.part(owner, "gpus")) or 0.0)


def ended(trials: Iterable[FrozenTrial]) -> list[Held]:
    """Those of the trials that have ended."""
    return [run for trial in trials if trial.state.is_finished() and (run := _ended(trial))]


def _ended(trial: FrozenTrial) -> Held | None:
    attributes = trial.user_attrs
    reason, seconds = str(attributes.get("stop_reason")), attributes.get(recorded.SLOT_SECONDS)
    return held(trial.number, trial.system_attrs.get("owner"), reason, seconds)


def total(runs: Iterable[Held]) -> Amount:
    return sum((run.amount for run in runs), Amount())


def by(runs: Sequence[Held], key: Callable[[Held], str]) -> dict[str, Amount]:
    """The amounts of each kind of runs, the largest first."""
    kinds = {kind: total(run for run in runs if key(run) == kind) for kind in map(key, runs)}
    return dict(sorted(kinds.items(), key=lambda each: -(each[1].gpu + each[1].cpu)))


def wasted(runs: Iterable[Held]) -> Amount:
    """By runs that were cut short, whose trials say nothing."""
    return total(run for run in runs if run.reason in INTERRUPTIONS)


def saved(findings: Findings) -> Amount:
    """By pruning: the optimizer steps that were not run, at the seconds that a step took in the same run."""
    return sum((_saved(findings, row) for row in findings.judged), Amount())


def _saved(findings: Findings, row: Row) -> Amount:
    known = ended([row.trial])
    if not known or row.record is None or not row.steps:
        return Amount()
    return weighed(findings.saved(row) * row.record["train_seconds"] / row.steps, known[0].gpus)


def told(findings: Findings, full_runs: Iterable[FrozenTrial] = ()) -> list[str]:
    """What a study, with the `full_runs` of its confirmation, has cost, in sentences; none before a run has ended."""
    full, trials = ended(full_runs), ended(row.trial for row in findings.rows)
    runs = [*trials, *full]
    if not runs:
        return []
    parts = [f"{_counted(len(runs), 'run')} spent {total(runs)}"]
    if full:
        parts[0] += f", {total(full)} of it in full runs"
    parts.append(f"by stop reason {_listed(by(runs, lambda run: run.reason))}")
    if len(hosts := by(runs, lambda run: run.host)) > 1:
        parts.append(f"by machine {_listed(hosts)}")
    lost, kept = wasted(runs), saved(findings)
    return [
        f"{'; '.join(parts)}.",
        f"Runs that were cut short wasted {lost}; pruning saved {kept}.",
    ]


def _listed(amounts: dict[str, Amount]) -> str:
    return ", ".join(f"{name} {amount}" for name, amount in amounts.items())


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 0 else None
