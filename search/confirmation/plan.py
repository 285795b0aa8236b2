"""What a confirmation works on: its configs, seeds and lengths, as its study remembers them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from search.confirmation.candidates import Candidate
from search.ties import ranked


@dataclass(frozen=True)
class Plan:
    """What a confirmation works on. Its study remembers it, so that every machine and page works on the same."""

    seed: int  # of the search and of the rate line; the race has those that follow
    seeds: int  # of the race
    horizon: int  # optimizer steps of a full run
    base: float  # evaluation of the untouched base
    rates: Literal["turn"] | tuple[float, ...]
    recipes: tuple[Candidate, ...]  # the stock recipe, and the space's default where that is another
    trials: tuple[Candidate, ...]  # of the search, the best first
    audited: tuple[Candidate, ...] = ()

    @property
    def fresh(self) -> list[int]:
        """The seeds of the race, in its order."""
        return [(self.seed + i) % 2**31 for i in range(1, self.seeds + 1)]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Plan":
        """Raises KeyError, TypeError or ValueError for what another release wrote."""
        kinds = ("recipes", "trials", "audited")
        configs = {kind: tuple(Candidate.from_dict(config) for config in values[kind]) for kind in kinds}
        rates = values["rates"] if values["rates"] == "turn" else tuple(map(float, values["rates"]))
        return cls(**{**values, **configs, "rates": rates})


def joined(old: Plan | None, new: Plan) -> Plan:
    """`new` with what was planned before: seeds, trials and audits may be added, and none is taken back."""
    if old is None:
        return new
    trials = {c.name: c for c in (*old.trials, *new.trials)}
    audited = {c.name: c for c in (*old.audited, *new.audited)}
    return replace(
        new,
        seeds=max(old.seeds, new.seeds),
        trials=tuple(ranked(trials.values(), lambda c: math.inf if c.truncated is None else c.truncated)),
        audited=tuple(audited.values()),
    )
