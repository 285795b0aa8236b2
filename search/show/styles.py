"""Styles and tables for terminals. Red and magenta can be read on white and on black, in the usual palettes.

Yellow, green and cyan vanish on white, blue on black, and dim text on either.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import rich.table
from rich.console import Console
from rich.text import Text

from search.text import printable

BEST = "bold"
WARNING = "magenta"  # also an evaluation that rose
FAILED = "red"


@dataclass(frozen=True)
class Table:
    """What the terminal, the pages and the notes of the dashboard show alike."""

    title: str
    header: Sequence[str]  # empty: the rows are pairs of a name and what it has
    rows: Sequence[Sequence[str]]
    numbers: Collection[int] = ()  # columns of numbers, to the right
    best: str | None = None  # the first cell of the row that stands out


def show_table(console: Console, table: Table) -> None:
    """Without lines. Where it is narrow, cells of words become several lines."""
    drawn = rich.table.Table(title=table.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(table.header):
        is_number = i in table.numbers
        drawn.add_column(name, justify="right" if is_number else "left", no_wrap=is_number or i == 0, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row), style=BEST if row[0] == table.best else "")
    console.print(drawn)
