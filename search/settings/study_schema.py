"""The JSON schema of study.toml, as published in docs/study.schema.json for editors."""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from search.settings.settings import Settings


class _TomlSchema(GenerateJsonSchema):
    """TOML has no null: a key at None is left out of the file."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        return {name: value for name, value in made.items() if name != "default" or value is not None}


def schema() -> str:
    made = Settings.model_json_schema(schema_generator=_TomlSchema)
    for name, field in Settings.model_fields.items():  # without the defaults of whole sections
        section: Any = field.annotation
        made["properties"][name] = {"$ref": f"#/$defs/{section.__name__}"}
    published = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "study.toml of xtts-study"}
    return json.dumps({**published, "description": "All settings of a study."}, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
