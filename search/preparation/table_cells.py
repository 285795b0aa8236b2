"""The cells of a table: bytes become lines, and lines rows of cells, with or without the marks of CSV."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass

from search.errors import UserError

AUDIO = re.compile(r"\.(wave?|flac|mp3|og[ga]|opus|m4a|aac|aiff?|webm)$", re.IGNORECASE)
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
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
    kinds = {
        b"PK\x03\x04": "a spreadsheet", b"\xd0\xcf\x11\xe0": "a spreadsheet", b"RIFF": "an audio file",
        b"PAR1": "a Parquet file", b"%PDF-": "a PDF file", b"{\\rtf": "a document of a word processor",
        b"\x1f\x8b": "a compressed file", b"<": "a web page", b"{": "JSON", b"[{": "JSON",
        b"version https://git-lfs.": "a Git LFS pointer",
    }  # fmt: skip
    begin = re.sub(rb"\[\s+\{", b"[{", content[:400].removeprefix(codecs.BOM_UTF8).lstrip(), count=1)
    if kind := next((kind for start, kind in kinds.items() if begin.startswith(start)), None):
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
        found = f"byte 0x{content[error.start]:02x}" if error.start < len(content) else "its end"
        name = encoding.removesuffix("-sig").upper()
        raise UserError(f"{where}, line {line}: {found} is not {name}; save the table as UTF-8") from error


def split_rows(lines: Sequence[str], separator: str) -> tuple[list[Cells], list[int]]:
    """The rows, and the lines with an open quotation mark.

    Lines without content are no rows; a text in quotation marks may have several lines.
    """
    rows: list[Cells] = []
    open_quotes, at = [], 0
    while at < len(lines):
        cells, is_open = _parsed(lines[at], separator)
        end = _end_of_quoted(lines, at, separator) if is_open else at + 1
        if is_open and end == at + 1:
            open_quotes.append(end)
        raw = "\n".join(lines[at:end])
        if end > at + 1:
            cells = cells_of(raw, separator)
        if any(cell.strip() for cell in cells):
            rows.append(Cells(at + 1, cells, raw))
        at = end
    return rows, open_quotes


def _end_of_quoted(lines: Sequence[str], at: int, separator: str) -> int:
    """Where the row ends that begins at line `at`; at its own end if no later mark closes it before the next row."""
    named = 0
    for end in range(at + 1, min(at + _QUOTED_LINES, len(lines)) + 1):
        named += any(is_audio(cell.strip()) for cell in cells_of(lines[end - 1], separator))
        if named > 1:
            break
        if not _parsed("\n".join(lines[at:end]), separator)[1]:
            return end
    return at + 1


def cells_of(line: str, separator: str) -> list[str]:
    return _parsed(line, separator)[0]


def _parsed(line: str, separator: str) -> tuple[list[str], bool]:
    """The cells as CSV has them, and whether one begins with a quotation mark that closes nowhere: a part of it."""
    if '"' not in line:
        return line.split(separator), False
    edge = re.escape(separator)
    quoted = re.compile(rf'"((?:[^"]|"")*+)" *(?={edge}|\Z)')
    plain = re.compile(rf"[^{edge}]*")
    cells, at, is_open = [], 0, False
    while True:
        if found := quoted.match(line, at):
            cells.append(found[1].replace('""', '"'))
        else:
            found = plain.match(line, at)
            assert found is not None
            cells.append(found[0])
            is_open |= found[0].startswith('"')
        if found.end() >= len(line):
            return cells, is_open
        at = found.end() + 1


def is_audio(file: str | None) -> bool:
    return AUDIO.search(file or "") is not None
