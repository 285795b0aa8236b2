#!/usr/bin/env python3
"""xtts-study: the hyperparameters of XTTS-v2 fine-tuning, searched. The command line: it parses, wires and prints."""

import os
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
@click.option("--repeats", type=int, help="More runs of the stock recipe with other seeds, to measure the noise.")
@click.option("--confirm", "then_confirm", is_flag=True, help="Prove the winner in full runs once the search is done.")
@common
@click.pass_context
def search(
    context: click.Context,
    trials: int | None,
    workers: int | None,
    seed: int | None,
    repeats: int | None,
    then_confirm: bool,
    **given: Any,
) -> None:
    """Search learning rate, weight decay, milestones and gradient clip for an XTTS-v2 fine-tune, and export the best.

    Without settings it searches the miniature: a small base and generated Amharic speech, on any machine.
    """
    flags = {"study.trials": trials, "study.workers": workers, "study.seed": seed, "study.repeats": repeats}
    if context.invoked_subcommand is not None:
        if any(value not in (None, (), False) for value in (*flags.values(), then_confirm, *given.values())):
            raise click.UsageError(f"options go after the command: study.py {context.invoked_subcommand} …")
        return
    settings = load_settings(given, flags)
    from search import best_config, report, session
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
        confirmed = "confirmed" if best_config.read(result.path).confirmed else "not confirmed at full length"
        console.print(f"Exported ({confirmed}): {shown(result.path)}")
    if result.stopped:
        console.print("Stopped; the same command continues the study.")
        context.exit(130)
    if then_confirm:
        prove(settings, context)


@search.command(short_help="Prove the winner: full runs with several seeds.")
@click.option("--workers", type=int, help="Slots, as in the search.")
@click.option("--top", type=int, help="Best trials that race the stock recipe (default 3).")
@click.option("--seeds", type=int, help="Full runs of each config that can still win (default 3).")
@click.option("--audit", type=int, help="Pruned trials that are finished, to see what pruning lost (default 2).")
@common
@click.pass_context
def confirm(
    context: click.Context, workers: int | None, top: int | None, seeds: int | None, audit: int | None, **given: Any
) -> None:
    """Run the best trials and the stock recipe at full length with several seeds, and export the winner.

    The same command resumes, and may run on several machines at once.
    """
    flags = {"study.workers": workers, "confirm.top": top, "confirm.seeds": seeds, "confirm.audit": audit}
    prove(load_settings(given, flags), context)


def prove(settings: Any, context: click.Context) -> None:
    """Confirms, shows the result, and exports what it recommends."""
    from search import handover
    from search.confirmation import report as confirmation_report
    from search.confirmation import session
    from search.view import make_view

    view = make_view()
    try:
        result = session.confirm(settings, view)
    finally:
        view.close()
    console = make_console()
    if result.confirmation is None:
        console.print("Stopped; study.py confirm with the same settings continues the confirmation.")
        context.exit(130)
    confirmation_report.show(result.confirmation, result.findings.base, console)
    best = handover.choose(settings, None)
    path = handover.save(best, "json", settings, None)
    console.print(f"Exported ({'confirmed' if best.confirmed else 'not confirmed'}): {shown(path)}")


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
    from search.confirmation import session

    if runs := session.read(settings):
        from search.confirmation import report as confirmation_report

        found = session.result(runs, findings, settings)
        if found:
            confirmation_report.show(found, findings.base, console)
        else:
            confirmation_report.show_progress(runs, console)


@search.command(short_help="Write the config for the full run.")
@click.option("--trial", type=int, metavar="N", help="A completed trial; default: the confirmed config, or the best.")
@click.option(
    "--format", "form", type=click.Choice(["json", "coqui"]), default="json", help="coqui: for its own trainer."
)
@click.option("--output", help="A file, or - for the terminal; default: in the study's folder.")
@common
def export(trial: int | None, form: str, output: str | None, **given: Any) -> None:
    """Write the config for the full run: best_config.json, or a config that coqui's own trainer reads."""
    settings = load_settings(given)
    from search import handover

    best = handover.choose(settings, trial)
    if output == "-":
        sys.stdout.write(handover.text(best, form))
        path = "FILE"
    else:
        path = shown(handover.save(best, form, settings, Path(output) if output else None))
        print(f"Exported ({'confirmed' if best.confirmed else 'not confirmed'}): {path}")
    print(*handover.advice(best, form, path), sep="\n", file=sys.stderr if output == "-" else sys.stdout)


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


