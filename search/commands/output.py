"""Who listens to a command: a terminal or a log, or JSON lines (--json), and notification services (--notify)."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from search.commands.notify import VARIABLE, Post

if TYPE_CHECKING:
    from search.settings.settings import Settings
    from search.workers.listeners import Listeners


class Output:
    """All that one process tells. What takes long to import is imported when something listens."""

    def __init__(self) -> None:
        self.wants_lines = False
        self._lines: Any = None
        self._post: Post | None = None
        # Texts of the data go everywhere; a character that the terminal's encoding lacks must not end a search.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")

    @cached_property
    def listeners(self) -> "Listeners":
        from search.workers.listeners import Listeners

        return Listeners()

    def open(self, study: str = "", urls: Sequence[str] = ()) -> None:
        """Before anything is printed. Raises UserError for a URL of a notification that cannot be used."""
        if self.wants_lines and self._lines is None:
            from search.commands.json_lines import JsonLines, take_stdout

            self._lines = JsonLines(take_stdout(), self.listeners.board, study)
            self.listeners.add(self._lines)
        os.environ.pop(VARIABLE, None)  # no child needs it
        if urls and self._post is None:
            from search.commands.news import News

            self._post = Post(urls)
            self.listeners.add(News(self._post, self.listeners.board, study))

    @contextmanager
    def watching(self, settings: "Settings") -> Iterator["Listeners"]:
        """What a search or a confirmation tells its events to; these listen until the block ends."""
        from search.pages.dashboard_notes import NotesWriter
        from search.show.terminal import make_view

        notes = NotesWriter(settings, self.listeners.note)
        displays = [] if self._lines else [make_view(self.listeners.board)]
        for listener in (*displays, notes):
            self.listeners.add(listener)
        try:
            yield self.listeners
        finally:
            for listener in (notes, *displays):  # the display last: it shows what the notes say
                self.listeners.remove(listener)

    def over(self, event: str, **found: Any) -> None:
        """The last event, also of a command that ends before it has opened anything."""
        self.open()
        self.listeners.over(event, found)

    def close(self) -> None:
        """Sends what is unsent."""
        if self._post:
            self._post.close()
