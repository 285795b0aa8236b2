"""Points in time, as people give them."""

import re
from datetime import date, datetime, time, timedelta

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def spelled_out(given: object) -> object:
    """A time that TOML has read, as text again."""
    return given.isoformat() if isinstance(given, date | time) else given


def moment(text: str, now: datetime | None = None) -> str:
    """The ISO time, with its zone, that `text` means: "2026-12-01T18:00", the next "18:00", or "+6h" from now.

    Without a zone it is local time, as `now` is. Raises ValueError.
    """
    found = now or datetime.now()
    try:
        if later := re.fullmatch(r"\+(\d+(?:\.\d+)?)([mhd])", text):
            found += timedelta(**{UNITS[later[2]]: float(later[1])})
        elif clock := re.fullmatch(r"(\d\d?):(\d\d)(?::00)?", text):
            next_one = found.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
            found = next_one + timedelta(days=next_one <= found)
        else:
            found = datetime.fromisoformat(text)
        return found.astimezone().isoformat(timespec="seconds")
    except (ValueError, OverflowError) as error:
        raise ValueError(
            "it must be a time of the day (18:00), a time from now on (+90m, +6h, +2d), or an ISO time"
            " (2026-12-01T18:00)"
        ) from error
