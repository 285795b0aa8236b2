"""`study.py fetch-base`: the base model from its hub."""

import os
import sys
from pathlib import Path

import click
import tomli_w

# Read at import: without it the client tells the hub of torch's version, and asks it what started this command.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from search.text import shown
from search.tools.base_files import XTTS_V2
from search.tools.download import fetch
from search.tools.download_display import amount, make_fetch_view
from search.tools.licence import accepted


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default="xtts-v2", show_default=True, help="Folder to make.")
@click.option("--revision", help="A branch, tag or commit of coqui/XTTS-v2; default: one whose digests are pinned.")
@click.option("--accept-licence", is_flag=True, help="Accept the Coqui Public Model License (non-commercial use).")
@click.pass_context
def command(context: click.Context, output: Path, revision: str | None, accept_licence: bool) -> None:
    """Download coqui/XTTS-v2 (2.1 GB) from Hugging Face, every file checked. The same command resumes.

    Asks for its licence to be accepted; in a script, accept it with --accept-licence or COQUI_TOS_AGREED=1.
    """

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
