"""The JSON schemas of study.toml, for editors, and of best_config.json, as published in docs/."""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from search.settings.best_config import BestConfig
from search.settings.settings import Settings


class _TomlSchema(GenerateJsonSchema):
    """TOML has no null: a key at None is left out of the file."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        return {name: value for name, value in made.items() if name != "default" or value is not None}


def schemas() -> dict[str, str]:
    """By the names of their files."""
    study = Settings.model_json_schema(schema_generator=_TomlSchema)
    for name, field in Settings.model_fields.items():  # without the defaults of whole sections
        section: Any = field.annotation
        study["properties"][name] = {"$ref": f"#/$defs/{section.__name__}"}
    study |= {"title": "study.toml of xtts-study", "description": "All settings of a study."}
    found = {"study.schema.json": study, "best_config.schema.json": BestConfig.model_json_schema()}
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {n: json.dumps({**dialect, **made}, ensure_ascii=False, indent=2) + "\n" for n, made in found.items()}


if __name__ == "__main__":
    for file, text in schemas().items():
        (Path("docs") / file).write_text(text, encoding="utf-8")
