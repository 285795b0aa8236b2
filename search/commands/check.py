"""`study.py check`: what is wrong with data, base and machine. A child, which has torch, looks and judges."""

import pickle
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import click

from search.check import document
from search.check.judgement import Finding, Report
from search.check.machine import look
from search.commands.options import common, load_settings, make_console
from search.devices import AllInUse, reserved, visible_gpus
from search.errors import UserError
from search.pages.check_page import to_html
from search.preparation.cache import make_cache_directory
from search.settings.settings import Settings, safe_url
from search.show.check_tables import show
from search.show.progress import with_bar
from search.study import storage
from search.study.folder import refuse_closed
from search.text import printable, shown
from search.workers.gpus import refuse_unusable
from search.workers.launcher import Failed, Launcher
from search.workers.session import told


def check(settings: Settings, stream: TextIO, measure: bool = True) -> Report:
    """What a check finds. With `measure` and a free GPU, two training steps are made on it.

    Writes its progress to `stream`. Raises UserError for what cannot be read at all, such as a table without a clip.
    """
    cache = make_cache_directory()
    machine, launcher, device = look(settings, cache), Launcher(), None
    unusable = gpu_findings(launcher, cache)
    further = storage_findings(settings) + unusable
    with ExitStack() as stack:
        if measure and machine.gpus and not unusable:
            device = stack.enter_context(reserved(visible_gpus(), 1, cache / "gpus"))[0]
        written = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="check-", dir=cache))) / "report"
        progress = partial(_tell, stream)
        stack.callback(progress, "")
        progress("loading torch and TTS")
        request = {
            "settings": settings.model_dump_json(), "cache": str(cache), "machine": machine, "report": str(written),
            "measure": device is not None,
        }  # fmt: skip
        try:
            launcher.call("search.preparation.check_child:run", request, told(progress), device=device)
        except Failed as error:
            if not written.exists():
                raise UserError(f"the check failed: {error}") from error
            message = f"the measurement on the GPU failed: {error}"
            further.append(Finding("warning", "memory", message, "look at the GPU"))
        report: Report = pickle.loads(written.read_bytes())  # noqa: S301 -- from our child, in a private folder
    return report.including(further)


def gpu_findings(launcher: Launcher, cache: Path) -> list[Finding]:
    """Whether torch can use the GPUs; of those that searches use now nothing is asked."""
    try:
        with reserved(visible_gpus(), None, cache / "gpus") as free:
            refuse_unusable(free, launcher)
    except AllInUse:
        return [Finding("info", "memory", "all GPUs are in use by searches: nothing was measured")]
    except UserError as error:
        return [Finding("error", "machine", str(error))]
    return []


def storage_findings(settings: Settings) -> list[Finding]:
    """Whether a search may do what it needs in its storage and its folder. Creates nothing; shows no password."""
    try:
        refuse_closed(settings)
        is_there = storage.try_out(settings)
    except UserError as error:
        return [Finding("error", "storage", str(error), "see docs/operations.md")]
    message = f"study {settings.study.name!r} already exists in {safe_url(settings.storage_url)}"
    return [Finding("info", "storage", message, "a search with these settings continues it")] if is_there else []


def _tell(stream: TextIO, text: str) -> None:
    """Writes progress to `stream`: on one line in a terminal, which an empty text clears, and as lines elsewhere."""
    if stream.isatty():
        print(f"\r\x1b[K{with_bar(printable(text))[:78]}", end="", file=stream, flush=True)
    elif text:
        print(printable(text), file=stream, flush=True)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write a page with charts.")
@click.option("--csv", "table", type=click.Path(path_type=Path), metavar="FILE", help="File for the list of clips.")
@click.option("--fast", is_flag=True, help="Do not measure on a GPU.")
@common
@click.pass_context
def command(
    context: click.Context, as_json: bool, html: Path | None, table: Path | None, fast: bool, **given: Any
) -> None:
    """Find what is wrong with data, base and machine before any GPU time is spent.

    Exit code 2 if a search would not start, otherwise 0. Without --csv the list of clips is written next to the
    study's folder.
    """
    settings = load_settings(given)
    report = check(settings, sys.stderr, measure=not fast)
    if html:
        document.write(html, to_html(report), "--html")
    if table is None and not as_json and any(finding.files for finding in report.findings):
        table = settings.study.directory / f"{settings.study.name}.check.csv"
    if table:
        document.write(table, document.to_csv(report), "--csv")
    if as_json:
        print(document.to_json(report))
    else:
        console = make_console()
        show(report, console)
        for what, path in (("clips", table), ("page", html)):
            if path:
                console.print(f"{what}: {shown(path)}")
    context.exit(2 if report.of("error") else 0)
