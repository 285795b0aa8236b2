"""`study.py enqueue`: points that the search is to try next."""

from pathlib import Path
from typing import Any

import click

from search.commands.options import common, load_settings
from search.errors import UserError
from search.study import steering
from space.hyperparameters import Hyperparameters
from space.reader import load_points


@click.command()
@click.argument("params", type=click.Path(path_type=Path), metavar="PARAMS.toml")
@common
def command(params: Path, **given: Any) -> None:
    """Queue the points of a file: the next free slots run them, and they count as trials.

    The file has the keys of one point, or [[points]] and the keys of each: lr, weight_decay, milestones, gamma,
    clip_norm.
    """
    settings = load_settings(given, shows=True)
    points = read(params)
    ledger, attributes, trials = steering.open_ledger(settings)
    numbers = ledger.enqueue(steering.params_of(points, settings, attributes))
    named = f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
    click.echo(f"queued as {named} of {settings.study.name}; the next free slots run what is queued")
    failed = sum(trial.state.name == "FAIL" for trial in trials)
    needed, asked = len(trials) - failed + len(numbers), attributes.get("asked")
    if isinstance(asked, int) and needed > asked:
        click.echo(
            f"the last search was to end after {asked} trials; one with --trials {needed} runs all that is queued"
        )


def read(path: Path) -> list[Hyperparameters]:
    """The points of a file. Raises UserError."""
    try:
        return load_points(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name a TOML file of points") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}; nothing was queued") from error
