"""What the commands of study.py share: options, settings, and how they print. Imports nothing slow."""

import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from search.commands.notify import VARIABLE
from search.commands.output import Output

LINES = "json_lines"  # the parameter that --json sets, of the commands that have lines
NAMED = {"study": "study.name", "storage": "study.storage"}  # flags of every command, and the settings they override


def common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every command takes: which study, where, and any setting."""
    for option in (
        click.option("--set", "set_", metavar="SECTION.KEY=VALUE", multiple=True, help="Any setting, as in the file."),
        click.option(
            "--settings", type=click.Path(path_type=Path), help="Default: ./study.toml, or else the miniature."
        ),
        click.option("--storage", help="SQLAlchemy URL. Default: SQLite in the study's folder."),
        click.option("--study", help="Name of the study."),
    ):
        command = option(command)
    return command


def telling(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that take long: JSON lines and messages. `output_of` has what they ask for."""
    lines = click.option(
        "--json",
        LINES,
        is_flag=True,
        is_eager=True,
        callback=_wants_lines,
        help="Write JSON lines to stdout (docs/terminal.md).",
    )
    return notifying(lines(command))


def notifying(command: Callable[..., None]) -> Callable[..., None]:
    """The option of messages."""
    return click.option(
        "--notify",
        metavar="URL",
        multiple=True,
        envvar=VARIABLE,
        help=f"Send news through Apprise. Prefer the variable {VARIABLE}: other users can see command lines.",
    )(command)


def _wants_lines(context: click.Context, _parameter: click.Parameter, wanted: bool) -> bool:
    """Called before the other options are checked, so that an error in them is a JSON line, too."""
    output_of(context).wants_lines |= wanted
    return wanted


def output_of(context: click.Context) -> Output:
    """The one of this process."""
    return context.ensure_object(Output)


def is_given(context: click.Context, name: str) -> bool:
    """Whether the option was given on the command line, not by the environment or as a default."""
    return context.get_parameter_source(name) == ParameterSource.COMMANDLINE


def load_settings(given: dict[str, Any], flags: dict[str, Any] | None = None, shows: bool = False) -> Any:
    """Settings from the file under `--set` under the named flags; see `search.settings.settings.load`."""
    from search.settings.settings import load

    overrides = parsed(given["set_"])
    named = {**(flags or {}), **{NAMED[name]: given[name] for name in NAMED}}
    return load(given["settings"], {**overrides, **{k: v for k, v in named.items() if v is not None}}, shows)


def parsed(entries: Sequence[str]) -> dict[str, Any]:
    """The settings that `--set` overrides, by section.key."""
    from search.errors import UserError

    overrides: dict[str, Any] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or "://" in key:  # a URL in the wrong place may hold a secret: only its scheme is shown
            scheme, is_url, _ = entry.partition("://")
            shown_entry = f"{scheme}://…" if is_url else entry
            raise UserError(f"--set {shown_entry!r} is not of the form section.key=value")
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
