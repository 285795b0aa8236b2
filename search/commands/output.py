"""What a command tells besides what it prints for people: JSON lines (--json) and notifications (--notify)."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

import click

from search.commands.json_lines import JsonLines, take_stdout
from search.commands.notify import VARIABLE, Post, complain
from search.errors import UserError
from search.text import without_urls

LINES = "json_lines"  # the parameter of click's that --json sets, of the commands that have lines


class Output:
    """One for a process. As a context it tells, too, by which error the command ended, and sends what is unsent.

    Raises BrokenPipeError, as a context, where click has made an exit of it.
    """

    def __init__(self) -> None:
        self.wants_lines = False
        self._lines: JsonLines | None = None
        self._post: Post | None = None
        self._news: Any = None

    def __enter__(self) -> Self:
        # Texts of the data go everywhere; one that the terminal's encoding lacks must not end a search.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, click.UsageError) and error.ctx and "--json" in sys.argv:
            # click gives up before it looks at any option.
            self.wants_lines |= any(parameter.name == LINES for parameter in error.ctx.command.params)
        if is_unread := isinstance(error, SystemExit):  # click's way to say that the reader of our output has gone
            error = BrokenPipeError()
        with suppress(BrokenPipeError):
            if isinstance(error, click.Abort | KeyboardInterrupt):
                self.stopped()
            elif isinstance(error, Exception):
                self._failed(error)
        if self._post:
            self._post.close()
        if is_unread:
            raise BrokenPipeError

    def open(self, study: str, urls: Sequence[str]) -> None:
        """Before anything is printed. Raises UserError for a URL of a notification that cannot be used."""
        self._open_lines()
        os.environ.pop(VARIABLE, None)  # which no child needs
        if urls:
            from search.commands.news import News

            self._post = self._post or Post(urls)
            self._news = News(self._post, study)

    def _open_lines(self) -> None:
        if self.wants_lines and self._lines is None:
            self._lines = JsonLines(take_stdout())

    @contextmanager
    def watching(self, study: str) -> Iterator[Any]:
        """The view of a search or a confirmation."""
        from search.commands.json_view import JsonView
        from search.show.terminal import make_view

        view: Any = JsonView(self._lines, study) if self._lines else make_view()
        if self._post:
            from search.commands.news import NewsView

            view = NewsView(view, self._news)
            self._post.say = complain if self._lines else view.note
        try:
            yield view
        finally:
            if self._post:
                self._post.say = complain
            view.close()

    def searched(self, found: dict[str, Any], stopped: bool) -> None:
        """The end of a search: `found` is of search.commands.outcome."""
        if self._news and not stopped:
            self._news.searched(found)
        self._tell("stopped" if stopped else "result", **found)

    def confirmed(self, found: dict[str, Any]) -> None:
        """The end of a confirmation: `found` is of search.commands.outcome."""
        if self._news:
            self._news.confirmed(found)
        self._tell("result", **found)

    def trained(self, result: Any) -> None:
        """The end of a full run."""
        if self._news:
            self._news.trained(result)

    def stopped(self) -> None:
        """By the user, with nothing to show."""
        self._tell("stopped")

    def _failed(self, error: Exception) -> None:
        if self._news:
            self._news.failed()
        if isinstance(error, click.ClickException):
            self._tell("error", message=said(error), details=[])
        elif isinstance(error, UserError):
            self._tell("error", message=str(error), details=list(error.details))
        else:
            self._tell("error", message=f"a fault of this program: {type(error).__name__}", details=[])

    def _tell(self, event: str, **fields: Any) -> None:
        self._open_lines()
        if self._lines:
            self._lines.tell(event, **fields)


def said(error: click.ClickException) -> str:
    """Its message."""
    return without_urls(error.format_message())
