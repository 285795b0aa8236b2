"""What a file really is, told from its first bytes: downloads leave web pages, pointers and halves."""

import codecs
import json
import zipfile
from pathlib import Path
from typing import Any

AGAIN = "download it again, for XTTS-v2 by study.py fetch-base"
_POINTER, _PACKED = "a Git LFS pointer", "a compressed archive"
_KINDS = {  # by the first bytes, without a byte order mark and white space
    "a web page": (b"<",), "JSON": (b"{", b"[{", b"[\n", b"[\r"), _POINTER: (b"version https://git-lfs.",),
    "a Parquet file": (b"PAR1",), "a spreadsheet or an archive": (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"),
    _PACKED: (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd"),
}  # fmt: skip
_STEPS = {_POINTER: f"run git lfs pull in its repository, or {AGAIN}", _PACKED: "unpack it, and name its content"}


class WrongKind(Exception):
    """A file that is not what its name says. The message says what it is, and after a semicolon the next step."""


def kind_of(start: bytes) -> str | None:
    """What a file is that begins so; None where that is not known."""
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    return next((kind for kind, marks in _KINDS.items() if text.startswith(marks)), None)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises WrongKind."""
    if (kind := kind_of(_start_of(path))) != "JSON" and kind is not None:
        raise _wrong(kind, path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        line = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise _wrong(f"cut short, or not JSON in UTF-8{line}", path) from error


def refuse_no_weights(path: Path) -> None:
    """Raises WrongKind for a file that cannot hold weights in torch's format."""
    start = _start_of(path)
    names = _packed(path)
    if names is not None:
        if not any(name.endswith("data.pkl") for name in names):
            raise _wrong(_PACKED, path)
    elif start.startswith(b"PK"):  # the directory of a ZIP archive is at its end
        raise _wrong("cut short", path)
    elif not start.startswith(b"\x80"):  # of a pickle
        raise _wrong(kind_of(start) or "no file of torch", path)


def _packed(path: Path) -> list[str] | None:
    """Names of the files in a ZIP archive; None where it is none. Raises WrongKind for a damaged one."""
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:  # the second: of a later ZIP version
        raise _wrong("damaged", path) from error


def _start_of(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(400)
    except OSError as error:
        raise WrongKind(f"cannot be read ({error.strerror}); {AGAIN}") from error


def _wrong(kind: str, path: Path) -> WrongKind:
    return WrongKind(f"is {kind}, {path.stat().st_size:,} bytes; {_STEPS.get(kind, AGAIN)}")
