"""`study.py resume`: lifts a pause or a stop."""

from typing import Any

import click

from search.commands.options import common, load_settings
from search.study import steering


@click.command()
@common
def command(**given: Any) -> None:
    """Lift a pause or a stop of the study.

    Searches that wait go on. Those that a stop ended are started again by the same command.
    """
    settings = load_settings(given, shows=True)
    ledger, _, _ = steering.open_ledger(settings)
    before, _ = ledger.look()
    click.echo(f"{settings.study.name}: {ledger.steer(lambda said: said.told('running')).words}")
    if before.state == "stopped":
        click.echo("the searches that the stop has ended are started again by the same command")
