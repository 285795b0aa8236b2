"""The URL of a study's database: what is allowed, and how it is shown. Nothing of a password ever is."""

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, unquote_plus

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from search.errors import UserError
from search.text import without_passwords

_PREFIX = re.compile(r"(postgres|sqlite)(?:ql)?(?:\+[\w.-]*)?://", re.IGNORECASE)
_FILE = re.compile(r"sqlite:///(?!:memory:)[^?]+(\?timeout=\d+)?")  # slots share it, so it is not in memory
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SECRET = re.compile("password|passwd|pwd|secret", re.IGNORECASE)  # in the name of a parameter
_NAMED = re.compile("([^/?&=]*?)(?:=|%3d)", re.IGNORECASE)  # a parameter, also one within the value of another
# No @ follows a URL in an error: all that stands before it might be of a password.
_ENCODED = "write its special characters percent-encoded (an at sign as %40), or leave it out and set PGPASSWORD"
_SQLITE = "a file in a folder that exists, like sqlite:///study.db; ?timeout=SECONDS, a whole number, is its one option"
_FORMS = "sqlite:///study.db or postgresql://host/database"


def plain_url(given: str) -> str:
    """`given` without blanks and quotes around it, and without the name of a driver: there is one for each database.

    A password that was hidden, as in the settings that a search leaves, is left to PGPASSWORD.
    """
    url = given.strip().strip("\"'").strip()
    url = re.sub(r"^([^:]*://[^:@]*):\*\*\*@", r"\1@", url)
    found = _PREFIX.match(url)
    if found is None:
        return url
    return ("sqlite://" if found[1].lower() == "sqlite" else "postgresql://") + url[found.end() :]


def check_storage(storage: str) -> None:
    """Raises UserError, which shows no password, for a `plain_url` that is of no database for studies."""
    if not _SCHEME.match(storage):
        raise UserError(f"study.storage is not the URL of a database; give one like {_FORMS}")
    if fault := _fault(storage):
        raise UserError(f"study.storage is {safe_url(storage)!r}, {fault}")


def _fault(storage: str) -> str | None:
    if not storage.startswith(("sqlite://", "postgresql://")):
        return f"which must be of sqlite or postgresql, like {_FORMS}"
    if not storage.isprintable() or "\0" in unquote(storage):
        return "which contains a character that is not printed; write the URL anew"
    try:
        url = make_url(storage)
    except (ArgumentError, ValueError):
        url = None
    if storage.startswith("sqlite"):
        fits = url and _FILE.fullmatch(storage) and _is_file(Path(url.database or ""))
        return None if fits else f"which must be {_SQLITE}"
    if storage.count("@") > 1:
        return f"which has more than one at sign. If it has a password, {_ENCODED}"
    if url is None or not 0 < (url.port or 5432) < 65536:
        several = ". Several hosts are written ?host=one:5432&host=two:5432" if "," in _parts(storage)[2] else ""
        return f"which has no port from 1 to 65535. If it has a password, {_ENCODED}{several}"
    return None


def _is_file(path: Path) -> bool:
    """Whether it is a file, or could become one."""
    with suppress(OSError):  # a name that is too long, or a folder that may not be looked into
        return path.parent.is_dir() and (path.is_file() or not path.exists())
    return False


def safe_url(url: str) -> str:
    """`url` for a screen or a file: *** from the first colon after its scheme to its last @, and after "password=".

    Where there is no @, it was forgotten if no port follows the colon: all is *** then. All that follows the name of a
    secret parameter may be of a password with an & in it.
    """
    if url.startswith("sqlite:///"):
        return url  # a path
    user, _, place = _parts(url)
    begin = _secret_begins(place)
    place, hidden = place[:begin], "***" if place[begin:] else ""
    if "@" not in user and not place.startswith("["):
        place = re.sub(r"^([^:/?]*):(?!\d+(?:[/?]|$)).*", r"\1:***", place, flags=re.DOTALL)
    return f"{user}{place}{'' if place.endswith('***') else hidden}"


def without_secrets(text: str, url: str) -> str:
    """`text`, which a driver may have said, with *** for the secrets of `url`; short ones only where they are words."""
    _, password, place = _parts(url)
    value = place[_secret_begins(place) :]
    secrets = {
        form
        for secret in (password or "", value, *re.split("[&=]", value))
        for form in (secret, unquote(secret), unquote_plus(secret))
    }
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


def is_secret(name: str) -> bool:
    """Whether the value of a parameter of this name is shown nowhere."""
    return bool(_SECRET.search(name))


def _secret_begins(place: str) -> int:
    """Where the value of the first secret parameter begins; the length of `place` without one."""
    found = (named.end() for named in _NAMED.finditer(place) if is_secret(unquote_plus(named[1])))
    return next(found, len(place))
