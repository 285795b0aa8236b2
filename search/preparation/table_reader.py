"""Reads a table of clips as people write it, and says what it assumed; refuses, by line, what has two meanings.

A table has a column of audio files, one of texts, and perhaps one of speakers, in any order if a header names them.
Plain data; no torch.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from search.errors import UserError
from search.preparation.table_cells import MARKS, Cells, cells_of, decoded, is_audio, split_rows

WANTED = "audio_file|text|speaker_name"
NAMES = {  # of columns, as the tools that write tables call them, the clearest first
    "audio": (
        "audio_file", "audio", "audio_path", "audio_file_path", "audio_filename", "file_name", "file", "file_path",
        "path", "wav", "wavs", "wav_file", "wav_filename", "wav_path", "clip",
    ),
    "text": (
        "text", "transcription", "transcript", "normalized_transcription", "normalized_text", "sentence", "sentences",
        "caption", "utterance", "txt",
    ),
    "speaker": ("speaker_name", "speaker", "speaker_id", "client_id", "spk", "spk_id", "voice"),
}  # fmt: skip
SEPARATORS = {"|": "pipes", "\t": "tabs", ";": "semicolons", ",": "commas"}


@dataclass(frozen=True)
class TableRow:
    """A clip: its file as the table names it, what is said, and who says it."""

    file: str
    text: str | None  # None where the row ends before the text
    speaker: str | None  # None where the table has no such column


@dataclass(frozen=True)
class _Layout:
    separator: str
    columns: Mapping[str, int]  # of NAMES: its place in a row
    width: int  # cells per row
    header: list[str]  # normalised names; empty without a header


def read_table(content: bytes, where: str, assumed: list[str], left_out: list[str]) -> list[TableRow]:
    """The rows of the table `where`. Raises UserError that names the line, what was found and what is wanted.

    Adds sentences on what it assumed, and lines that name no clip, with the reason.
    """
    text = decoded(content, where).replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not text.strip():
        raise UserError(f"{where} is empty; write a line {WANTED}, and one for each clip")
    if re.fullmatch(r'"?sep=."?', lines[0].strip(" ")):  # Excel's name for the separator
        lines[0] = ""
    if b"\0" in content and not content.startswith(tuple(mark for mark, _ in MARKS)):
        assumed.append(f"{where}: it is read as UTF-16")
    layout = _layout(lines, where, assumed)
    rows, open_quotes = split_rows(lines, layout.separator)
    if layout.header:
        rows = [row for row in rows if _names(row.cells) != layout.header]
    if not rows:
        raise UserError(f"{where} names no clip: below its header it has no line")
    read, joined = _fit(_as_wide(rows, layout, where), layout, where, left_out)
    for numbers, said in (
        (open_quotes, "a quotation mark that does not enclose the whole text is read as a part of it"),
        (joined, f"a text that contains {layout.separator!r} is read whole"),
    ):
        if numbers:
            shown = ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")
            assumed.append(f"{where}: {said} (line {shown})")
    return read


def _layout(lines: Sequence[str], where: str, assumed: list[str]) -> _Layout:
    """By the header, or else by the audio files that the lines begin with."""
    first, line = next((i, line) for i, line in enumerate(lines, 1) if line.strip())
    shown = f"{where}, line {first}: {_short(line)}"
    for separator in SEPARATORS:
        cells = cells_of(line, separator)
        names = _names(cells)
        columns = _columns(names)
        if {"audio", "text"} <= columns.keys():
            _tell(assumed, where, separator, [f"{cells[at].strip()} is read as {NAMES[role][0]}"
                                              for role, at in columns.items()
                                              if names[at] != _names(NAMES[role])[0]], columns)  # fmt: skip
            return _Layout(separator, columns, len(names), names)
    for separator in "|\t":  # not those that prose has, too: a comma may then part columns or words
        rows = [row.cells for row in split_rows(lines, separator)[0]]
        if rows and 2 * sum(len(cells) > 1 and is_audio(cells[0].strip(" ")) for cells in rows) >= len(rows):
            return _without_header(rows, separator, shown, where, assumed)
    raise UserError(
        f"{shown}: neither a header like {WANTED} nor a clip like wavs/a.wav|what is said|speaker; for lines like"
        " LJ001-0001|text|text set data.formatter to ljspeech"
    )


def _without_header(
    rows: Sequence[Sequence[str]], separator: str, shown: str, where: str, assumed: list[str]
) -> _Layout:
    """Two columns are file and text; a third one is the speaker if it does not look like a text."""
    if not is_audio(rows[0][0].strip()):
        raise UserError(f"{shown}: a header whose names are not known; write {WANTED}")
    width = Counter(map(len, rows)).most_common(1)[0][0]
    last = [row[-1] for row in rows if len(row) == width]
    has_repeats = 2 * len(set(last)) <= len(last)  # several clips of each speaker
    is_name = has_repeats or not any(" " in value.strip() for value in last)
    if width > 3 or (width == 3 and not is_name):
        raise UserError(f"{shown}: {width} columns and no header that says which they are; write {WANTED} above")
    columns = {"audio": 0, "text": 1, **({"speaker": 2} if width == 3 else {})}
    _tell(assumed, where, separator, [f"it has no header and is read as {' and '.join(columns)}"], columns)
    return _Layout(separator, columns, width, [])


def _tell(assumed: list[str], where: str, separator: str, said: list[str], columns: Mapping[str, int]) -> None:
    """One sentence about the layout, unless it is the one that is wanted."""
    if separator != "|":
        said.insert(0, f"its columns are separated by {SEPARATORS[separator]}")
    if "speaker" not in columns:
        said.append("it has no column of speakers, so all clips count as one speaker's")
    if said:
        assumed.append(f"{where}: {'; '.join(said)}")


def _names(cells: Sequence[str]) -> list[str]:
    """As columns are compared: letters and digits, without case."""
    return [re.sub(r"[\W_]+", "", cell.casefold()) for cell in cells]


def _columns(names: Sequence[str]) -> dict[str, int]:
    """The place of each of NAMES that a header has."""
    known = {role: _names(names_of) for role, names_of in NAMES.items()}
    found = {role: next((name for name in known[role] if name in names), None) for role in NAMES}
    return {role: names.index(name) for role, name in found.items() if name is not None}


def _as_wide(rows: list[Cells], layout: _Layout, where: str) -> list[Cells]:
    """`rows`, without a separator that ends every line. Refuses a header that is shorter than every line: what it does
    not name would become a part of the texts.
    """
    width, last = layout.width, layout.width - 1
    if not layout.header or min(len(row.cells) for row in rows) <= width:
        return rows
    if layout.columns.get("speaker") == last:
        is_padded = all(len(row.cells) == width + 1 and not row.cells[width].strip() for row in rows)
        return [replace(row, cells=row.cells[:width]) for row in rows] if is_padded else rows
    is_prose = layout.separator in ",;" and all(row.cells[width].startswith(" ") for row in rows)
    if layout.columns["text"] == last and not is_prose:
        row = rows[0]
        found = f"{len(row.cells)} columns, and {width} in the header, as in every line"
        raise UserError(f"{where}, line {row.line}: {_short(row.raw)}: {found}; name all columns in the header")
    return rows


def _fit(rows: Sequence[Cells], layout: _Layout, where: str, left_out: list[str]) -> tuple[list[TableRow], list[int]]:
    """The rows, and the lines whose text was split by the separator, and is joined again."""
    audio, text, speaker = layout.columns["audio"], layout.columns["text"], layout.columns.get("speaker")
    speakers = _speakers(rows, layout)
    named = sum(is_audio(_at(row.cells, audio)) for row in rows)
    read: list[TableRow] = []
    joined: list[int] = []
    for row in rows:
        line, cells = row.line, row.cells
        shown = f"{where}, line {line}: {_short(row.raw)}"
        if len(cells) > layout.width:
            whole = _whole(row, layout, speakers)
            if whole is None:
                wanted = f"put the text into quotation marks if {layout.separator!r} belongs to it"
                raise UserError(f"{shown}: {len(cells)} columns instead of {layout.width}; {wanted}")
            cells = whole
            joined += [line] if layout.separator in cells[text] else []
        file, words, name = (_at(cells, at) for at in (audio, text, speaker))
        if not file:
            left_out.append(f"{where}, line {line}: it names no audio file")
        elif not is_audio(file) and 2 * named > len(rows):
            wanted = "a row begins with its file, and a text has one line or stands in quotation marks"
            raise UserError(f"{shown}: {_short(file)} is no audio file; {wanted}")
        else:
            spoken = None if words is None else " ".join(words.split("\n"))
            read.append(TableRow(file, spoken, name if speaker is None else name or ""))
    return read, joined


def _speakers(rows: Sequence[Cells], layout: _Layout) -> set[str]:
    """Those of rows with the right number of columns, and what ends several rows that have more."""
    ends = Counter(row.cells[-1] for row in rows if len(row.cells) >= layout.width)
    regular = {_at(row.cells, layout.columns.get("speaker")) or "" for row in rows if len(row.cells) == layout.width}
    return regular | {end for end, count in ends.items() if count > 1 and end and end == end.strip()}


def _whole(row: Cells, layout: _Layout, speakers: set[str]) -> list[str] | None:
    """The cells of a row that has too many, with those of its text joined; None where that is not certain.

    It is certain where nothing follows the text, or only a speaker who has regular rows, too.
    """
    text, last = layout.columns["text"], layout.width - 1
    cells, parts, more = row.cells, row.raw.split(layout.separator), len(row.cells) - layout.width
    is_speaker = layout.columns.get("speaker") == last == text + 1
    is_padded = not any(cell.strip() for cell in cells[layout.width :])  # a separator at the end of the line
    if is_padded and is_speaker and cells[last].strip() in speakers and "" not in speakers:
        return cells[: layout.width]
    is_certain = bool(layout.header) if text == last else is_speaker and cells[-1].strip() in speakers
    if not is_certain or len(parts) != len(cells):
        return None
    return [*cells[:text], layout.separator.join(parts[text : text + more + 1]), *cells[text + more + 1 :]]


def _at(cells: Sequence[str], place: int | None) -> str | None:
    return cells[place].strip() if place is not None and place < len(cells) else None


def _short(text: str) -> str:
    """In quotation marks, cut to a length that fits into a line."""
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
