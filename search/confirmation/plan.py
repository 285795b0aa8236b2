"""What a confirmation works on: its configs, seeds and lengths, as its study remembers them."""

import math
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from search.confirmation.candidates import STORED, Candidate
from search.settings.sections import FEWEST_SEEDS, MOST_SEEDS
from search.ties import ranked


@dataclass(frozen=True, config=STORED)
class Plan:
    """What a confirmation works on. Its study remembers it, so that every machine and page works on the same."""

    seed: int  # of the search and of the rate line; the race has those that follow
    seeds: Annotated[int, Field(ge=FEWEST_SEEDS, le=MOST_SEEDS)]  # of the race
    horizon: int  # optimizer steps of a full run
    base: float  # evaluation of the untouched base
    rates: Literal["turn"] | tuple[float, ...]
    # The stock recipe, and the space's default where that is another.
    recipes: Annotated[tuple[Candidate, ...], Field(min_length=1)]
    trials: tuple[Candidate, ...]  # of the search, the best first
    audited: tuple[Candidate, ...] = ()

    @property
    def fresh(self) -> list[int]:
        """The seeds of the race, in its order."""
        return [(self.seed + i) % 2**31 for i in range(1, self.seeds + 1)]


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
