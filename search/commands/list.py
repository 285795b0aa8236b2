"""`study.py list`: the studies of a database."""

import json
from typing import Any

import click

from search.commands.options import common, load_settings, make_console
from search.confirmation import confirm
from search.errors import UserError
from search.settings.settings import Settings
from search.show.styles import Table, show_table
from search.study import listing
from search.study.listing import Listed
from search.text import duration

HEADER = ("study", "state", "trials", "best", "machines", "last activity")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Write one JSON document (docs/operations.md).")
@common
def command(as_json: bool, **given: Any) -> None:
    """List the studies of the database: what holds, trials done of those asked for, and who works on them."""
    settings = load_settings(given, shows=True)
    found = [(study, _state(study, settings)) for study in listing.studies(settings)]
    if as_json:
        click.echo(json.dumps([_document(study, state) for study, state in found], indent=2))
        return
    if not found:
        make_console().print("The database has no study.")
    else:
        show_table(make_console(), Table("Studies", HEADER, [_row(study, state) for study, state in found], (2, 3, 4)))


def _row(study: Listed, state: str) -> tuple[str, ...]:
    asked = "" if study.asked is None else f"/{study.asked}"
    best = "" if study.best is None or study.confirms else f"{study.best[1]:.4f}"
    silent = "" if study.silent_seconds is None else f"{duration(study.silent_seconds)} ago"
    return study.name, state, f"{study.finished}{asked}", best, str(study.machines), silent


def _state(study: Listed, settings: Settings) -> str:
    """Only its runs tell whether a confirmation is over."""
    if not (study.confirms and study.state == "idle"):
        return study.state
    own = settings.study.model_copy(update={"name": study.confirms, "storage": settings.storage_url})
    try:
        runs = confirm.read(settings.model_copy(update={"study": own}))
    except UserError:  # another release made it: whether it is over is not known
        return study.state
    return "done" if runs and runs.is_over else study.state


def _document(study: Listed, state: str) -> dict[str, Any]:
    best = {"trial": study.best[0], "value": study.best[1]} if study.best and not study.confirms else None
    counts = {name: getattr(study, name) for name in ("finished", "asked", "running", "waiting", "machines")}
    told = {"text": study.control.words, "now": study.control.cuts} if state in ("paused", "stopped") else None
    silent = study.silent_seconds
    return {
        "study": study.name,
        "confirms": study.confirms,
        "state": state,
        **counts,
        "best": best,
        "silent_seconds": None if silent is None else round(silent, 1),
        "told": told,
    }
