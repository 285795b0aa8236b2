"""The cells of a table: bytes become lines, and lines rows of cells, with or without the marks of CSV."""

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from search.errors import UserError
from search.training.file_kinds import kind_of

AUDIO = re.compile(r"\.(wave?|flac|mp3|og[ga]|opus|m4a|aac|aiff?|webm)$", re.IGNORECASE)
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")
)  # fmt: skip
_QUOTED_LINES = 50  # that a text in quotation marks may have


@dataclass(frozen=True)
class Cells:
    """A row, with the line that it begins at and the characters that it consists of."""

    line: int
    cells: list[str]
    raw: str


def decoded(content: bytes, where: str) -> str:
    """The text of a table. Raises UserError that names the first byte, or the kind of file, that is no text."""
    if kind := kind_of(content[:400]):
        step = "run git lfs pull" if "Git" in kind else "save it as CSV in UTF-8"
        raise UserError(f"{where} is {kind}, not a table of text; {step}")
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), None)
    if encoding is None:
        even, odd = content[0:400:2].count(0), content[1:400:2].count(0)  # UTF-16 without its mark has many
        encoding = "utf-8" if not even + odd else "utf-16-le" if odd > even else "utf-16-be"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x} is not {encoding.removesuffix('-sig').upper()}"
        raise UserError(f"{where}, line {line}: {found}; save the table as UTF-8") from error


def split_rows(lines: Sequence[str], separator: str) -> tuple[list[Cells], list[int]]:
    """The rows, and the lines that have a quotation mark which encloses nothing.

    Lines without content are no rows; a text in quotation marks may have several lines.
    """
    rows: list[Cells] = []
    open_quotes, at = [], 0
    while at < len(lines):
        end, cells = _row(lines, at, separator)
        if cells is None:
            cells = lines[at].split(separator)
            open_quotes += [end] if any(cell.startswith('"') for cell in cells) else []
        if any(cell.strip() for cell in cells):
            rows.append(Cells(at + 1, cells, "\n".join(lines[at:end])))
        at = end
    return rows, open_quotes


def _row(lines: Sequence[str], at: int, separator: str) -> tuple[int, list[str] | None]:
    """Where the row ends that begins at line `at`, and its cells; its own end and None where it is no row of CSV.

    A quotation mark that another row would have to close encloses nothing.
    """
    named = 0
    for end in range(at + 1, min(at + _QUOTED_LINES, len(lines)) + 1):
        named += any(is_audio(cell.strip()) for cell in lines[end - 1].split(separator))
        if named > 1 and end > at + 1:
            break
        if cells := _csv("\n".join(lines[at:end]), separator):
            return end, cells
    return at + 1, None


def cells_of(line: str, separator: str) -> list[str]:
    return _csv(line, separator) or line.split(separator)


def _csv(row: str, separator: str) -> list[str] | None:
    """The cells as CSV has them; None for a quotation mark that does not enclose a whole cell."""
    try:
        return next(csv.reader([row], delimiter=separator, strict=True)) or [""]
    except csv.Error:
        return None


def is_audio(file: str | None) -> bool:
    return AUDIO.search(file or "") is not None
