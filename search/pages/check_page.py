"""A report as one page that needs no other file."""

import time
from pathlib import Path

from markupsafe import Markup

from search.check.judgement import Report
from search.pages.check_picture import lengths_svg
from search.pages.page import render
from search.show import check_words as words
from search.text import duration

SHOWN = 200  # clips of a finding, speakers and letters; the CSV has all


def to_html(report: Report) -> str:
    """The page. Everything that comes from the data is escaped; what no screen shows is written as its code."""
    return render(
        Path(__file__).with_name("check_page.html.j2"),
        report=report,
        words=words,
        duration=duration,
        lengths=Markup(lengths_svg(report)),
        speakers=sorted(report.speakers, key=lambda speaker: -speaker.train_seconds),
        shown=SHOWN,
        written=time.strftime("%Y-%m-%d %H:%M"),
    )
