"""The report of `check` as one page that needs no other file."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from search.check.judgement import Distribution, Report
from search.pages.drawing import COLOURS, DOTTED, figure, to_svg
from search.pages.page import render
from search.show import check_words

SHOWN = 200  # clips of a finding, speakers and letters; the CSV has all
_COLOURS = {"train": COLOURS["blue"], "eval": COLOURS["orange"]}


def to_html(report: Report) -> str:
    """The page. Everything that comes from the data is escaped; what no screen shows is written as its code."""
    return render(
        Path(__file__).with_name("check_page.html.j2"),
        report=report,
        words=check_words,
        lengths=lengths_svg(report),
        shown=SHOWN,
        written=time.strftime("%Y-%m-%d %H:%M"),
    )


def lengths_svg(report: Report) -> Markup:
    """Audio seconds above, text tokens below: the share of each part's clips, with the limits as lines."""
    made, axes = figure((7.2, 4.6), rows=2)
    for each, what in zip(axes, ("audio", "text"), strict=True):
        _draw(each, [found for found in report.lengths if found.what == what])
    return to_svg(made)


def _draw(axes: Any, found: Sequence[Distribution]) -> None:
    """Both parts into one pair of axes: the training clips filled, the eval clips as an outline."""
    for each in found:
        if each.clips:
            shares = [100 * count / each.clips for count in each.counts]
            colour, is_filled = _COLOURS[each.part], each.part == "train"
            axes.stairs(shares, each.edges, color=colour, fill=is_filled, alpha=0.35 if is_filled else 1, linewidth=1.6,
                        label=f"{each.part}, {each.clips:,}")  # fmt: skip
    first = found[0]
    axes.axvline(first.limit, color=COLOURS["text"], linewidth=1.2, label=f"limit, {first.limit:g} {first.unit}")
    if first.model_limit:
        label = f"positions of the base, {first.model_limit:.4g} {first.unit}"
        axes.axvline(first.model_limit, color=COLOURS["grey"], linewidth=1.2, linestyle=DOTTED, label=label)
    axes.set_xlim(0, max(*(each.edges[-1] for each in found), 1.02 * first.model_limit))
    axes.set(xlabel="seconds of audio" if first.what == "audio" else "text tokens", ylabel="% of the part's clips")
    axes.legend()
