"""Styles and tables for terminals. Red and magenta can be read on white and on black, in the usual palettes.

Yellow, green and cyan vanish on white, blue on black, and dim text on either.
"""

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.text import printable

BEST = "bold"
WARNING = "magenta"  # also an evaluation that rose
FAILED = "red"


def show_table(
    console: Console,
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Collection[int],
    best: str | None = None,
) -> None:
    """Without lines; columns of `numbers` to the right. Where it is narrow, cells of words become several lines.

    The row that begins with `best` stands out.
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(header):
        is_number = i in numbers
        table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number or i == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row), style=BEST if row[0] == best else "")
    console.print(table)
