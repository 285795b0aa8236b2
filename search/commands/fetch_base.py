"""`study.py fetch-base`: the base model from its hub."""

import os
import sys
from pathlib import Path

import click
import tomli_w

# huggingface_hub reads these when it is imported. Telemetry would report torch's version and what started this
# command; warnings contain URLs, which may contain a password.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_VERBOSITY"] = "error"

from search.text import shown
from search.tools.base_files import XTTS_V2, acceptance
from search.tools.fetch import AGAIN, fetch


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default="xtts-v2", show_default=True, help="Folder to make.")
@click.option("--accept-licence", is_flag=True, help="Accept the Coqui Public Model License (non-commercial use).")
@click.pass_context
def command(context: click.Context, output: Path, accept_licence: bool) -> None:
    """Download coqui/XTTS-v2 (2.1 GB) from Hugging Face and check every file. Run it again to continue.

    Asks you to accept the licence; in a script, accept it with --accept-licence or COQUI_TOS_AGREED=1.
    """

    def ask() -> str:
        typed: str = click.prompt("Type yes to accept it", default="", show_default=False)
        return typed

    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        downloaded = fetch(output, lambda: acceptance(XTTS_V2, accept_licence, ask if at_terminal else None))
    except KeyboardInterrupt:
        print(f"Stopped; {AGAIN}.")
        context.exit(130)
    state = "Downloaded and checked" if downloaded else "Complete and checked; nothing was downloaded"
    print(f"{state}: {shown(output.absolute())} (commit {XTTS_V2.revision})")
    print("Next, in study.toml:", tomli_w.dumps({"base": {"path": shown(output.absolute())}}), sep="\n", end="")
