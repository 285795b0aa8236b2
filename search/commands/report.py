"""`report.html`: a whole study in one file that needs no other."""

from pathlib import Path
from typing import Any

import click
import optuna

from search.commands.options import common, load_settings
from search.errors import UserError
from search.files import write_text
from search.pages.document import to_html
from search.pages.material import read
from search.pages.next_steps import options_of
from search.settings.settings import Settings
from search.text import shown

NAME = "report.html"


def write(settings: Settings, output: Path | None, options: str) -> Path:
    """Writes the report of the study, whole or not at all, and returns its path.

    `options` are those that the page's commands repeat. Raises UserError for a study that does not exist or is not
    ours, and for a place that cannot be written to.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    material = read(settings)
    path = output or settings.directory / NAME
    page = to_html(material, options)
    try:
        if output is None:
            path.parent.mkdir(parents=True, exist_ok=True)  # a study of a server may have no folder here
        write_text(path, page)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name another with --output") from error
    return path


@click.command()
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Default: report.html, in its folder.")
@common
def command(output: Path | None, **given: Any) -> None:
    """Write everything that a study has found into one HTML file: figures, sound, what to do next.

    It needs no network and no other file. A study that still runs may be reported, too.
    """
    settings = load_settings(given, shows=True)
    path = write(settings, output, options_of(given))
    print(f"Report: {shown(path)} ({path.stat().st_size / 1e6:.1f} MB)")
