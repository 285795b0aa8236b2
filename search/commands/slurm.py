"""`study.py slurm`: a job array that searches, as a script for sbatch."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from sqlalchemy.engine import make_url

import search
from search.commands import search as searching
from search.commands.notify import VARIABLE
from search.commands.options import load_settings, overrides
from search.errors import UserError
from search.files import write_text
from search.settings.storage_url import plain_url, safe_url
from search.text import shown
from search.tools.slurm_script import script

KEPT = ("PGPASSFILE", "PGSERVICEFILE", "XTTS_STUDY_CACHE")  # variables that name files


class Checked(click.ParamType):
    """Text of a form that Slurm reads: it becomes a line of the script."""

    def __init__(self, name: str, pattern: str, example: str) -> None:
        self.name, self._pattern, self._example = name, pattern, example

    def convert(self, value: str, parameter: click.Parameter | None, context: click.Context | None) -> str:
        if not re.fullmatch(self._pattern, value, re.ASCII):
            self.fail(f"{value!r} is not of the form {self._example}", parameter, context)
        return value


TIME = Checked("limit", r"(\d+-)?\d+(:\d+){0,2}", "24:00:00 or 2-12:00:00")
PARTITION = Checked("name", r"[\w.,-]+", "gpu or gpu,long")


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--gpus", type=click.IntRange(1), required=True, help="Jobs of the array, with one GPU each.")
@click.option("--time", type=TIME, help="Limit of each run of a job, as 24:00:00. Default: the partition's.")
@click.option("--partition", type=PARTITION, help="Default: the cluster's.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF A SEARCH]...")
@click.pass_context
def command(context: click.Context, gpus: int, time: str | None, partition: str | None, options: tuple[str]) -> None:
    """Write a Slurm job array that searches, with the options of study.py that follow. docs/slurm.md

    Its jobs share a PostgreSQL, end their runs in order before the time limit, and are queued again until the study is
    done.
    """
    parsed = searching.command.make_context("search", list(options), parent=context)
    settings = load_settings(parsed.params)
    host = _shared_host(settings.storage_url)
    _refuse_secrets(parsed)
    own = [sys.executable, str(Path(search.__file__).parent.parent / "study.py"), *options]
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    own += settings.study.saving  # its jobs are ended by the clock, and may be preempted
    text = script(gpus, {"time": time, "partition": partition}, Path.cwd(), kept, own)
    path = settings.directory / "search.sbatch"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be written: {error.strerror}; name another --study") from error
    print(text)
    if host in ("localhost", "127.0.0.1", "::1"):
        print(f"# The database's host is {host}: only jobs on its own machine reach it.")
    print(f"# Saved. Submit it with: sbatch {shown(path)}", flush=True)


def _shared_host(storage: str) -> str | None:
    """The host of the database, if the URL names one. Raises UserError for one that several machines cannot share."""
    if storage.startswith("sqlite"):
        raise UserError(
            f"study.storage is {storage}; the jobs run on several machines, and SQLite serves one search at a time:"
            " name a PostgreSQL with --storage (study.py database --listen ADDRESS starts one)"
        )
    return make_url(plain_url(storage)).host


def _refuse_secrets(parsed: click.Context) -> None:
    """Raises UserError for a password that would stand in the script."""
    given: dict[str, Any] = parsed.params
    storage = plain_url(str(overrides(given).get("study.storage", "")))
    if safe_url(storage) != storage:
        raise UserError(
            f"study.storage {safe_url(storage)} has a password, which would stand in the script; leave it out, and set"
            " PGPASSFILE to a password file of mode 600"
        )
    if given["notify"] and parsed.get_parameter_source("notify") == ParameterSource.COMMANDLINE:
        raise UserError(f"--notify would stand in the script with its secrets; set {VARIABLE} before sbatch instead")
