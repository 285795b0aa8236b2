"""What the pages of this project share: how a template is filled in, and the style (`page.css`)."""

import time
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from search.text import duration, printable


def render(template: Path, **values: Any) -> str:
    """The page. What comes from the data is escaped, and what no screen shows is written as its code."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        extensions=["jinja2.ext.do"],
        undefined=jinja2.StrictUndefined,
        finalize=_plain,
    )
    environment.globals |= {"written": time.strftime("%Y-%m-%d %H:%M"), "duration": duration}
    return environment.get_template(template.name).render(**values)


def _plain(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
