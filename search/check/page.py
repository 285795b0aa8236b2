"""A report as one page that needs no other file."""

import time
from pathlib import Path

from markupsafe import Markup

from search.check import words
from search.check.picture import lengths_svg
from search.check.report import Report
from search.pages import render
from search.views.view import duration

SHOWN = 200  # clips of a finding, speakers and letters; the CSV has all


def to_html(report: Report) -> str:
    """The page. Everything that comes from the data is escaped; what no screen shows is written as its code."""
    return render(
        Path(__file__).with_name("page.html.j2"),
        report=report,
        words=words,
        duration=duration,
        lengths=Markup(lengths_svg(report)),
        speakers=sorted(report.speakers, key=lambda speaker: -speaker.train_seconds),
        shown=SHOWN,
        written=time.strftime("%Y-%m-%d %H:%M"),
    )
