"""`report.html`: a whole study in one file that needs no other."""

from pathlib import Path

import optuna

from search.atomic import write_text
from search.errors import UserError
from search.settings import Settings
from search.study_report.material import read
from search.study_report.page import to_html

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
