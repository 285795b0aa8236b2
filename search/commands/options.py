"""What the commands of study.py share: options, settings, and how they print. Imports nothing slow."""

import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from search.commands.notify import VARIABLE
from search.commands.output import Output
from search.errors import UserError
from search.text import without_urls

if TYPE_CHECKING:
    from rich.console import Console

    from search.study.control import Control

LINES = "json_lines"  # the parameter that --json sets, of the commands that have lines
FLAGS = {  # and the settings that they override
    "study": "study.name", "storage": "study.storage", "trials": "study.trials", "until_settled": "study.until_settled",
    "warm_start": "study.warm_start", "gpu_hours": "study.gpu_hours", "until": "study.until",
    "workers": "study.workers", "seed": "study.seed", "repeats": "study.repeats", "top": "confirm.top",
    "seeds": "confirm.seeds", "audit": "confirm.audit", "max_gap": "train.max_gap", "healthy_gap": "train.healthy_gap",
}  # fmt: skip


def common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every command takes: which study, where, and any setting."""
    file = click.Path(path_type=Path)
    for option in (
        click.option("--set", "set_", metavar="SECTION.KEY=VALUE", multiple=True, help="Any setting, as in the file."),
        click.option("--settings", type=file, help="Default: ./study.toml, or else the miniature."),
        click.option("--storage", help="SQLAlchemy URL. Default: SQLite in the study's folder."),
        click.option("--study", help="Name of the study."),
    ):
        command = option(command)
    return command


def running(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that train on one machine or many: the caps (docs/budget.md), and where."""
    told = "Most GPU hours of the study on all machines; slot hours where runs train on CPUs."
    address = "Of the cluster. Default: RAY_ADDRESS, or a local one."
    for option in (
        click.option("--ray-address", metavar="HOST:PORT", help=address),
        click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="Where: here, or on Ray."),
        click.option("--until", metavar="TIME", help='End by then: "18:00", "+6h", or an ISO time.'),
        click.option("--gpu-hours", type=float, metavar="H", help=told),
    ):
        command = option(command)
    return command


def is_on_ray(engine: str, address: str | None) -> bool:
    """Whether Ray runs the command. Raises UserError for an address that nothing would use."""
    if address and engine != "ray":
        raise UserError("--ray-address is given without --engine ray; give both, or neither")
    return engine == "ray"


def telling(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that take long: JSON lines and messages. `output_of` has what they ask for."""
    told = "Write JSON lines to stdout (docs/terminal.md)."
    lines = click.option("--json", LINES, is_flag=True, is_eager=True, callback=_wants_lines, help=told)
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


def leave(
    context: click.Context, halted: "Control | None", console: "Console", again: str, found: Mapping[str, Any]
) -> NoReturn:
    """Ends a command that was stopped before its work was done: by people of the study (`halted`), or by a signal.

    `again` says what continues it, `found` is told to listeners.
    """
    code = halted.exit_code if halted else 130
    output_of(context).over("stopped", exit_code=code, **found)
    if halted:
        console.print(f"Stopped, since {halted.words}; then {again}.", soft_wrap=True)
    else:
        console.print(f"Stopped; {again}.")
    context.exit(code)


def load_settings(given: dict[str, Any], shows: bool = False) -> Any:
    """Settings from the file under what overrides them; see `search.settings.settings.load`."""
    from search.settings.settings import load

    return load(given["settings"], overrides(given), shows)


def overrides(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that `--set` and, above it, named flags override, by section.key."""
    found: dict[str, Any] = {}
    for entry in given["set_"]:
        key, equals, value = entry.partition("=")
        if not equals or "://" in key:
            raise UserError(f"--set {without_urls(repr(entry))} is not of the form section.key=value")
        try:
            found[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except (ValueError, RecursionError):  # no TOML, a number of thousands of digits, or nested too deeply
            found[key.strip()] = value  # a bare word is a string
    return {**found, **{FLAGS[name]: value for name, value in given.items() if name in FLAGS and value is not None}}


def make_console() -> Any:
    """Wide enough in a pipe that no line is cut."""
    from rich.console import Console

    live = sys.stdout.isatty()
    return Console(highlight=False, markup=False, soft_wrap=not live, width=None if live else 1000)
