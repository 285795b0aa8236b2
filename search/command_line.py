"""What the commands of study.py share: options, settings, and how they print. Imports nothing slow."""

import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

NAMED = {"study": "study.name", "storage": "study.storage"}  # flags of every command, and the settings they override


def common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every command takes: which study, where, and any setting."""
    for option in (
        click.option("--set", "set_", metavar="SECTION.KEY=VALUE", multiple=True, help="Any setting, as in the file."),
        click.option(
            "--settings", type=click.Path(path_type=Path), help="Default: ./study.toml, or else the miniature."
        ),
        click.option("--storage", help="SQLAlchemy URL; default: SQLite in the study's folder."),
        click.option("--study", help="Name of the study."),
    ):
        command = option(command)
    return command


def load_settings(given: dict[str, Any], flags: dict[str, Any] | None = None) -> Any:
    """Settings from the file under `--set` under the named flags."""
    from search.settings import load

    overrides = parsed(given["set_"])
    named = {**(flags or {}), **{NAMED[name]: given[name] for name in NAMED}}
    return load(given["settings"], {**overrides, **{k: v for k, v in named.items() if v is not None}})


def parsed(entries: Sequence[str]) -> dict[str, Any]:
    """The settings that `--set` overrides, by section.key."""
    from search.errors import UserError

    overrides: dict[str, Any] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals:
            raise UserError(f"--set {entry!r} is not of the form section.key=value")
        try:
            overrides[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[key.strip()] = value  # a bare word is a string
    return overrides


def make_console() -> Any:
    """Wide enough in a pipe that no line is cut."""
    from rich.console import Console

    return Console(
        highlight=False, markup=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 160
    )


def shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
