"""Which clips training uses and which it leaves out, and rows of the table that are not what they seem."""

import os
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from search.check.judgement import Dropped, Finding, Part, Speaker, clips, plural
from search.check.survey import PARTS, Row, Survey
from search.settings.sections import MINIATURE
from search.settings.settings import Settings

AREA = "data"
_AUDIO_NAME = re.compile(r"\.(wav|flac|mp3|ogg|opus|m4a)\b", re.IGNORECASE)
_SPECIAL = re.compile(r"\[(STOP|START|UNK|SPACE|[a-z]{2,3}(-[a-z]{2})?)\]", re.IGNORECASE)
NEXT_STEPS = {  # by the start of the reason
    "no text in the table": "write the text, or delete the row: coqui trains on the word None",
    "empty text": "write what is said, or delete the row",
    "more than data.max_text_tokens": "cut the clip in two, or raise data.max_text_tokens as far as the base allows",
    "shorter than": "join it with its neighbour, or delete the row",
    "longer than": "cut the clip in two, or raise data.max_audio_seconds as far as the base allows",
    "the text holds [STOP]": "take [STOP] out of the text",
    "a letter that": "set base.extend_vocabulary, or mend the text",
    "audio cannot be read": "export the file again from its source",
    "audio holds NaN": "export the file again from its source",
}


def judge(settings: Settings, survey: Survey) -> list[Finding]:
    """Errors for a part without clips and for rows that swallow others; warnings for every clip that is left out."""
    return [*_empty_parts(survey), *_swallowed(survey), *_left_out(survey), *_absent(survey), *_rows(settings, survey)]


def parts(survey: Survey) -> list[Part]:
    made = []
    for name in PARTS:
        used = survey.part(name)
        dropped = len(survey.part(name, used=False)) - len(used)
        made.append(Part(name, len(used), sum(map(survey.seconds, used)), dropped))
    return made


def speakers(survey: Survey) -> list[Speaker]:
    """By name."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: {part: [] for part in PARTS})
    for row in survey.rows:
        if not row.dropped:
            found["" if has_no_speaker(row) else row.speaker][row.part].append(survey.seconds(row))
    return [
        Speaker(name, len(s["train"]), sum(s["train"]), len(s["eval"]), sum(s["eval"]))
        for name, s in sorted(found.items())
    ]


def dropped(survey: Survey) -> list[Dropped]:
    """Rows that this project leaves out, or stock does, or whose audio is not there."""
    rows = [
        Dropped(row.part, row.audio_file, row.dropped, row.stock, row.speaker, row.text)
        for row in survey.rows
        if row.dropped or row.stock
    ]
    gone = "the file does not exist"
    return rows + [Dropped(table, file, gone, gone, "", "") for file, table in survey.absent]


def _empty_parts(survey: Survey) -> list[Finding]:
    findings = []
    for name in PARTS:
        every = survey.part(name, used=False)
        if not survey.part(name):
            first = next((f"; the first: {row.audio_file}: {row.dropped}" for row in every), "")
            message = f"no clip of {len(every):,} is left for {name}{first}"
            findings.append(Finding("error", AREA, message, "mend the clips that are left out"))
    return findings


def _left_out(survey: Survey) -> list[Finding]:
    """One warning a reason, and an info a reason for what only coqui's dataset drops."""
    ours: dict[str, list[tuple[str, str]]] = defaultdict(list)
    theirs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in survey.rows:
        if row.dropped:
            kind, detail = split_reason(row.dropped)
            ours[kind].append((row.audio_file, detail))
        elif row.stock and survey.base.language_listed:  # otherwise it is said once, of all clips
            kind, detail = split_reason(row.stock)
            theirs[kind].append((row.audio_file, detail))
    used = sum(not row.dropped for row in survey.rows)
    findings = [
        Finding("warning", AREA, f"{clips(len(files))} left out: {kind}", _next_step(kind), files)
        for kind, files in sorted(ours.items(), key=lambda item: -len(item[1]))
    ]
    out = sum(map(len, ours.values()))
    if out > used:
        message = f"more clips are left out ({out:,}) than used ({used:,})"
        findings.insert(0, Finding("warning", AREA, message, "mend the most frequent reason first"))
    for kind, files in sorted(theirs.items(), key=lambda item: -len(item[1])):
        message = (
            f"{clips(len(files))} that coqui's own code would drop in silence, and that are trained on here: {kind}"
        )
        findings.append(Finding("info", AREA, message, "", files))
    return findings


