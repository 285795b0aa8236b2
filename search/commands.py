"""The commands of study.py that come before a search: fetch the base, check the data, extend the vocabulary, the cache.

They parse, wire and print, as study.py does; what they call is imported when it is called.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import click

from search.command_line import common, load_settings, make_console, shown


@click.command("fetch-base", short_help="Download XTTS-v2, the base to fine-tune.")
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

    from search.fetch.base_files import XTTS_V2
    from search.fetch.download import fetch
    from search.fetch.licence import accepted
    from search.fetch.view import amount, make_fetch_view

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


@click.command(short_help="Judge data, base and machine before a search.")
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


@click.command("extend-vocab", short_help="Make a base with tokens for a new language.")
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


@click.command(short_help="Show or clear what searches keep on this machine.")
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


@click.command(short_help="Show the curves of a study's runs in TensorBoard.")
@click.option("--host", default="127.0.0.1", show_default=True, help="An address of this machine alone.")
@click.option("--port", type=click.IntRange(0, 65535), default=6006, show_default=True, help="0: any free one.")
@common
def tensorboard(host: str, port: int, **given: Any) -> None:
    """Serve TensorBoard on the trials and the confirmation of a study that ran on this machine, until Ctrl-C."""
    settings = load_settings(given, shows=True)
    from search.tensorboard import TICKED, launch

    url, runs = launch(settings, host, port)
    print(f"TensorBoard on {shown(settings.directory.absolute())}: {url}  (Ctrl-C ends it)", flush=True)
    if runs > TICKED:
        print(
            f"Of its {runs} runs it shows those that are ticked: at first none, as of any more than {TICKED}.",
            flush=True,
        )
    threading.Event().wait()


@click.command(short_help="Show the study in a browser.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address needs a password.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any that is free.")
@click.option("--writable", is_flag=True, help="Let the page change and delete: notes, trials, whole studies.")
@click.option("--password-file", type=click.Path(path_type=Path), metavar="FILE", help="Holds the password.")
@click.option(
    "--tensorboard", default="http://127.0.0.1:6006", show_default=True, metavar="URL", help="Where links lead."
)
@common
@click.pass_context
def dashboard(
    context: click.Context,
    host: str,
    port: int,
    writable: bool,
    password_file: Path | None,
    tensorboard: str,
    **given: Any,
) -> None:
    """Serve Optuna's dashboard on the study, with notes, figures and sound, until Ctrl-C.

    It may start before the study. A password comes from XTTS_STUDY_DASHBOARD_PASSWORD or --password-file.
    """
    settings = load_settings(given, shows=True)
    from search.dashboard import server

    try:
        server.serve(settings, host, port, writable, password_file, tensorboard, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        context.exit(130)


@click.command("report", short_help="Write a study as one page, to read and to listen to.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Default: report.html, in its folder.")
@common
def study_report(output: Path | None, **given: Any) -> None:
    """Write everything that a study has found into one HTML file: figures, sound, what to do next.

    It needs no network and no other file. A study that still runs may be reported, too.
    """
    settings = load_settings(given, shows=True)
    from search import study_report as pages
    from search.study_report.answer import options_of

    path = pages.write(settings, output, options_of(given))
    print(f"Report: {shown(path)} ({path.stat().st_size / 1e6:.1f} MB)")


COMMANDS = (fetch_base, check, extend_vocab, cache, tensorboard, dashboard, study_report)
