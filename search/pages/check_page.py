"""The report of `check` as one page that needs no other file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.check.judgement import Distribution, Report
from search.pages.chart import Axis, Chart, Series
from search.pages.drawing import Picture, picture
from search.pages.page import render
from search.show import check_words

SHOWN = 200  # clips of a finding, speakers and letters; the CSV has all
_LOOKS: dict[str, Any] = {  # the eval clips above, where both are alike
    "train": {"colour": "blue", "width": 6, "alpha": 0.4}, "eval": {"colour": "orange", "width": 1.6},
}  # fmt: skip


def to_html(report: Report) -> str:
    """The page. Everything that comes from the data is escaped; what no screen shows is written as its code."""
    return render(
        Path(__file__).with_name("check_page.html.j2"),
        report=report,
        words=check_words,
        lengths=[lengths([of for of in report.lengths if of.what == what]) for what in ("audio", "text")],
        shown=SHOWN,
    )


def lengths(found: Sequence[Distribution]) -> Picture | None:
    """Of audio seconds or of text tokens: the share of each part's clips, with the limits as lines."""
    series = [
        Series(
            f"{each.part}, {each.clips:,}", each.edges, [*(100 * count / each.clips for count in each.counts), 0.0],
            **_LOOKS[each.part], line="steps",
        )
        for each in found if each.clips
    ]  # fmt: skip
    first = found[0]
    levels = {"limit": first.limit} | ({"positions of the base": first.model_limit} if first.model_limit else {})
    label = "seconds of audio" if first.what == "audio" else "text tokens"
    highest = max(*(each.edges[-1] for each in found), 1.02 * first.model_limit)
    x = Axis(label, (0, highest), levels=levels, digits=".4g")
    return picture(Chart(f"Lengths, {label}", x, Axis("% of the part's clips"), series, height=2.5))
