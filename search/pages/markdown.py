"""Markdown for the notes of Optuna's dashboard (CommonMark with GitHub's tables, no HTML), filled in by templates."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from search.show.run_words import percent
from search.text import duration

_MARKS = re.compile(r"[\\`*_\[\]<>#|~&=]")  # with a meaning in Markdown anywhere
_LIST = re.compile(r"^(?:(\d{1,9})(?=[.)](?:\s|$))|(?=[-+.]))")  # with a meaning at the start of a line
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # some scripts need them; marks of direction are not shown
_LINKED = re.compile(r"(?:(?<=www)\.|://|@)+", re.IGNORECASE)


def render(template: str, **values: Any) -> str:
    """A note. Every value is escaped, unless it is Markup."""
    return _environment().get_template(template).render(**values).strip()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # of what `finalize` leaves: nothing
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else escape(value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"escape": escape, "code": code}
    # The page puts no space between the columns of a table.
    environment.globals |= {"em": Markup("\N{EM SPACE}"), "duration": duration, "percent": percent}
    return environment


def escape(text: object, limit: int = 300) -> Markup:
    """`text` as one line that the page shows letter by letter, also in a table, cut at `limit` characters.

    Marks get a backslash. The page makes links of bare addresses after it has removed backslashes, so the part by which
    it recognises an address is put into a code span.
    """
    line = " ".join(str(text).split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() or c in _JOINERS else "\N{REPLACEMENT CHARACTER}" for c in line)
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    shown, last = [], 0
    for found in _LINKED.finditer(line):
        shown += [_MARKS.sub(r"\\\g<0>", line[last : found.start()]), f"`{found[0]}`"]
        last = found.end()
    shown.append(_MARKS.sub(r"\\\g<0>", line[last:]))
    return Markup(_LIST.sub(r"\1\\", "".join(shown), count=1))


def code(text: str) -> Markup:
    """A command, as a code span; escaped where it holds what ends one."""
    return escape(text) if "`" in text or not text.isprintable() else Markup(f"`{text}`")
