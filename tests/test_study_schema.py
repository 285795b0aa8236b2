"""The JSON schemas of study.toml, as editors use it, and of best_config.json."""

import json
import re
import tomllib
from typing import Any

import jsonschema
import pytest

from search.settings.schemas import schemas
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "docs" / "study.schema.json").read_text(encoding="utf-8"))
    return content


def test_the_published_schemas_are_current() -> None:
    assert {name: (ROOT / "docs" / name).read_text("utf-8") for name in schemas()} == schemas(), "run: make schema"


def test_the_example_is_valid_with_every_key_set(published: dict[str, Any]) -> None:
    text = (ROOT / "study.example.toml").read_text(encoding="utf-8")
    for content in (text, re.sub(r"^#([a-z_]+ = )", r"\1", text, flags=re.MULTILINE)):
        jsonschema.Draft202012Validator(published).validate(tomllib.loads(content))
