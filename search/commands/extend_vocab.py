"""`study.py extend-vocab`: a base with tokens for a new language."""

import signal
import sys
from pathlib import Path
from typing import Any

import click

from search.commands.options import common, load_settings
from search.text import shown
from search.tools import extend


@click.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder of the new base.")
@click.option("--tokens", type=click.IntRange(0, 100_000), help="Tokens to add by merges (default 1000).")
@click.option("--vocabulary", type=click.Path(path_type=Path), metavar="FILE", help="A vocab.json extended elsewhere.")
@click.option(
    "--init", type=click.Choice(["matched", "stock", "mean", "parts"]), default="matched", help="How new rows start."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Random seed for the new rows; default: study.seed.")
@click.option("--any-letters", is_flag=True, help="Also merge letters that the base has, for a Latin script.")
@common
def command(
    output: Path,
    tokens: int | None,
    vocabulary: Path | None,
    init: Any,
    seed: int | None,
    any_letters: bool,
    **given: Any,
) -> None:
    """Write a new base with tokens for the letters and frequent syllables of the training texts.

    Every old token keeps its id and its rows; texts without a new letter are cut into the same tokens as before.
    """
    if vocabulary is not None and (tokens is not None or any_letters):
        raise click.UsageError("--vocabulary has its own merges; --tokens and --any-letters are for learning them")
    settings = load_settings(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: nothing half-made is left behind
    asked = None if vocabulary else extend.TOKENS if tokens is None else tokens
    made = extend.extend(
        settings,
        output,
        asked or 0,
        vocabulary,
        init,
        seed,
        any_letters,
        lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(*made.lines(asked), f"Written: {shown(output)}; name it by base.path", sep="\n")
