"""`study.py cache`: what the searches of this machine keep, listed and removed."""

import math
import time
from collections.abc import Sequence

import click
from rich.console import Console
from rich.filesize import decimal

from search.commands.options import make_console
from search.errors import UserError
from search.preparation.cache import KINDS, Entry, cache_directory, entries, remove
from search.show.styles import Table, show_table

_DAY = 86_400


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--clear", is_flag=True, help="Remove the named folders, or all. Folders in use stay.")
@click.option("--older-than", type=float, metavar="DAYS", help="With --clear: only what was unused for this long.")
def command(names: tuple[str, ...], clear: bool, older_than: float | None) -> None:
    """List the decoded audio, codes and tokens that searches share on this machine, or remove them.

    A search recreates what is missing.
    """
    if not clear and (names or older_than is not None):
        raise click.UsageError("NAME and --older-than need --clear")
    cache, console = cache_directory(), make_console()
    found = entries(cache)
    known = {entry.path.name: entry for entry in found}
    for name in names:
        if name not in known:
            raise UserError(f"the cache has no {name!r}; study.py cache lists what lies in {cache}")
    if not found:
        console.print(f"{cache}: nothing is kept.")
    elif clear:
        unused = (older_than or -math.inf) * _DAY  # seconds
        chosen = [known[name] for name in names] or found
        _clear([entry for entry in chosen if time.time() - entry.used > unused], console)
    else:
        show_table(console, _table(found))
        console.print(f"{cache}: {decimal(sum(entry.bytes for entry in found))} in all")


def _clear(chosen: Sequence[Entry], console: Console) -> None:
    freed = 0
    for entry in chosen:
        try:
            gone = remove(entry)
        except OSError as error:  # a cache that is read-only, or another user's
            raise UserError(
                f"{entry.path} cannot be removed ({error.strerror}); give this user the right to write in the cache"
            ) from error
        if gone:
            freed += entry.bytes
        else:
            console.print(f"{entry.path.name}: in use, left alone")
    console.print(f"{decimal(freed)} freed")


def _table(found: Sequence[Entry]) -> Table:
    rows = []
    for entry in found:
        used = "in use" if entry.in_use else time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        holds = KINDS[entry.kind] + (f": {entry.about}" if entry.about else "")
        rows.append((entry.path.name, decimal(entry.bytes), used, holds))
    return Table("", ("name", "size", "last used", "holds"), rows, (1, 2))
