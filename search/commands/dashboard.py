"""`study.py dashboard`: Optuna's dashboard behind a guard."""

from pathlib import Path
from typing import Any

import click

from search.commands.options import common, load_settings
from search.pages import dashboard


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address needs a password.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free port.")
@click.option("--writable", is_flag=True, help="Let the page change and delete: notes, trials, whole studies.")
@click.option("--password-file", type=click.Path(path_type=Path), metavar="FILE", help="A file with the password.")
@common
@click.pass_context
def command(
    context: click.Context, host: str, port: int, writable: bool, password_file: Path | None, **given: Any
) -> None:
    """Serve Optuna's dashboard of the study, with notes, figures and sound, until Ctrl-C.

    It may be started before the study. The password comes from XTTS_STUDY_DASHBOARD_PASSWORD or --password-file.
    """
    settings = load_settings(given, shows=True)
    try:
        dashboard.serve(settings, host, port, writable, password_file, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        context.exit(130)
