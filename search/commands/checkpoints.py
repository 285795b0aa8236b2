"""`study.py checkpoints`: the real losses of the checkpoints of any run."""

import sys
from pathlib import Path
from typing import Any

import click

from search.commands.options import common, load_settings, make_console
from search.text import printable
from search.tools import checkpoint_tables
from search.tools.measure import measure
from search.tools.run_folder import inspect_runs


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--accumulation", type=click.IntRange(min=1), help="Of the logged run, if its log does not show it.")
@click.option("--logs-only", is_flag=True, help="Read the logs, and measure nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@common
def command(folder: Path, accumulation: int | None, logs_only: bool, as_json: bool, **given: Any) -> None:
    """List the checkpoints of DIR, a run folder of coqui's trainer or of ours, with their real eval losses.

    DIR may also be a folder of runs, or a log alone. Shows what the logs claim, corrects it, and says which to take.
    """
    settings = load_settings(given)
    found = inspect_runs(folder, accumulation)
    if not logs_only:
        measure(found, settings, lambda text: print(printable(text), file=sys.stderr, flush=True))
    if as_json:
        print(checkpoint_tables.to_json(found))
    else:
        checkpoint_tables.show(found, make_console())
