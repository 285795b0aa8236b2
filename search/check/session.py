"""A check from settings to report: the survey is made in a child, which has torch; this process has not."""

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from search import storage
from search.check.judging import judge
from search.check.machine import look
from search.check.probe import Probe
from search.check.report import Finding, Report
from search.devices import reserved, visible_gpus
from search.errors import UserError
from search.launcher import Failed, Launcher
from search.machine_cache import make_cache_directory
from search.printable import printable
from search.settings import Settings, safe_url
from search.survey import Survey, read_survey
from search.training.child import check_child
from search.views.progress import with_bar

Progress = Callable[[str], None]


def check(settings: Settings, stream: TextIO, measure: bool = True) -> Report:
    """What is to be said of data, base and machine. With `measure` and a free GPU two training steps are made on it.

    Tells `stream` how far it is. Raises UserError for what cannot be read at all, such as a table without a clip.
    """
    progress = Told(stream)
    cache = make_cache_directory()
    machine = look(settings, cache)
    further = storage_findings(settings)
    with ExitStack() as stack:
        device = None
        if measure and machine.gpus:
            try:
                device = stack.enter_context(reserved(visible_gpus(), 1, cache / "gpus"))[0]
            except UserError:
                further.append(Finding("info", "memory", "all GPUs are in use by searches: nothing was measured"))
        try:
            survey, probe, failure = _survey(settings, cache, device, progress)
        finally:
            progress.clear()
    if failure:
        further.append(Finding("warning", "memory", f"the measurement on the GPU failed: {failure}", "look at the GPU"))
    return judge(settings, survey, machine, probe, further)


def _survey(
    settings: Settings, cache: Path, device: str | None, progress: Progress
) -> tuple[Survey, Probe | None, str | None]:
    """(survey, what was measured, why it was not) by a child. Raises UserError, also when the child dies."""
    with tempfile.TemporaryDirectory(prefix="check-", dir=cache) as folder:
        found = Path(folder) / "survey.json"
        log = cache / f"check-{os.getpid()}.log"
        progress("loading torch and TTS")
        child = Launcher().start(check_child, settings.model_dump_json(), str(cache), str(log), str(found), device)
        survey, probe = None, None
        try:
            for message in child.messages(log):
                match message:
                    case {"kind": "progress", "text": text}:
                        progress(text)
                    case {"kind": "surveyed"}:
                        survey = read_survey(found)
                    case {"kind": "probed", "probe": values}:
                        probe = Probe(**values)
        except Failed as error:
            if survey is None:
                raise UserError(f"the check failed: {error}") from error
            return survey, None, str(error)
        assert survey is not None, "it ends well only after it has said so"
        return survey, probe, None


def storage_findings(settings: Settings) -> list[Finding]:
    """Whether the storage answers and the study's folder can be written to. Creates nothing; shows no password."""
    findings = []
    try:
        there = storage.exists(settings)
    except UserError as error:
        findings.append(Finding("error", "storage", str(error), "see docs/operations.md"))
    else:
        if there:
            message = f"study {settings.study.name!r} is there already, in {safe_url(settings.storage_url)}"
            findings.append(Finding("info", "storage", message, "a search with these settings continues it"))
    folder = settings.directory.absolute()
    above = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(above, os.W_OK):
        message = f"study.directory {settings.study.directory} cannot be written to"
        findings.append(Finding("error", "storage", message, f"name another, or give this user the right to {above}"))
    return findings


class Told:
    """Writes progress to a stream: each over the one before in a terminal, as lines elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._live = stream, stream.isatty()

    def __call__(self, text: str) -> None:
        line = f"\r\x1b[K{with_bar(printable(text))[:78]}" if self._live else f"{printable(text)}\n"
        print(line, end="", file=self._stream, flush=True)

    def clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
