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
@click.option("--any-letters", is_flag=True, help="Also merge letters that the base has, for a Latin script.")
@common
def command(
    output: Path,
    tokens: int | None,
    vocabulary: Path | None,
    init: Any,
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
    asked = extend.TOKENS if tokens is None else tokens
    request = extend.Request(settings.model_dump_json(), output, asked, vocabulary, init, any_letters)
    lines = extend.extend(request, lambda text: print(text, file=sys.stderr, flush=True))
    print(*lines, f"Written: {shown(output)}; name it by base.path", sep="\n")
