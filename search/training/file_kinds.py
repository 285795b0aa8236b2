"""What a file of a model really is, told from its first bytes: downloads leave web pages, pointers and halves."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

START = 4096  # bytes that are looked at
AGAIN = "download it again, for XTTS-v2 by study.py fetch-base"
UNPACK = "unpack it, and name the folder with its files"

_WEB_PAGE = re.compile(rb"<(!doctype html|html|head|body|script|meta|title)\b", re.IGNORECASE)
_POINTER = b"version https://git-lfs."
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd")  # gzip to zstandard


class WrongKind(Exception):
    """A file that is not what its name says. The message says what it is, and after a semicolon the next step."""


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises WrongKind."""
    _refuse_foreign(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise WrongKind(f"{_fault(error)}; {AGAIN}".replace("SIZE", _size(path))) from error


def _fault(error: Exception) -> str:
    """Why JSON cannot be read, with SIZE for the size of its file."""
    if isinstance(error, UnicodeDecodeError):
        is_cut = error.reason == "unexpected end of data"
        return "is cut short, at SIZE" if is_cut else "is not text in UTF-8, SIZE"
    if isinstance(error, json.JSONDecodeError):
        text = error.doc.rstrip()
        is_cut = error.pos >= len(text) or (text[0] in "{[" and text[-1] not in "}]")
        return "is cut short, at SIZE" if is_cut else f"is not valid JSON (line {error.lineno})"
    return "is not valid JSON, SIZE"


def refuse_no_weights(path: Path) -> None:
    """Raises WrongKind for a file that cannot hold weights in torch's format."""
    start = _refuse_foreign(path)
    size = _size(path)
    if start.startswith(b"PK"):
        if not zipfile.is_zipfile(path):  # the directory of a ZIP archive is at its end
            raise WrongKind(f"is cut short, at {size}; {AGAIN}")
        with zipfile.ZipFile(path) as archive:
            if not any(name.endswith("data.pkl") for name in archive.namelist()):
                raise WrongKind(f"is a ZIP archive of other files, {size}; {UNPACK}")
    elif start[8:10] in (b'{"', b"{}") and int.from_bytes(start[:8], "little") < path.stat().st_size:
        raise WrongKind(f"is a safetensors file, {size}; name a base in coqui's format (.pth)")
    elif not start.startswith(b"\x80"):  # of a pickle
        raise WrongKind(f"is {_text_kind(start)}, {size}; {AGAIN}")


def _refuse_foreign(path: Path) -> bytes:
    """The first bytes of `path`. Raises WrongKind where they are of a kind that no file of a model is."""
    try:
        with open(path, "rb") as file:
            start = file.read(START)
    except FileNotFoundError as error:
        what = "is a link to a file that is gone" if path.is_symlink() else "is missing"
        raise WrongKind(f"{what}; {AGAIN}") from error
    except IsADirectoryError as error:
        raise WrongKind("is a folder; a file is needed") from error
    except OSError as error:
        raise WrongKind(f"cannot be read: {error.strerror}; check its permissions and its disk") from error
    text, size = start.removeprefix(b"\xef\xbb\xbf").lstrip(), _size(path)
    if not start:
        raise WrongKind(f"is empty; {AGAIN}")
    if text.startswith(_POINTER):
        raise WrongKind(f"is a Git LFS pointer, {size}; run git lfs pull in its repository, or {AGAIN}")
    if _WEB_PAGE.match(text) or (text.startswith(b"<") and _WEB_PAGE.search(text)):
        raise WrongKind(f"is a web page, {size}; {AGAIN}")
    if text.startswith(b"<"):
        raise WrongKind(f"is an XML document, such as a server's error, {size}; {AGAIN}")
    if start.startswith(_PACKED):
        raise WrongKind(f"is a compressed archive, {size}; {UNPACK}")
    if not start.strip(b"\0"):
        raise WrongKind(f"begins with zeros only, as a broken download leaves it, {size}; {AGAIN}")
    return start


def _text_kind(start: bytes) -> str:
    if not start.isascii() or b"\0" in start:
        return "no file of torch"
    return "a JSON text" if start.lstrip().startswith((b"{", b"[")) else "a text"


def _size(path: Path) -> str:
    size = path.stat().st_size
    unit, name = next(((u, n) for u, n in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")) if size >= u), (1, "bytes"))
    return f"{size / unit:.2g} {name}" if unit > 1 and size / unit < 10 else f"{size / unit:.0f} {name}"
