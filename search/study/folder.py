"""A study's folder: made, not another's, and searched by one process at a time where the database is a file in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.errors import UserError
from search.files import lock
from search.settings.settings import Settings, safe_url
from search.study import storage
from search.study.server import parse


def refuse_closed(settings: Settings) -> None:
    """Raises UserError when nothing can be made in a folder that a search writes to. Creates nothing."""
    folders = [("study.directory", settings.directory)]
    if (given := settings.study.artifacts) and "://" not in given:
        folders.append(("study.artifacts", Path(given)))
    if settings.is_sqlite:
        folders.append(("study.storage", Path(parse(settings.storage_url).database or "").parent))
    for field, folder in folders:
        above = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
        if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
            why = "may not be written to" if above.is_dir() else "is no folder"
            raise UserError(f"{field} {folder} cannot be written to: {above} {why}; name another folder")


def make_folder(settings: Settings) -> None:
    """The study's folder. Raises UserError."""
    refuse_closed(settings)
    try:
        settings.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # such as too long a name
        raise UserError(f"study.directory {settings.directory} cannot be made ({error.strerror})") from error


def refuse_strange_folder(settings: Settings) -> None:
    """Raises UserError when the study is new and its folder holds trials, of a database that is gone or elsewhere."""
    trials = settings.directory / "trials"
    if trials.exists() and any(trials.iterdir()) and not storage.exists(settings):
        raise UserError(
            f"{trials} holds trials, but {safe_url(settings.storage_url)} has no study {settings.study.name!r}; move"
            " the folder away, name the study's own --storage, or start another with --study"
        )


@contextmanager
def study_lock(settings: Settings) -> Iterator[None]:
    """One search at a time on an SQLite study; the kernel frees the lock whatever ends the process.

    On a server searches share the study, and may share its folder: each trial has one of its own.
    """
    if not settings.is_sqlite:
        yield
        return
    try:
        held = lock(settings.directory / ".lock")
    except BlockingIOError as error:
        raise UserError(
            f"study {settings.study.name!r} is being searched by another process on this machine; watch it with"
            " study.py status, start another study with --study, or share one through PostgreSQL (--storage)"
        ) from error
    with held:
        yield
