"""Text of unknown origin, fit for a terminal."""

import re


def printable(text: str) -> str:
    """`text` with every sign that is not printed (escapes, line ends, marks of direction) written as its code."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def without_urls(text: str) -> str:
    """`text` with no more of a URL than its scheme: one that was given in a wrong place may hold a secret.

    It ends with a blank or a bracket, in quotes with the last quote of all: a secret may hold others.
    """
    return re.sub(r"([a-z][a-z0-9+.-]*://)(?:.*(?=['\"])|[^\s)]*)", r"\1…", text, flags=re.IGNORECASE | re.DOTALL)
