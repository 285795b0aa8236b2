"""`extension.json`: what a base with an extended vocabulary was made of. Plain data; no torch."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from search.errors import UserError
from search.settings.sections import Section

NAME = "extension.json"

Init = Literal["matched", "stock", "mean", "parts"]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # SHA-256
Id = Annotated[int, Field(ge=0, strict=True)]


class Parent(Section):
    """The base that was extended."""

    files: dict[str, Digest]  # by name
    tokens: Id  # in its vocabulary


class Learning(Section):
    """How the merges were found."""

    asked: Id
    any_letters: bool  # False: each product holds a letter that the parent lacks


class Parentage(Section):
    """docs/vocabulary.md explains each key."""

    version: Literal[1]
    date: str  # UTC, ISO 8601
    made_by: str  # commit of xtts-study
    parent: Parent
    language: str
    tokens: Id  # in the extended vocabulary
    added: dict[str, Id]  # tokens that the parent lacks, with their ids
    new_rows: list[Id]  # ids whose rows were never trained: of `added`, and of the parent's own extension
    init: Init
    seed: int
    learned: Learning | None = None  # None: the vocabulary was given
    vocabulary: Digest | None = None  # of the file that was given
    texts: Id  # in the corpus that the letters and merges come from
    corpus: Digest  # of its training texts, in order, each followed by a newline

    @model_validator(mode="after")
    def _consistent(self) -> "Parentage":
        ids = self.new_rows
        if len(set(ids)) < len(ids) or any(i >= self.tokens for i in ids):
            raise ValueError(f"new_rows must be different ids below {self.tokens}")
        if not set(self.added.values()) <= set(ids):
            raise ValueError("new_rows lacks ids of added")
        return self

    def to_json(self) -> str:
        return json.dumps(self.model_dump(exclude_none=True), ensure_ascii=False, indent=1) + "\n"


def read(directory: Path) -> Parentage | None:
    """The note of the base in `directory`; None without one. Raises UserError for one that cannot be read."""
    path = directory / NAME
    try:
        return Parentage.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'its content'}: {first['msg']}"
    except OSError as error:
        reason = str(error.strerror)
    raise UserError(
        f"{path} cannot be read ({reason}); extend the original base again, or, if all of its rows were trained,"
        " remove the file"
    )


def new_rows(directory: Path) -> list[int]:
    """Token ids whose rows the base in `directory` has untrained, in order; [] without extension.json.

    Raises UserError for an extension.json that cannot be read.
    """
    note = read(directory)
    return sorted(note.new_rows) if note else []
