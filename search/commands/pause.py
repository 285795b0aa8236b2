"""`study.py pause`: no new trial starts on any machine."""

from typing import Any

import click

from search.commands.options import common, load_settings
from search.study import steering


@click.command()
@common
def command(**given: Any) -> None:
    """Let no new trial start, on any machine that shares the study; running ones go on to their end.

    Searches wait, until study.py resume. A confirmation of the study is paused, too.
    """
    settings = load_settings(given, shows=True)
    ledger, _, _ = steering.open_ledger(settings)
    click.echo(f"{settings.study.name}: {ledger.steer(lambda said: said.told('paused')).words}")
