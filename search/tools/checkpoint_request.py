"""What `checkpoints` asks its process for: plain data, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """What to open and what to measure it on. Without settings and prepared folder files are opened only."""

    files: Sequence[str]
    cache: str
    settings: str | None = None  # JSON of the Settings that name data and base
    prepared: str | None = None  # a folder of `search.preparation.prepare`, instead of data and base
    extended: bool = False  # prepare data and base as a search does, with the letters that the base lacks
