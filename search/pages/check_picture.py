"""The lengths of clips and texts as a picture: SVG with the page's own colours."""

from typing import Any

from search.check.judgement import Distribution, Report
from search.pages.drawing import plain, to_svg

# Colours of Okabe and Ito (2008). In the page they are CSS variables, which have other values where it is dark;
# matplotlib needs colours of its own to draw with.
_COLOURS = {"train": "#0072b2", "eval": "#d55e00", "soft": "#7f7f7f", "text": "#123456"}


def lengths_svg(report: Report) -> str:
    """An SVG element: audio seconds above, text tokens below, the share of each part's clips; limits as lines."""
    from matplotlib.figure import Figure  # half a second, which only the page has

    figure = Figure(figsize=(9, 5.4), layout="constrained")  # no display is needed for this class
    for axes, what in zip(figure.subplots(2, 1), ("audio", "text"), strict=True):
        _draw(axes, [found for found in report.lengths if found.what == what])
    return to_svg(figure, _COLOURS)


def _draw(a: Any, found: list[Distribution]) -> None:
    """Both parts into one pair of axes."""
    edges = max((each.edges for each in found), key=lambda edges: edges[-1])
    for each, style in zip(found, ("-", "--"), strict=True):
        if not each.clips:
            continue
        shares = [100 * count / each.clips for count in each.counts]
        a.stairs(
            shares, each.edges, fill=each.part == "train", alpha=0.35 if each.part == "train" else 1.0,
            color=_COLOURS[each.part], linewidth=1.6, label=f"{each.part}, {each.clips:,}",
        )  # fmt: skip
        if each.part == "train":
            a.stairs(shares, each.edges, color=_COLOURS["train"], linewidth=1.2, linestyle=style)
    first = found[0]
    a.axvline(first.limit, color=_COLOURS["text"], linewidth=1.2, label=f"limit, {first.limit:g} {first.unit}")
    if first.model_limit:
        label = f"positions of the base, {first.model_limit:.4g} {first.unit}"
        a.axvline(first.model_limit, color=_COLOURS["soft"], linewidth=1.2, linestyle=":", label=label)
    a.set_xlim(0, max(edges[-1], 1.02 * first.model_limit))
    a.set_xlabel("seconds of audio" if first.what == "audio" else "text tokens")
    a.set_ylabel("% of the part's clips")
    plain(a, _COLOURS["text"], _COLOURS["soft"])
    a.legend(frameon=False, labelcolor=_COLOURS["text"], fontsize=9)