def split_reason(reason: str) -> tuple[str, str]:
    """(what it has in common with others, what is its own) of why a clip is left out."""
    head, _, detail = reason.partition(": ")
    number = re.match(r"([\d.]+ (?:s|text tokens)), ", head)
    return (head[number.end() :], number[1]) if number else (head, detail)


def _next_step(kind: str) -> str:
    return next((step for start, step in NEXT_STEPS.items() if kind.startswith(start)), "mend it, or delete the row")


def _absent(survey: Survey) -> list[Finding]:
    findings = []
    if survey.absent:
        message = f"{plural(len(survey.absent), 'row')} whose audio file does not exist; coqui tells only their number"
        files = [(file, table) for file, table in survey.absent]
        findings.append(Finding("warning", AREA, message, "mend the paths, or delete the rows", files))
    if survey.table_remarks:
        message = f"the table is not regular: {plural(len(survey.table_remarks), 'remark')}"
        files = [("", remark) for remark in survey.table_remarks]
        findings.append(Finding("warning", AREA, message, "give each row the columns of the first line", files))
    return findings


def _swallowed(survey: Survey) -> list[Finding]:
    """A quotation mark that opens a cell goes on to the next one, over line ends: Python's csv reads it so."""
    files = [
        (row.audio_file, f"and {_lines(row.text)} more")
        for row in survey.rows
        if "\n" in row.text and "|" in row.text and _AUDIO_NAME.search(row.text)
    ]
    if not files:
        return []
    return [
        Finding(
            "error",
            AREA,
            "a quotation mark at the start of a text swallows the rows after it, which are lost:"
            f" {plural(len(files), 'time')}",
            'write the mark twice within quotes ("""like this"" he said"), or use other marks (“ ”)',
            files,
        )
    ]


def _lines(text: str) -> str:
    count = sum(bool(_AUDIO_NAME.search(line)) and "|" in line for line in text.splitlines()[1:])
    return f"{count} row{'' if count == 1 else 's'}"


def _rows(settings: Settings, survey: Survey) -> list[Finding]:
    """Warnings for rows that are trained on and may not be meant so."""
    root = os.path.normpath(str(settings.data.path))
    outside: Callable[[Row], bool] = lambda row: settings.data.path != MINIATURE and _outside(row.audio_file, root)  # noqa: E731
    judged: tuple[tuple[Callable[[Row], bool], str, str], ...] = (
        (has_no_speaker, "without a speaker", "name the speaker: of each a share is held out"),
        (outside, "outside data.path", "keep the audio in the folder of the data, which others get whole"),
        (
            lambda row: any(_is_control(sign) for sign in row.text),
            "with control characters in the text",
            "take them out: nobody says them",
        ),
        (
            lambda row: _SPECIAL.search(row.text) is not None,
            "with the name of a special token in the text, like [STOP]",
            "take it out: nobody says it, and it may end the sentence",
        ),
    )
    findings = []
    for holds, what, step in judged:
        files = [(row.audio_file, "") for row in survey.rows if holds(row)]
        if files:
            findings.append(Finding("warning", AREA, f"{clips(len(files))} {what}", step, files))
    return findings


def has_no_speaker(row: Row) -> bool:
    """A missing column is None, which a survey writes as a word."""
    return row.speaker.strip() in ("", "None")


def _is_control(character: str) -> bool:
    return ord(character) < 32 or 127 <= ord(character) < 160 or character == "�"


def _outside(file: str, root: str) -> bool:
    return not Path(os.path.normpath(file)).is_relative_to(root)
