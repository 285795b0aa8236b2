#!/usr/bin/env python3
"""xtts-study: the hyperparameters of XTTS-v2 fine-tuning, searched. The command line: it parses, wires and prints."""

import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)

SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Settings file; default: study.toml here, or else the miniature.")
]
StudyName = Annotated[str | None, typer.Option("--study", help="Name of the study.")]
Storage = Annotated[
    str | None, typer.Option("--storage", help="SQLAlchemy URL; default: SQLite in the study's folder.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any setting, as in the file. Repeatable."),
]


@app.callback(invoke_without_command=True)
def search(
    context: typer.Context,
    trials: Annotated[int | None, typer.Option(help="Finished trials in all; the same command resumes.")] = None,
    workers: Annotated[int | None, typer.Option(help="Slots; default: one a visible GPU, one on a CPU.")] = None,
    study: StudyName = None,
    storage: Storage = None,
    seed: Annotated[int | None, typer.Option(help="Of the sampler and of every run.")] = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Search learning rate, weight decay, milestones and gradient clip for an XTTS-v2 fine-tune, and export the best.

    Without settings it searches the miniature: a small base and generated Amharic speech, on any machine.
    """
    if context.invoked_subcommand is not None:
        return
    flags = {
        "study.trials": trials,
        "study.workers": workers,
        "study.name": study,
        "study.storage": storage,
        "study.seed": seed,
    }
    loaded = _load(settings, flags, set_)

    from search import report, session
    from search.view import make_view

    if loaded.is_miniature:
        print(
            "Searching the miniature: a small base, generated Amharic speech. For your own data see study.example.toml."
        )
    view = make_view()
    try:
        result = session.search(loaded, view)
    finally:
        view.close()
    console = _console()
    report.show(result.findings, loaded.search_space(), console)
    if result.time_share:
        console.print(result.time_share)
    if result.path:
        console.print(f"Exported (not confirmed at full length): {_shown(result.path)}")
    if result.stopped:
        console.print("Stopped; the same command continues the study.")
        raise typer.Exit(130)


@app.command()
def status(study: StudyName = None, storage: Storage = None, settings: SettingsFile = None, set_: Set = None) -> None:
    """Show what a study has found so far, from any terminal."""
    loaded = _load(settings, {"study.name": study, "study.storage": storage}, set_)
    from search import report
    from search import storage as storage_
    from search.view import duration

    loaded_study = storage_.load_study(loaded)
    findings = report.read(loaded_study)
    console = _console()
    for row in findings.rows:
        if row.trial.state.name == "RUNNING" and row.trial.datetime_start:
            import datetime

            age = (datetime.datetime.now() - row.trial.datetime_start).total_seconds()
            values = row.trial.intermediate_values
            last = (
                f"step {max(values)}/{findings.horizon}  eval {values[max(values)]:.4f}"
                if values
                else "no evaluation yet"
            )
            point = loaded.search_space().from_params(row.trial.params).describe() if row.trial.params else ""
            console.print(f"running: trial {row.trial.number}  {last}  for {duration(age)}  {point}")
    report.show(findings, loaded.search_space(), console)


@app.command()
def replay(
    number: Annotated[int, typer.Argument(help="Number of the trial.", metavar="NUMBER")],
    study: StudyName = None,
    storage: Storage = None,
    settings: SettingsFile = None,
    set_: Set = None,
) -> None:
    """Run a trial again in the foreground, from its spec, and compare its evaluations with those of the search."""
    loaded = _load(settings, {"study.name": study, "study.storage": storage}, set_)
    from search import session

    def line(then: Any, now: Any) -> None:
        compared = (
            "not recorded" if then is None else f"then {then.mel_ce:.6f}  difference {now.mel_ce - then.mel_ce:+.1e}"
        )
        print(f"step {now.step}  eval {now.mel_ce:.6f}  {compared}", flush=True)

    pairs = session.replay(loaded, number, line)
    same = sum(then is not None and then.mel_ce == now.mel_ce for then, now in pairs)
    recorded = sum(then is not None for then, _ in pairs)
    print(f"{same} of {recorded} recorded evaluations are the same bit for bit.")


def _load(path: Path | None, flags: dict[str, Any], set_: list[str] | None) -> Any:
    """Settings from the file under `--set` under the named flags."""
    from search.errors import UserError
    from search.settings import load

    overrides: dict[str, Any] = {}
    for entry in set_ or []:
        key, equals, value = entry.partition("=")
        if not equals:
            raise UserError(f"--set {entry!r} is not of the form section.key=value")
        try:
            overrides[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[key.strip()] = value  # a bare word is a string
    return load(path, {**overrides, **{k: v for k, v in flags.items() if v is not None}})


def _console() -> Any:
    """Wide enough in a pipe that no line is cut."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 160)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def main() -> None:
    """One clear line and exit code 2 for bad input."""
    import click

    try:
        code = app(standalone_mode=False)
    except click.UsageError as error:
        sys.exit(_refuse(error.format_message()))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as in `study.py | head`
        sys.stderr.close()
        sys.exit(141)
    except ValueError as error:
        from search.errors import UserError

        if not isinstance(error, UserError):
            raise
        sys.exit(_refuse(str(error)))
    sys.exit(code or 0)


def _refuse(message: str) -> int:
    print(f"study.py: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
