"""Points of a search in TOML, in the words of a space's baselines and of best_config.json."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from space.hyperparameters import Hyperparameters
from space.reader import explained, read_toml

_POINT = TypeAdapter(Hyperparameters)


def load_points(path: Path) -> list[Hyperparameters]:
    """The points of a file: its keys are one point, or it has a [[points]] for each.

    Raises OSError, and ValueError in one line that names the point, the key, the value and what is allowed.
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
