"""The JSON schema of study.toml, as published in docs/study.schema.json for editors. The texts are the example's."""

import json
import re
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from search.settings.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "study.example.toml"


class _TomlSchema(GenerateJsonSchema):
    """TOML has no null: a key at None is left out of the file."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        return {name: value for name, value in made.items() if name != "default" or value is not None}


def schema() -> str:
    made = Settings.model_json_schema(schema_generator=_TomlSchema)
    for name, field in Settings.model_fields.items():
        section: Any = field.annotation
        made["properties"][name] = {"$ref": f"#/$defs/{section.__name__}"}
        for key, text in _explained(name).items():
            made["$defs"][section.__name__]["properties"][key]["description"] = text
    published = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "study.toml of xtts-study"}
    return json.dumps({**published, "description": "All settings of a study."}, ensure_ascii=False, indent=2) + "\n"


def _explained(section: str) -> dict[str, str]:
    """By key of the section, the comment above it in study.example.toml; keys in a row share one."""
    part = EXAMPLE.read_text(encoding="utf-8").partition(f"\n[{section}]\n")[2].partition("\n[")[0]
    found = {}
    for block in part.split("\n\n"):
        text = " ".join(re.findall(r"^# (.*)", block, re.MULTILINE))
        found.update(dict.fromkeys(re.findall(r"^#?([a-z_]+) = ", block, re.MULTILINE), text))
    return found


if __name__ == "__main__":
    print(schema(), end="")
