"""Search spaces and points in TOML: the presets, and a user's own files. What pydantic finds wrong, in a line."""

import codecs
import re
import tomllib
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from space.hyperparameters import Hyperparameters
from space.search_space import SearchSpace

WINDOWS = "A path of Windows has WSL's form here: /mnt/c/Users/me for C:\\Users\\me"
PRESETS = ("xtts-v2", "miniature")
_POINT = TypeAdapter(Hyperparameters)
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")  # pydantic's names of the error


def load_preset(name: str) -> SearchSpace:
    """One of `PRESETS`."""
    if name not in PRESETS:
        raise ValueError(f"space.preset is {name!r}; allowed are {', '.join(PRESETS)}, or name a file with space.file")
    return parse(resources.files("space").joinpath(f"presets/{name}.toml").read_text(encoding="utf-8"), f"{name}.toml")


def load_file(path: Path) -> SearchSpace:
    """The space of a TOML file, laid out like the presets."""
    return _space(lambda: read_toml(path), str(path))


def parse(text: str, source: str) -> SearchSpace:
    """A `SearchSpace` from TOML text. Raises ValueError that names `source`, the key, the value and what is allowed."""
    return _space(lambda: _toml(text), source)


def _space(read: Callable[[], dict[str, Any]], source: str) -> SearchSpace:
    try:
        return SearchSpace.model_validate(read())
    except ValidationError as error:
        told = explained(error, SearchSpace).replace(".hyperparameters", "")  # which lie beside a baseline's name
        raise ValueError(f"{source}: {told}") from error
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def load_points(path: Path) -> list[Hyperparameters]:
    """The points of a file, in the words of a space's baselines.

    Its keys are one point, or it has a [[points]] for each. Raises OSError, and ValueError in one line that
    names the point, the key, the value and what is allowed.
    """
    content = read_toml(path)
    tables: Any = content.get("points", [content])
    is_list = isinstance(tables, list) and tables and all(isinstance(table, dict) for table in tables)
    if not is_list or (len(content) > 1 and "points" in content):
        raise ValueError("give the keys of one point, or [[points]] and the keys of each, and nothing besides")
    return [_point(table, f"point {place}: " if "points" in content else "") for place, table in enumerate(tables, 1)]


def _point(table: Any, name: str) -> Hyperparameters:
    try:
        return _POINT.validate_python(table)
    except ValidationError as error:
        raise ValueError(f"{name}{explained(error, Hyperparameters)}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file, in UTF-8 or what Windows calls Unicode. Raises OSError, and ValueError in one line."""
    content = path.read_bytes()
    is_utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        return _toml(content.decode("utf-16" if is_utf16 else "utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError("it is not in UTF-8; save it as UTF-8") from error


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("its lists or tables are nested too deeply") from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        if found and "\\" in text.split("\n")[int(found[1]) - 1]:
            told = f"line {found[1]} has a backslash in double quotes; use single quotes or forward slashes. {WINDOWS}"
            raise ValueError(told) from error
        raise


def explained(error: ValidationError, model: type, depth: int | None = None) -> str:
    """The first complaint about values for `model` in one line: `field is value: what is allowed`.

    `depth` is how many parts of a field's place are shown; what follows are the branches of a union.
    """
    errors = error.errors(include_url=False)
    # Of the branches of a union, that which the value came furthest in. A key that is missing may be misspelt.
    branches = [e for e in errors if e["loc"][:depth] == errors[0]["loc"][:depth]]
    furthest = max(branches, key=lambda e: len(e["loc"]))
    first = next((e for e in errors if e["type"] in _UNKNOWN), furthest)
    place = ".".join(map(str, first["loc"][:depth]))
    fields, name = _fields(model, first["loc"][:-1]), str((first["loc"] or ("",))[-1])
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    match first["type"]:
        case "missing":
            return f"{place} is missing"
        case "model_type" | "dict_type" | "dataclass_type":
            message = "it must be a table"
        case "tuple_type":
            message = "it must be a list"
        case "string_pattern_mismatch":
            message = f"it must be {fields[name].description.partition(': ')[2]}"
        case unknown if unknown in _UNKNOWN:
            return f"unknown key {place}; allowed are {', '.join(fields)}"
    value = "" if isinstance(first["input"], dict) else f" is {first['input']!r}"
    return f"{place}{value}: {message[:1].lower()}{message[1:]}".removeprefix(": ")


def _fields(model: Any, place: Iterable[int | str]) -> dict[str, Any]:
    """The fields of the part of `model` at `place`."""
    for part in place:
        field = model.__pydantic_fields__.get(part)
        inner = (field.annotation, *get_args(field.annotation)) if field else ()
        model = next((found for found in inner if hasattr(found, "__pydantic_fields__")), model)
    return dict(model.__pydantic_fields__)
