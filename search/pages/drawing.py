"""Pictures for pages: axes without ornament, and SVG whose text is text and whose colours are the page's."""

import hashlib
import io
import re
from collections.abc import Mapping
from typing import Any

_SHAPES = re.compile(r'(?:<use [^>]*>| d="[^"]*")')  # coordinates, in points
_DIGITS = re.compile(r"(\.\d\d)\d+")  # a hundredth of a point is enough, and halves a page of many trials
_NEEDLESS = re.compile(r"\s*<metadata>.*?</metadata>|font-family: [^;\"]*; |(?<=\n) +", re.DOTALL)
_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'(href="#|url\(#)([^")]*)')


def plain(axes: Any, text: str, lines: str) -> None:
    """Axes with a faint grid and two sides, in a colour for text and one for lines."""
    axes.tick_params(which="both", colors=text, labelsize=9)
    axes.grid(color=lines, alpha=0.25, linewidth=0.6)
    axes.xaxis.label.set_color(text)
    axes.yaxis.label.set_color(text)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(lines)


def to_svg(figure: Any, colours: Mapping[str, str]) -> str:
    """The figure as an SVG element in which each of `colours` (name to #rrggbb) is the page's CSS variable --name.

    Its text has the page's font. A page may hold any number of them: no two have an id in common.
    """
    import matplotlib  # half a second, which only pages have

    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "xtts-study", "font.family": "sans-serif"}):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    for name, colour in colours.items():
        text = text.replace(colour, f"var(--{name})")
    text = _SHAPES.sub(lambda found: _DIGITS.sub(r"\1", found.group()), text)
    return _with_own_ids(_NEEDLESS.sub("", text))


def _with_own_ids(text: str) -> str:
    """Only ids that something refers to, in names that come from the whole picture."""
    stem = "f" + hashlib.sha256(text.encode()).hexdigest()[:8]
    referred = sorted({name for _, name in _REFERENCE.findall(text)})
    names = {name: f"{stem}-{place}" for place, name in enumerate(referred)}
    text = _ID.sub(lambda found: f' id="{names[found[1]]}"' if found[1] in names else "", text)
    return _REFERENCE.sub(lambda found: found[1] + names[found[2]], text)
