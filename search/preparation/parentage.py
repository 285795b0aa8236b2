"""`extension.json`: what a base with an extended vocabulary was made of (docs/vocabulary.md). Plain data; no torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from search.errors import UserError
from space.reader import explained

NAME = "extension.json"

Init = Literal["matched", "stock", "mean", "parts"]
Id = Annotated[int, Field(ge=0, strict=True)]


class Parentage(BaseModel):
    """What a search needs to know of it; the rest is for people."""

    version: Literal[1]
    tokens: Id  # in the extended vocabulary
    new_rows: list[Id]  # ids whose rows were never trained: added ones, and those of the parent's own extension

    @model_validator(mode="after")
    def _consistent(self) -> "Parentage":
        if len(set(self.new_rows)) < len(self.new_rows) or any(i >= self.tokens for i in self.new_rows):
            raise ValueError(f"new_rows must be different ids below {self.tokens}")
        return self


def new_rows(directory: Path) -> list[int]:
    """Token ids whose rows the base in `directory` has untrained, in order; [] without extension.json.

    Raises UserError for an extension.json that cannot be read.
    """
    path = directory / NAME
    try:
        return sorted(Parentage.model_validate_json(path.read_bytes()).new_rows) if path.exists() else []
    except ValidationError as error:
        raise UserError(
            f"{path} cannot be read ({explained(error, Parentage)}); extend the original base again, or, if all of its"
            " rows were trained, remove the file"
        ) from error