@search.command(short_help="Judge data, base and machine before a search.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write a page with pictures.")
@click.option("--csv", "table", type=click.Path(path_type=Path), metavar="FILE", help="The clips that are named.")
@click.option("--fast", is_flag=True, help="Measure nothing on a GPU.")
@common
@click.pass_context
def check(
    context: click.Context, as_json: bool, html: Path | None, table: Path | None, fast: bool, **given: Any
) -> None:
    """Say what is wrong with data, base and machine before any GPU time is spent.

    Exit code 2 for what would stop a search, 0 for warnings. Without --csv the list of clips is written beside the
    study's folder.
    """
    settings = load_settings(given)
    from search.check import document, session

    report = session.check(settings, sys.stderr, measure=not fast)
    if html:
        from search.check.page import to_html

        document.write(html, to_html(report), "--html")
    if table is None and not as_json and any(finding.files for finding in report.findings):
        table = settings.study.directory / f"{settings.study.name}.check.csv"
    if table:
        document.write(table, document.to_csv(report), "--csv")
    if as_json:
        print(document.to_json(report))
    else:
        from search.check.terminal import show

        console = make_console()
        show(report, console)
        for what, path in (("clips", table), ("page", html)):
            if path:
                console.print(f"{what}: {shown(path)}")
    context.exit(2 if report.of("error") else 0)


