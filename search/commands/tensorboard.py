"""TensorBoard on the runs of a study. Its own server, on this machine only."""

import io
import ipaddress
import threading
from contextlib import redirect_stderr
from typing import Any

import click
from tensorboard import program

from search.commands.options import common, load_settings
from search.errors import UserError
from search.settings.settings import Settings
from search.text import shown

TICKED = 40  # runs that TensorBoard shows at first; of more it shows none (tensorboard/webapp, runs_reducers.ts)


def launch(settings: Settings, host: str, port: int) -> tuple[str, int]:
    """(the URL at which TensorBoard answers from now on, until this process ends; how many runs it has to show).

    Port 0 is any free one. The curves of TIME SERIES are as measured: a trial's few evaluations bear no smoothing.
    Raises UserError for a study without runs here, an address of which the network sees anything, and a port in use.
    """
    if not _is_loopback(host):
        raise UserError(
            f"--host is {host!r}; TensorBoard has no password, so it answers on 127.0.0.1 only. From elsewhere:"
            f" ssh -L {port}:127.0.0.1:{port} USER@THIS-MACHINE, and open http://127.0.0.1:{port} there"
        )
    folder = settings.directory.absolute()
    if not any((folder / runs).is_dir() for runs in ("trials", "confirm")):
        raise UserError(
            f"study {settings.study.name!r} has no runs in {folder}; run the command where the search ran, or name its"
            " settings by --settings"
        )
    server = program.TensorBoard()
    try:
        server.configure(("tensorboard", "--logdir", str(folder), "--host", host, "--port", str(port)))
        with redirect_stderr(io.StringIO()):  # it says that its loader is experimental
            url: str = server.launch()
    except program.TensorBoardServerException as error:
        raise UserError(f"{error.msg}; choose another by --port, 0 for any that is free") from error
    return f"{url}?smoothing=0", sum(1 for _ in folder.rglob("tensorboard"))  # replays of trials are runs, too


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="An address of this machine alone.")
@click.option("--port", type=click.IntRange(0, 65535), default=6006, show_default=True, help="0: any free one.")
@common
def command(host: str, port: int, **given: Any) -> None:
    """Serve TensorBoard on the trials and the confirmation of a study that ran on this machine, until Ctrl-C."""
    settings = load_settings(given, shows=True)
    url, runs = launch(settings, host, port)
    print(f"TensorBoard on {shown(settings.directory.absolute())}: {url}  (Ctrl-C ends it)", flush=True)
    if runs > TICKED:
        print(
            f"Of its {runs} runs it shows those that are ticked: at first none, as of any more than {TICKED}.",
            flush=True,
        )
    threading.Event().wait()
