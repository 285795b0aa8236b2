"""Which clips training uses and which it leaves out, and rows of the table that are not what they seem."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from search.check.judgement import Finding, Part, Speaker, about, plural
from search.check.survey import PARTS, Row, Survey
from search.settings.sections import MINIATURE
from search.settings.settings import Settings

AREA = "data"
_SPECIAL = re.compile(r"\[(STOP|START|UNK|SPACE|[a-z]{2,3}(-[a-z]{2})?)\]", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]")
NEXT_STEPS = {  # by the start of the reason
    "the file does not exist": "correct the path, or delete the row",
    "no text in the table": "write the text, or delete the row: coqui trains on the word None",
    "empty text": "write what is said, or delete the row",
    "more than data.max_text_tokens": "cut the clip in two, or raise data.max_text_tokens as far as the base allows",
    "shorter than": "join it with its neighbour, or delete the row",
    "longer than": "cut the clip in two, or raise data.max_audio_seconds as far as the base allows",
    "the text holds [STOP]": "take [STOP] out of the text",
    "a letter that": "set base.extend_vocabulary, or correct the text",
    "audio cannot be read": "export the file again from its source",
    "audio holds NaN": "export the file again from its source",
}


def judge(settings: Settings, survey: Survey) -> Iterator[Finding]:
    """Errors for a part without clips; warnings for every clip that is left out; infos on how tables were read."""
    yield from _empty_parts(survey)
    yield from _left_out(survey)
    if survey.table_remarks:
        message = f"{plural(len(survey.table_remarks), 'line')} of the tables left out, or read by coqui with a warning"
        step = "give each row the columns of the first line"
        yield Finding("warning", AREA, message, step, [("", remark) for remark in survey.table_remarks])
    yield from _rows(settings, survey)
    yield from (Finding("info", AREA, sentence) for sentence in survey.assumed)


def parts(survey: Survey) -> list[Part]:
    used = {name: survey.part(name) for name in PARTS}
    return [
        Part(name, len(rows), sum(map(survey.seconds, rows)), len(survey.part(name, used=False)) - len(rows))
        for name, rows in used.items()
    ]


def speakers(survey: Survey) -> list[Speaker]:
    """Sorted by name."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: {part: [] for part in PARTS})
    for row in survey.rows:
        if not row.reason:
            found["" if has_no_speaker(row) else row.speaker][row.part].append(survey.seconds(row))
    return [
        Speaker(name, len(s["train"]), sum(s["train"]), len(s["eval"]), sum(s["eval"]))
        for name, s in sorted(found.items())
    ]


def _empty_parts(survey: Survey) -> Iterator[Finding]:
    for name in PARTS:
        every = survey.part(name, used=False)
        if not survey.part(name):
            first = next((f"; the first: {row.audio_file}: {row.reason}" for row in every), "")
            message = f"no clip of {len(every):,} is left for {name}{first}"
            yield Finding("error", AREA, message, "correct the clips that are left out")


def _left_out(survey: Survey) -> Iterator[Finding]:
    """One warning per reason, and one info per reason for clips that only coqui's dataset drops."""
    used = [row for row in survey.rows if not row.reason]
    out = len(survey.rows) - len(used)
    if out > len(used):
        message = f"more clips are left out ({out:,}) than used ({len(used):,})"
        yield Finding("warning", AREA, message, "start with the most frequent reason")
    for kind, files in _by_kind((row.audio_file, row.reason) for row in survey.rows):
        step = next((step for start, step in NEXT_STEPS.items() if kind.startswith(start)), "correct or delete the row")
        yield from about(AREA, files, f"left out: {kind}", step)
    if survey.base.language_listed:  # otherwise one finding says it of all clips
        for kind, files in _by_kind((row.audio_file, row.stock) for row in used):
            yield from about(AREA, files, f"used here that coqui's own code would silently drop: {kind}", "", "info")


def _by_kind(reasons: Iterable[tuple[str, str | None]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(kind of reason, its clips and their details), the most frequent first."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for file, reason in reasons:
        if reason:
            kind, _, detail = reason.partition(": ")
            found[kind].append((file, detail))
    return sorted(found.items(), key=lambda item: -len(item[1]))


def _rows(settings: Settings, survey: Survey) -> Iterator[Finding]:
    """Warnings for rows that are used and may not be meant so."""
    root = None if settings.data.path == MINIATURE else os.path.normpath(str(settings.data.path))
    judged: tuple[tuple[Callable[[Row], bool], str, str], ...] = (
        (has_no_speaker, "without a speaker", "name the speaker: a share of each speaker's clips is held out"),
        (
            lambda row: root is not None and not Path(os.path.normpath(row.audio_file)).is_relative_to(root),
            "outside data.path", "keep the audio in the folder of the data, so that it can be copied as a whole",
        ),
        (
            lambda row: _CONTROL.search(row.text) is not None, "with control characters in the text",
            "remove them: nobody says them",
        ),
        (
            lambda row: _SPECIAL.search(row.text) is not None,
            "with the name of a special token in the text, like [STOP]",
            "remove it: nobody says it, and it may end the sentence",
        ),
    )  # fmt: skip
    for holds, what, step in judged:
        yield from about(AREA, [(row.audio_file, "") for row in survey.rows if holds(row)], what, step)


def has_no_speaker(row: Row) -> bool:
    """A survey writes a missing column, None, as a word."""
    return row.speaker.strip() in ("", "None")
