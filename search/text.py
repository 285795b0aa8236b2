"""Text of unknown origin, fit for a terminal, and lines for stderr."""

import re
import sys
from contextlib import suppress
from pathlib import Path

_SCHEME = "[a-z][a-z0-9+.-]{0,40}"  # of a URL; without a limit, a word of 100,000 letters takes minutes


def printable(text: str) -> str:
    """`text` with every character that is not printed (escapes, line ends, marks of direction) written as its code."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def without_urls(text: str) -> str:
    """`text` with only the scheme of its first URL: a URL that was given in the wrong place may hold a secret.

    So may one without its scheme, and libpq's other form, "host=h password=p".
    A secret may contain blanks, brackets and quotes: a URL ends at the last of the quotes that it is in, or with the
    text.
    """
    scheme = rf"{_SCHEME}://"
    pattern = rf"""((['"]){scheme}).*(?=\2)|({scheme}).*"""
    text = re.sub(pattern, lambda found: f"{found[1] or found[3]}…", text, flags=re.IGNORECASE | re.DOTALL)
    text = re.sub(r"(?<=password=).*", "…", text, flags=re.IGNORECASE | re.DOTALL)
    before, at, after = text.rpartition("@")
    found = re.search(r"(?<=\w:)(?=\S)", before + at)
    return f"{before[: found.start()]}…{after}" if at and found else text


def without_passwords(text: str) -> str:
    """`text` with *** from the first colon after a URL's scheme to the last @ of the text."""
    before, at, after = text.rpartition("@")
    found = re.search(rf"{_SCHEME}:/{{1,2}}[^:@]*:", before, flags=re.IGNORECASE)
    return f"{before[: found.end()]}***@{after}" if at and found else text


def duration(seconds: float) -> str:
    """2 h 05 m, 3 m 20 s, 12 s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} m"
    return f"{whole // 60} m {whole % 60:02} s" if whole >= 60 else f"{whole} s"


def shown(path: Path) -> str:
    """The path from the working folder, where it lies there."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def complain(text: str, *details: str) -> None:
    """Prints one line for people to stderr, and a further line for each detail."""
    lines = [f"study.py: {' '.join(text.split())}", *(f"  {line}" for line in details)]
    with suppress(OSError):  # where stderr is gone, nobody can be told
        print(*lines, sep="\n", file=sys.stderr, flush=True)
