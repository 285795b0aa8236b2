#!/usr/bin/env python3
"""xtts-study: the hyperparameters of XTTS-v2 fine-tuning, searched. The command line: it parses, wires and prints."""

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


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--trials", type=int, help="Finished trials in all (default 40); the same command resumes.")
@click.option("--workers", type=int, help="Slots; default: one a visible GPU, one on a CPU (the miniature: two).")
@click.option("--seed", type=int, help="Of the sampler and of every run.")
@common
@click.pass_context
def search(context: click.Context, trials: int | None, workers: int | None, seed: int | None, **given: Any) -> None:
    """Search learning rate, weight decay, milestones and gradient clip for an XTTS-v2 fine-tune, and export the best.

    Without settings it searches the miniature: a small base and generated Amharic speech, on any machine.
    """
    flags = {"study.trials": trials, "study.workers": workers, "study.seed": seed}
    if context.invoked_subcommand is not None:
        if any(value not in (None, ()) for value in (*flags.values(), *given.values())):
            raise click.UsageError(f"options go after the command: study.py {context.invoked_subcommand} …")
        return
    settings = load_settings(given, flags)
    from search import report, session
    from search.view import make_view

    if settings.is_miniature:
        print(
            "Searching the miniature: a small base, generated Amharic speech. For your own data see study.example.toml."
        )
    view = make_view()
    try:
        result = session.search(settings, view)
    finally:
        view.close()
    console = make_console()
    report.show(result.findings, settings.search_space(), console)
    if result.time_share:
        console.print(result.time_share)
    if result.path:
        console.print(f"Exported (not confirmed at full length): {shown(result.path)}")
    if result.stopped:
        console.print("Stopped; the same command continues the study.")
        context.exit(130)


@search.command(short_help="Show what a study has found so far.")
@common
def status(**given: Any) -> None:
    """Show what a study has found so far, from any terminal."""
    settings = load_settings(given)
    from search import report, storage

    findings = report.read(storage.load_study(settings))
    console = make_console()
    report.show_running(findings, settings.search_space(), console)
    report.show(findings, settings.search_space(), console)


@search.command(short_help="Run a trial again in the foreground.")
@click.argument("number", type=int)
@common
def replay(number: int, **given: Any) -> None:
    """Run trial NUMBER again in the foreground, from its spec, and compare its evaluations with those of the search."""
    settings = load_settings(given)
    from search import session

    def line(then: Any, now: Any) -> None:
        compared = f"then {then.mel_ce:.6f}  difference {now.mel_ce - then.mel_ce:+.1e}" if then else "not recorded"
        print(f"step {now.step}  eval {now.mel_ce:.6f}  {compared}", flush=True)

    pairs = session.replay(settings, number, line)
    recorded = [(then, now) for then, now in pairs if then]
    same = sum(then.mel_ce == now.mel_ce for then, now in recorded)
    print(f"{same} of {len(recorded)} recorded evaluations are the same bit for bit.")


def load_settings(given: dict[str, Any], flags: dict[str, Any] | None = None) -> Any:
    """Settings from the file under `--set` under the named flags."""
    from search.errors import UserError
    from search.settings import load

    overrides: dict[str, Any] = {}
    for entry in given["set_"]:
        key, equals, value = entry.partition("=")
        if not equals:
            raise UserError(f"--set {entry!r} is not of the form section.key=value")
        try:
            overrides[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[key.strip()] = value  # a bare word is a string
    named = {**(flags or {}), **{NAMED[name]: given[name] for name in NAMED}}
    return load(given["settings"], {**overrides, **{k: v for k, v in named.items() if v is not None}})


def make_console() -> Any:
    """Wide enough in a pipe that no line is cut."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 160)


def shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def main() -> None:
    """One clear line and exit code 2 for bad input."""
    try:
        code = search(standalone_mode=False)
    except click.ClickException as error:
        sys.exit(refuse(error.format_message()))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as in `study.py | head`
        sys.stderr.close()
        sys.exit(141)
    except ValueError as error:
        from search.errors import UserError

        if not isinstance(error, UserError):
            raise
        sys.exit(refuse(str(error), error.details))
    sys.exit(code or 0)


def refuse(message: str, details: Sequence[str] = ()) -> int:
    print(f"study.py: {' '.join(message.split())}", *(f"  {line}" for line in details), sep="\n", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
