"""What the latest trials of a search brought, and when further ones are not expected to change the winner.

The rate line corrects what short runs get wrong about the best trial, so a search need not find the very best config,
only a good start. docs/experiments.md has what ending it here costs and saves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from search.study.ledger import FINISHED_STATES

FEWEST = 10  # finished trials before anything is said
SETTLED = 0.01  # of what was gained since the base


@dataclass(frozen=True)
class Worth:
    """By how much the later half of the finished trials lowered the best value."""

    trials: int  # of that half
    gain: float  # nats per audio token
    share: float  # of what the search gained since the untouched base; 1 while it gained nothing

    @property
    def is_settled(self) -> bool:
        return self.share < SETTLED

    def __str__(self) -> str:
        brought = f"lowered the best value by {self.gain:.4f} ({self.share:.1%} of all that was gained)"
        told = f"the last {self.trials} trials {brought if self.gain else 'did not lower the best value'}"
        return f"{told}: more are not expected to change the winner" if self.is_settled else told


def worth(trials: Sequence[FrozenTrial], base: float) -> Worth | None:
    """None before `FEWEST` trials have finished and one has completed. `base` is the untouched base's evaluation."""
    finished = sorted(
        (t for t in trials if t.state in FINISHED_STATES and not t.user_attrs.get("repeat")),
        key=lambda t: (t.datetime_complete is not None, t.datetime_complete, t.number),
    )
    half = len(finished) // 2
    lowest = [_lowest(finished[:-half] if half else []), _lowest(finished)]
    if len(finished) < FEWEST or lowest[1] is None:
        return None
    before = base if lowest[0] is None else min(base, lowest[0])
    gain, whole = max(0.0, before - lowest[1]), base - lowest[1]
    return Worth(half, gain, gain / whole if whole > 0 else 1.0)


def is_settled(trials: Sequence[FrozenTrial], base: float) -> bool:
    found = worth(trials, base)
    return found is not None and found.is_settled


def _lowest(trials: Sequence[FrozenTrial]) -> float | None:
    values = [t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    return min(values, default=None)
