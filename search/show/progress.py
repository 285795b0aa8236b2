"""What live displays in a terminal share: a screen that redraws its last lines, and bars."""

import os
import re
import sys
import threading
from collections import deque

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

WIDTH = 20  # characters of a bar
KEPT = 200  # lines, printed again when the terminal's width changes
_COUNT = re.compile(r"\b(\d+) of (\d+)\b")


class LiveScreen:
    """Lines that stay, and below them a part that is redrawn when it has changed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lock = threading.RLock()
        self._printed: deque[Text] = deque(maxlen=KEPT)
        self._start()

    def _start(self) -> None:
        self._drawn: object = None
        self._width = self.console.width
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._live.start()

    def print(self, *lines: Text) -> None:
        """A `no_wrap` line is cut at the terminal's width, another is wrapped."""
        with self.lock:
            self._printed.extend(lines)
            for line in lines:
                self.console.print(line, overflow="ellipsis" if line.no_wrap else None, no_wrap=line.no_wrap)

    def draw(self, drawing: RenderableType) -> None:
        with self.lock:
            if (
                self.console.width != self._width
            ):  # terminals rewrap, each in its own way: where lines stand is not known
                again = list(self._printed)[-self.console.height :]
                self._live.stop()
                self.console.clear()
                self._printed.clear()
                self.print(*again)
                self._start()
            lines = self.console.render_lines(drawing)
            if lines != self._drawn:
                self._drawn = lines
                self._live.update(drawing, refresh=True)

    def close(self) -> None:
        with self.lock:
            self._live.stop()

    def leave(self) -> None:
        """Shows the cursor again, below what was drawn. Called from a signal's handler: waits for no lock."""
        os.write(self.console.file.fileno(), b"\x1b[?25h\n")


def is_live(console: Console) -> bool:
    """Whether a display can redraw itself there: not in a pipe, with TERM=dumb, or where the encoding lacks bars."""
    return sys.stdout.isatty() and not console.is_dumb_terminal and console.encoding.startswith("utf")


def with_bar(text: str) -> str:
    """`text` behind a bar, if it holds a count like "12 of 340"."""
    found = _COUNT.search(text)
    if not found or not 0 < int(found[2]) >= int(found[1]):
        return text
    return f"{bar(int(found[1]), int(found[2]), WIDTH)} {text}"


def bar(done: int, total: int, width: int) -> str:
    """A bar of `width` characters, without colour: it reads the same in every terminal."""
    filled = width * min(done, total) // max(total, 1)
    return "━" * filled + "╌" * (width - filled)