@search.command("extend-vocab", short_help="Make a base with tokens for a new language.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder of the new base.")
@click.option("--tokens", type=click.IntRange(0, 100_000), help="By merges, beside letters and tag (default 1000).")
@click.option("--vocabulary", type=click.Path(path_type=Path), metavar="FILE", help="A vocab.json extended elsewhere.")
@click.option(
    "--init", type=click.Choice(["matched", "stock", "mean", "parts"]), default="matched", help="Of the new rows."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Of the new rows; default: study.seed.")
@click.option("--any-letters", is_flag=True, help="Merge letters that the base has: for a language in Latin script.")
@common
def extend_vocab(
    output: Path,
    tokens: int | None,
    vocabulary: Path | None,
    init: Any,
    seed: int | None,
    any_letters: bool,
    **given: Any,
) -> None:
    """Write a new base that has tokens for the letters and frequent syllables of the training texts.

    Every old token keeps its id and its rows; texts without a new letter are cut into the same tokens as before.
    """
    if vocabulary is not None and (tokens is not None or any_letters):
        raise click.UsageError("--vocabulary brings its own merges; --tokens and --any-letters are for learning them")
    settings = load_settings(given)
    from search import extend

    asked = None if vocabulary else extend.TOKENS if tokens is None else tokens
    made = extend.extend(
        settings,
        output,
        asked or 0,
        vocabulary,
        init,
        seed,
        any_letters,
        lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(*made.lines(asked), f"Written: {shown(output)}; name it by base.path", sep="\n")


@search.command(short_help="Show or clear what searches keep on this machine.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--clear", is_flag=True, help="Remove the folders named, or all; never one in use.")
@click.option("--older-than", type=float, metavar="DAYS", help="With --clear: only what was not used for so long.")
def cache(names: tuple[str, ...], clear: bool, older_than: float | None) -> None:
    """List the decoded audio, codes and tokens that searches share on this machine, and remove them.

    A search makes again what it misses.
    """
    if not clear and (names or older_than is not None):
        raise click.UsageError("names and --older-than go with --clear")
    from search import cache_view

    cache_view.show(names, clear, older_than, make_console())


@search.command(short_help="Measure any run's checkpoints, and correct its logs.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--accumulation", type=click.IntRange(min=1), help="Of the logged run, where its log does not tell.")
@click.option("--logs-only", is_flag=True, help="Read the logs and measure nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@common
def checkpoints(folder: Path, accumulation: int | None, logs_only: bool, as_json: bool, **given: Any) -> None:
    """List the checkpoints of DIR, a run folder of coqui's trainer or of ours, with their real eval losses.

    DIR may also be a folder of runs, or a log alone. Says what the logs claim, what of it is so, and which to take.
    """
    settings = load_settings(given)
    from search.coqui_runs import view as checkpoints_view
    from search.coqui_runs.folder import read
    from search.coqui_runs.printable import printable

    report = read(folder, accumulation)
    if not logs_only:
        from search.coqui_runs.measure import measure

        measure(report, settings, lambda text: print(printable(text), file=sys.stderr, flush=True))
    if as_json:
        print(checkpoints_view.to_json(report))
    else:
        checkpoints_view.show(report, make_console())


@search.command("fetch-base", short_help="Download XTTS-v2, the base to fine-tune.")
@click.option("--output", type=click.Path(path_type=Path), default="xtts-v2", show_default=True, help="Folder to make.")
@click.option("--revision", help="A branch, tag or commit of coqui/XTTS-v2; default: one whose digests are pinned.")
@click.option("--accept-licence", is_flag=True, help="Accept the Coqui Public Model License (non-commercial use).")
@click.pass_context
def fetch_base(context: click.Context, output: Path, revision: str | None, accept_licence: bool) -> None:
    """Download coqui/XTTS-v2 (2.1 GB) from Hugging Face, every file checked. The same command resumes.

    Asks for its licence to be accepted; in a script, accept it with --accept-licence or COQUI_TOS_AGREED=1.
    """
    # Read at import: without it the client tells the hub of torch's version, and asks it what started this command.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import tomli_w

    from search.base_files import XTTS_V2
    from search.fetch import fetch
    from search.fetch_view import amount, make_fetch_view
    from search.licence import accepted

    def ask() -> str:
        typed: str = click.prompt("Type yes to accept it", default="", show_default=False)
        return typed

    view = make_fetch_view()
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        done = fetch(
            output, revision, lambda: accepted(XTTS_V2, accept_licence, ask if at_terminal else None, view.note), view
        )
    except KeyboardInterrupt:
        print("Stopped; the same command continues.")
        context.exit(130)
    state = "Downloaded" if done.downloaded else "Complete already, and checked; nothing was downloaded"
    print(f"{state}: {shown(output.absolute())} ({amount(done.size)}, commit {done.source.revision})")
    print("Next, in study.toml:", tomli_w.dumps({"base": {"path": shown(output.absolute())}}), sep="\n", end="")


@search.command(short_help="Train in full with an exported config.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--seed", type=int, help="Of the run; default: the search's.")
@click.option("--max-gap", type=float, help="Eval / train probe above which the run stops; default: the config's.")
@click.option(
    "--min-delta", metavar="NATS", help="A smaller rise is none; seed_noise: as the confirmation measured it."
)
@click.option("--healthy-gap", type=float, help="Below which the report calls it healthy; default: the config's.")
@click.option("--set", "set_", metavar="SECTION.KEY=VALUE", multiple=True, help="Like data.path, where it lies here.")
@click.pass_context
def train(
    context: click.Context,
    config: Path,
    output: Path,
    seed: int | None,
    max_gap: float | None,
    healthy_gap: float | None,
    min_delta: str | None,
    set_: tuple[str, ...],
) -> None:
    """Train in full with CONFIG, a best_config.json; at the end OUTPUT/ready speaks. The same command resumes."""
    from search import full_run
    from search.full_run_view import make_full_run_view

    flags = {"train.max_gap": max_gap, "train.healthy_gap": healthy_gap}
    overrides = {**parsed(set_), **{k: v for k, v in flags.items() if v is not None}}
    view = make_full_run_view()
    try:
        result = full_run.train(config, output, seed, overrides, view, min_delta)
    finally:
        view.close()
    if result is None:
        print("Stopped; the same command continues.")
        context.exit(130)
    print(*result.lines(), *full_run.next_steps(output), sep="\n")
    context.exit(1 if result.reason == "diverged" else 0)


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
