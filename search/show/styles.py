"""Styles and tables for terminals. Red and magenta can be read on white and on black, in the usual palettes.

Yellow, green and cyan vanish on white, blue on black, and dim text on either.
"""

from collections.abc import Sequence

from rich.console import JustifyMethod
from rich.table import Table

BEST = "bold"
WARNING = "magenta"  # also an evaluation that rose
FAILED = "red"


def columns(title: str, names: Sequence[str], numbers: Sequence[str], wrapped: Sequence[str] = ()) -> Table:
    """A table without lines, with numbers to the right. Where it is narrow, the column of the parameters gives way."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in names:
        is_last = name == "parameters"
        side: JustifyMethod = "right" if name in numbers else "left"
        table.add_column(
            name, justify=side, no_wrap=name not in wrapped, ratio=1 if is_last else None, overflow="ellipsis"
        )
    return table
