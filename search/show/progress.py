"""A bar for texts that say how far a work is."""

import os
import re
import sys

from rich.console import Console

WIDTH = 20
_COUNT = re.compile(r"\b(\d+) of (\d+)\b")


def is_live(console: Console) -> bool:
    """Whether a view can redraw itself there: no pipe, no TERM=dumb, and an encoding that has the bars."""
    return sys.stdout.isatty() and not console.is_dumb_terminal and console.encoding.startswith("utf")


def leave(console: Console) -> None:
    """From a signal's handler, when the process ends at once: shows the cursor again, below what was drawn."""
    os.write(console.file.fileno(), b"\x1b[?25h\n")


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
