"""Markdown as the dashboard's page reads it."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

# CommonMark with GitHub's tables, as the page has it. What it makes links of besides, it finds in plain text.
RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
LINKED = re.compile(r"https?://|www\.|[\w.+-]@[\w-]", re.IGNORECASE)


def tokens(markdown: str) -> list[Token]:
    """All of them, in a row."""
    return [token for block in RENDERER.parse(markdown) for token in (block, *(block.children or []))]


def read(markdown: str) -> str:
    """The letters that a reader sees."""
    return "".join(t.content for t in tokens(markdown) if t.type in ("text", "text_special", "code_inline"))
