"""A report for scripts: one JSON document, and a CSV of the clips that are named. Formats: docs/check.md."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.check.judgement import LEVELS, Report
from search.errors import UserError

VERSION = 1
COLUMNS = ("level", "area", "audio_file", "finding", "detail", "part", "speaker", "text")


def to_json(report: Report) -> str:
    """The report as one document. Plain ASCII: what is no text, as in a strange file name, stays escaped."""
    values: dict[str, Any] = {
        "format": "xtts-study check",
        "version": VERSION,
        "verdict": report.verdict,
        "counts": {level: len(report.of(level)) for level in LEVELS},
        **asdict(report),
    }
    for finding, made in zip(values["findings"], report.findings, strict=True):
        finding["files"] = [{"file": file, "detail": detail} for file, detail in made.files]
    if report.memory:
        values["memory"] |= {"state": report.memory.state, "peak": report.memory.peak}
    if report.probe:
        values["probe"]["fits"] = report.probe.fits
    return json.dumps(values, indent=2)


def to_csv(report: Report) -> str:
    """A line for each clip of each finding, in the findings' order. Names and texts are as they are, quoted by CSV."""
    of_clip = {row.audio_file: row for row in report.dropped}
    drawn = io.StringIO(newline="")
    writer = csv.writer(drawn)
    writer.writerow(COLUMNS)
    for finding in report.findings:
        for file, detail in finding.files:
            row = of_clip.get(file)
            about = (row.part, row.speaker, row.text) if row else ("", "", "")
            writer.writerow((finding.level, finding.area, file, finding.message, detail, *about))
    return drawn.getvalue()


def write(path: Path, text: str, option: str) -> None:
    """Writes `text` to `path`, strange file names as they are. Raises UserError that names `option`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise UserError(f"{option} {path} cannot be written ({error.strerror}); name another file") from error
