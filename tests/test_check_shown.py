"""What a check prints and writes: terminal, pipe, JSON, CSV, page; and data that mean harm."""

import csv
import dataclasses
import io
import json
import re

import pytest
from rich.console import Console

from search.check.document import COLUMNS, VERSION, to_csv, to_json
from search.check.judgement import Report
from search.check.judging import judge
from search.check.memory import Probe
from search.pages.check_page import to_html
from search.show.check_tables import show
from tests.surveys import GB, MACHINE, healthy, recording, row, settings, survey

HOSTILE = "/d/<img src=x onerror=alert(1)>[bold red]\x1b[31m\udcff‮.wav"


LONG = "a long name " * 30 + ".wav"


@pytest.fixture(scope="module")
def made() -> Report:
    rows = [
        *healthy(),
        *(row("train", f"/d/short{i}.wav", reason="shorter than 0.5 s: 0.10 s", text="a") for i in range(30)),
        row("train", HOSTILE, reason="empty text", speaker="</td><script>x</script>\x07", text="=1+1\n\x1b]0;x\x07"),
        row("train", "/d/letters.wav", text="<ሰ>", unknown=["ሰ", "\x07"], speaker="[/]"),
        row("eval", "/d/shared.wav"),
        row("train", f"/d/{LONG}", reason="no text in the table"),
        row("train", "/d/voice.wav", speaker="\x07[red]<b>who</b>"),
    ]
    found = [recording("/d/shared.wav", digest="digest of /d/clip-b1x.wav")]
    return judge(
        settings(),
        survey(rows, found, missing=["[am]", "\x07", "ሰ"]),
        dataclasses.replace(MACHINE, cache="/cache\x1b[31m"),
        Probe("X", 24 * GB, 2, GB, 8, True),
    )


def printed(report: Report, *, terminal: bool) -> str:
    drawn = io.StringIO()
    width = 80 if terminal else 160
    show(
        report,
        Console(file=drawn, force_terminal=terminal, width=width, highlight=False, markup=False, color_system=None),
    )
    return drawn.getvalue()


def test_a_terminal_gets_lines_of_80_columns_and_no_signs_of_the_data_that_act(made: Report) -> None:
    text = printed(made, terminal=True)
    assert max(map(len, text.splitlines())) <= 80
    assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]
    assert "\\x07[red]<b>who</b>" in text
    assert "[bold red]" in "".join(line.strip() for line in text.splitlines())
    assert "Letters without a token" in text
    assert text.splitlines()[-1] == "7 warnings: a search would start"
    assert "and 26 more" in text  # of 30 files


def test_the_document_says_all_and_its_version(made: Report) -> None:
    text = to_json(made)
    assert text.isascii()
    values = json.loads(text)
    assert (values["format"], values["version"], values["verdict"]) == ("xtts-study check", VERSION, "warning")
    assert values["counts"] == {"error": 0, "warning": 7, "info": len(made.of("info"))}
    assert len(values["findings"]) == len(made.findings)
    left_out = next(f for f in values["findings"] if "shorter" in f["message"])
    assert left_out["files"][0] == {"file": "/d/short0.wav", "detail": "0.10 s"}
    assert len(values["dropped"]) == 32 and values["dropped"][30]["audio_file"] == HOSTILE
    assert values["memory"]["peak"] == made.memory.peak if made.memory else None
    assert values["probe"]["fits"] is True


def test_the_table_holds_every_file_of_every_finding_as_it_is(made: Report) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(made), newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) - 1 == sum(len(finding.files) for finding in made.findings)
    hostile = next(line for line in rows if line[2] == HOSTILE)
    assert hostile[:2] == ["warning", "data"] and hostile[-1] == "=1+1\n\x1b]0;x\x07"
    leak = next(line for line in rows if line[2] == "/d/shared.wav")
    assert leak[4] == "in training: /d/clip-b1x.wav"


def test_nothing_of_the_data_acts_in_the_page(made: Report) -> None:
    text = to_html(made)
    assert not re.search(r"<(script|img|link|iframe)|<[^>]* on\w+=", text)
    assert re.findall(r'(?:href|src)="(?!#)[^"]*"|url\((?!#)[^)]*\)|@import', text) == []  # no other file
    assert "&lt;img src=x onerror" in text and "<svg" in text
    assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]
    assert "30 named" in text and "ETHIOPIC SYLLABLE SA" in text
    text.encode()


def test_the_page_of_a_report_without_anything_is_written() -> None:
    empty = judge(settings(), survey([], base=dataclasses.replace(survey([]).base, error="no base")), MACHINE)
    assert "no clip of 0 is left for train" in to_html(empty)
    assert json.loads(to_json(empty))["memory"] is None
    assert "2 errors" not in printed(empty, terminal=True) and "3 errors" in printed(empty, terminal=True)
