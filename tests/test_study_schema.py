"""The JSON schema of study.toml, as editors use it."""

import json
import re
import tomllib
from typing import Any

import jsonschema
import pytest

from search.settings import study_schema
from tests.conftest import ROOT

SCHEMA = ROOT / "docs" / "study.schema.json"


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return content


def test_the_published_schema_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == study_schema.schema(), "run: make schema"


def test_the_example_is_valid_with_every_key_set(published: dict[str, Any]) -> None:
    text = (ROOT / "study.example.toml").read_text(encoding="utf-8")
    for content in (text, re.sub(r"^#([a-z_]+ = )", r"\1", text, flags=re.MULTILINE)):
        jsonschema.Draft202012Validator(published).validate(tomllib.loads(content))


def test_every_key_is_explained(published: dict[str, Any]) -> None:
    entries = [(s, k, e) for s, part in published["$defs"].items() for k, e in part["properties"].items()]
    assert [(section, key) for section, key, entry in entries if not entry.get("description")] == []


@pytest.mark.parametrize(
    "content",
    ["[study]\ntrials = 0", "[study]\nnames = 'a'", "trials = 3", "[training]\nprecision = 'fp64'", "[data]\npath = 1"],
)
def test_what_a_search_refuses_an_editor_marks(published: dict[str, Any], content: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(content), published)
