"""The URL of a study's database: what is allowed, and how it is shown."""

import re
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from search.errors import UserError


def check_storage(storage: str) -> None:
    """Raises UserError, which shows no password."""
    shown = safe_url(storage)
    try:
        url = make_url(storage)
        if url.drivername != "postgres":  # an old name, which is translated when the storage is opened
            url.get_dialect()
    except (ArgumentError, ImportError, ValueError) as error:
        raise UserError(
            f"study.storage is {shown!r}, which is not a database URL of SQLAlchemy; give one like"
            " sqlite:///study.db or postgresql+psycopg://user@host/database"
        ) from error
    if url.drivername.partition("+")[0] not in ("sqlite", "postgresql", "postgres"):
        raise UserError(f"study.storage is {shown!r}; it must be of sqlite or postgresql")
    if not url.drivername.startswith("sqlite"):
        return
    if url.database in (None, "", ":memory:"):
        raise UserError("study.storage is in memory, which slots cannot share; name a file: sqlite:///study.db")
    folder = Path(url.database or "").parent
    if not folder.is_dir():
        raise UserError(f"study.storage is {shown}, but {folder} is not a folder; create it first")


def safe_url(url: str) -> str:
    """`url` for a screen or a file: passwords, also in query parameters, are replaced by ***."""
    hidden = url
    if not url.startswith("sqlite") and "@" in url:
        # From the first colon to the last @: a password may contain any character, escaped or not.
        hidden = re.sub(r"(://[^:]*):.*@", r"\1:***@", url)
    elif not url.startswith("sqlite"):
        # If the @ was forgotten, what is in place of a port is a password.
        hidden = re.sub(r"(://[^:/?\[]*):(?!\d*(?:[/?]|$)).*", r"\1:***", url)
    return re.sub(r"([?&][^=&]*(?:password|passwd|pwd|secret)[^=&]*=)[^&]*", r"\1***", hidden, flags=re.IGNORECASE)
