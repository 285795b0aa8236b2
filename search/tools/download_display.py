"""What a download shows: a bar that moves in a terminal, plain lines elsewhere."""

import sys
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

from search.show.plain import tell


class FetchView(Protocol):
    """Told of one file at a time; positions and sizes in bytes."""

    def note(self, text: str) -> None: ...
    def begin(self, text: str, size: int, position: int) -> None: ...
    def at(self, position: int) -> None: ...
    def end(self) -> None: ...


class PlainFetchView:
    """Lines for a large file, or one that goes on: where it begins, and each tenth of it."""

    LARGE = 10_000_000  # bytes

    def __init__(self) -> None:
        self._text = ""
        self._size = self._tenth = 0

    def note(self, text: str) -> None:
        tell(text)

    def begin(self, text: str, size: int, position: int) -> None:
        self._text, self._size = text, size
        self._tenth = self._tenths(position)
        if position or size >= self.LARGE:
            self.note(f"{text}  {amount(size)}" + (f", from {amount(position)} on" if position else ""))

    def at(self, position: int) -> None:
        tenth = self._tenths(position)
        if self._size >= self.LARGE and tenth > self._tenth:
            self._tenth = tenth
            self.note(f"{self._text}  {10 * tenth} %")

    def end(self) -> None:
        pass

    def _tenths(self, position: int) -> int:
        return 10 * position // max(self._size, 1)


class LiveFetchView:
    """A bar for the file at hand, which makes way for the lines that stay."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None

    def note(self, text: str) -> None:
        self._console.print(Text(text))

    def begin(self, text: str, size: int, position: int) -> None:
        columns = (BarColumn(24), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), *columns, console=self._console, transient=True
        )
        self._progress.add_task(text, total=size, completed=position)
        self._progress.start()

    def at(self, position: int) -> None:
        if self._progress:
            self._progress.update(self._progress.task_ids[0], completed=position)

    def end(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None


def amount(size: int) -> str:
    """4.0 kB, 7.8 MB, 1.87 GB; decimal, as the hub shows it."""
    for unit, digits, power in (("GB", 2, 9), ("MB", 1, 6), ("kB", 1, 3)):
        if size >= 10**power:
            return f"{size / 10**power:.{digits}f} {unit}"
    return f"{size} B"


def make_fetch_view() -> FetchView:
    """`LiveFetchView` in a terminal, `PlainFetchView` in a pipe."""
    return LiveFetchView(Console(highlight=False)) if sys.stdout.isatty() else PlainFetchView()
