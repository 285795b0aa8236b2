"""The URL of a study's database: what is allowed, and how it is shown. Nothing of a password ever is."""

import re
from pathlib import Path
from urllib.parse import unquote, unquote_plus

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from search.errors import UserError
from search.text import without_passwords

_PREFIX = re.compile(r"(postgres|sqlite)(?:ql)?(?:\+[\w.-]*)?://", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SECRET = re.compile("password|passwd|pwd|secret", re.IGNORECASE)  # in the name of a parameter
# No @ follows a URL in an error: all that stands before it might be of a password.
_ENCODED = "write its special characters percent-encoded (an at sign as %40), or leave it out and set PGPASSWORD"
_FORMS = "sqlite:///study.db or postgresql://host/database"


def plain_url(given: str) -> str:
    """`given` without blanks around it, and without the name of a driver: there is one for each database.

    A password that was hidden, as in the settings that a search leaves, is left to PGPASSWORD.
    """
    url = given.strip().replace(":***@", "@")
    found = _PREFIX.match(url)
    if found is None:
        return url
    return ("sqlite://" if found[1].lower() == "sqlite" else "postgresql://") + url[found.end() :]


def check_storage(storage: str) -> None:
    """Raises UserError, which shows no password, for a `plain_url` that is of no database for studies."""
    shown = safe_url(storage)
    if not _SCHEME.match(storage):
        raise UserError(f"study.storage is not the URL of a database; give one like {_FORMS}")
    if not storage.startswith(("sqlite://", "postgresql://")):
        raise UserError(f"study.storage is {shown!r}; it must be of sqlite or postgresql, like {_FORMS}")
    if not storage.isprintable() or "\0" in unquote(storage):
        raise UserError(f"study.storage {shown!r} contains a character that is not printed; write the URL anew")
    try:
        url = make_url(storage)
    except (ArgumentError, ValueError):
        url = None
    if storage.startswith("postgresql"):
        if storage.count("@") > 1:
            raise UserError(f"study.storage {shown} has more than one at sign. If it has a password, {_ENCODED}")
        if url is None or not 0 < (url.port or 5432) < 65536:
            raise UserError(f"study.storage {shown} has no port from 1 to 65535. If it has a password, {_ENCODED}")
        return
    if url is None or not storage.startswith("sqlite:///") or url.database in (None, "", ":memory:"):
        raise UserError(f"study.storage {shown} names no file that slots could share; give one like sqlite:///study.db")
    folder = Path(url.database).parent
    if not folder.is_dir():
        raise UserError(f"study.storage is {shown}, but {folder} is not a folder; create it first")


def safe_url(url: str) -> str:
    """`url` for a screen or a file: *** from the first colon after its scheme to its last @, and for secret parameters.

    Where there is no @, it was forgotten if no port follows the colon: all is *** then.
    """
    if url.startswith("sqlite:///"):
        return url  # a path
    user, _, place = _parts(url)
    if "@" not in user and not place.startswith("["):
        place = re.sub(r"^([^:/?]*):(?!\d+(?:[/?]|$)).*", r"\1:***", place, flags=re.DOTALL)
    place, mark, query = place.partition("?")
    parameters = (f"{name}{equals}{'***' if is_secret else value}" for name, equals, value, is_secret in _query(query))
    return f"{user}{place}{mark}{'&'.join(parameters)}"


def without_secrets(text: str, url: str) -> str:
    """`text`, which a driver may have said, with *** for the secrets of `url`; short ones only where they are words."""
    _, password, place = _parts(url)
    values = [value for *_, value, is_secret in _query(place.partition("?")[2]) if is_secret]
    secrets = {form for secret in (password or "", *values) for form in (secret, unquote(secret), unquote_plus(secret))}
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        pattern = re.escape(secret)
        text = re.sub(pattern if len(secret) > 3 else rf"(?<!\w){pattern}(?!\w)", "***", text)
    return without_passwords(text)


def _parts(url: str) -> tuple[str, str | None, str]:
    """(what may be shown up to the last @, the password if there is one, what follows that @)."""
    found = _SCHEME.match(url)
    begin = found.end() if found else 0
    user, at, place = url[begin:].rpartition("@")
    name, colon, password = user.partition(":")
    shown = f"{url[:begin]}{name}{':***' if colon else ''}{at}"
    return shown, password if colon else None, place


def _query(query: str) -> list[tuple[str, str, str, bool]]:
    """(name, "=", value, is it a secret) of each parameter, as it is written."""
    parts = [part.partition("=") for part in query.split("&")]
    return [(*part, bool(part[1] and _SECRET.search(unquote_plus(part[0])))) for part in parts]
