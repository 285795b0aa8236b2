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
    text = study_schema.EXAMPLE.read_text(encoding="utf-8")
    for content in (text, re.sub(r"^#([a-z_]+ = )", r"\1", text, flags=re.MULTILINE)):
        jsonschema.Draft202012Validator(published).validate(tomllib.loads(content))


def test_every_key_of_the_example_is_explained(published: dict[str, Any]) -> None:
    keys = {
        (section, key): entry.get("description")
        for section, part in published["$defs"].items()
        for key, entry in part["properties"].items()
    }
    assert {place for place, text in keys.items() if not text} == {("Training", "steps"), ("Space", "file")}
    assert "Seed of the sampler" in keys["Study", "seed"]
    assert keys["Train", "max_gap"] == keys["Train", "healthy_gap"]


@pytest.mark.parametrize(
    "content",
    ["[study]\ntrials = 0", "[study]\nnames = 'a'", "trials = 3", "[training]\nprecision = 'fp64'", "[data]\npath = 1"],
)
def test_what_a_search_refuses_an_editor_marks(published: dict[str, Any], content: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(content), published)
