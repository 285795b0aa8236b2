"""A bar for texts that say how far a work is."""

import re

WIDTH = 20
_COUNT = re.compile(r"\b(\d+) of (\d+)\b")


def with_bar(text: str) -> str:
    """`text` behind a bar, if it holds a count like "12 of 340"; for terminals, since a pipe gets the words alone."""
    found = _COUNT.search(text)
    if not found or not 0 < int(found[2]) >= int(found[1]):
        return text
    return f"{bar(int(found[1]), int(found[2]), WIDTH)} {text}"


def bar(done: int, total: int, width: int) -> str:
    """So many signs wide, without colour: it reads the same in every terminal."""
    filled = width * min(done, total) // max(total, 1)
    return "━" * filled + "╌" * (width - filled)
