"""`study.py status`: what a study has found so far."""

from typing import Any

import click

from search.commands.options import common, load_settings, make_console
from search.confirmation import confirm, proof
from search.errors import UserError
from search.show import confirmation_tables, tables
from search.study import divergence, findings, spending, storage
from search.workers.outlook import to_come


@click.command()
@common
def command(**given: Any) -> None:
    """Show what a study has found so far, from any terminal."""
    settings = load_settings(given, shows=True)
    found = findings.read(storage.load_study(settings))
    console = make_console()
    told = storage.control_of(settings)
    if told.state != "running":
        console.print(f"{told.words}.", soft_wrap=True)
    runs = proven = unread = None
    try:
        runs = confirm.read(settings)
        proven = proof.confirmation(runs, found, settings) if runs else None
    except UserError as error:
        unread = error  # of the confirmation: the search can be shown
    tables.show_running(found, settings.search_space(), console)
    tables.show(found, settings.search_space(), console, confirmed=proven is not None)
    for line in [*spending.told(found, runs.trials if runs else ()), *to_come(settings, found, runs is not None)]:
        console.print(line)
    if why := divergence.why(found, settings):
        console.print(f"So far {why}.", soft_wrap=True)
    if proven:
        confirmation_tables.show(proven, found.base, console)
    elif runs:
        confirmation_tables.show_progress(runs, console)
    if unread:
        raise unread
