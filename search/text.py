"""Text of unknown origin, fit for a terminal."""

import re
from pathlib import Path


def printable(text: str) -> str:
    """`text` with every sign that is not printed (escapes, line ends, marks of direction) written as its code."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def without_urls(text: str) -> str:
    """`text` with no more of a URL than its scheme: one that was given in a wrong place may hold a secret.

    It ends with a blank or a bracket, in quotes with the last quote of all: a secret may hold others.
    """
    return re.sub(r"([a-z][a-z0-9+.-]*://)(?:.*(?=['\"])|[^\s)]*)", r"\1…", text, flags=re.IGNORECASE | re.DOTALL)


def duration(seconds: float) -> str:
    """2 h 05 m, 3 m 20 s, 12 s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} m"
    return f"{whole // 60} m {whole % 60:02} s" if whole >= 60 else f"{whole} s"


def shown(path: Path) -> str:
    """As short as it can be named from the working folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
