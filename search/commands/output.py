"""Who listens to a command: a terminal or a log, or JSON lines (--json), and notification services (--notify)."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from search.commands.news import News
from search.commands.notify import VARIABLE, Post
from search.workers.events import View
from search.workers.listeners import Listeners

if TYPE_CHECKING:
    from search.settings.settings import Settings


class Output:
    """All that one process tells. What takes long to import is imported when something listens."""

    def __init__(self) -> None:
        self.wants_lines = False
        self.listeners = Listeners()
        self._lines: Any = None
        self._post: Post | None = None
        # Texts of the data go everywhere; a character that the terminal's encoding lacks must not end a search.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")

    def open(self, study: str = "", urls: Sequence[str] = ()) -> None:
        """Before anything is printed. Raises UserError for a URL of a notification that cannot be used."""
        board = self.listeners.board
        if self.wants_lines and self._lines is None:
            from search.commands.json_lines import JsonLines, take_stdout

            self._lines = JsonLines(take_stdout(), board, study)
            self.listeners.add(self._lines)
        os.environ.pop(VARIABLE, None)  # no child needs it
        if urls and self._post is None:
            self._post = Post(urls)
            self.listeners.add(News(self._post, board, study))

    @contextmanager
    def watching(self, settings: "Settings") -> Iterator[Listeners]:
        """What a search or a confirmation tells its events to; these listen until the block ends."""
        from search.pages.dashboard_notes import NotesWriter
        from search.show.terminal import make_view

        display = View() if self._lines else make_view(self.listeners.board)
        notes = NotesWriter(settings, self.listeners.note)
        self.listeners.add(display)
        self.listeners.add(notes)
        try:
            yield self.listeners
        finally:
            self.listeners.remove(notes)  # first: the display shows what it says
            self.listeners.remove(display)

    def over(self, event: str, **found: Any) -> None:
        """The last event, also of a command that ends before it has opened anything."""
        self.open()
        self.listeners.over(event, found)

    def close(self) -> None:
        """Sends what is unsent."""
        if self._post:
            self._post.close()
