"""`study.py tensorboard`: TensorBoard on the runs of a study, for this machine only."""

import io
import os
import time
from contextlib import redirect_stderr
from typing import Any

import click
import psutil
from tensorboard import program

from search.commands.options import common, load_settings
from search.errors import UserError
from search.settings.settings import Settings
from search.text import shown

TICKED = 40  # TensorBoard shows the runs at first only up to this number (tensorboard/webapp, runs_reducers.ts)


def launch(settings: Settings, host: str, port: int) -> tuple[str, int]:
    """Starts TensorBoard, which answers until this process ends: (its URL, the number of runs).

    Port 0 takes any free port. The URL turns off the smoothing of TIME SERIES, which would bend a trial's few points.
    Raises UserError for a study without runs here, an address that other machines can reach, and a port in use.
    """
    if host not in ("localhost", "127.0.0.1", "::1"):
        raise UserError(
            f"--host is {host!r}; TensorBoard has no password, so it answers on 127.0.0.1 only. From elsewhere:"
            f" ssh -L {port}:127.0.0.1:{port} USER@THIS-MACHINE, and open http://127.0.0.1:{port} there"
        )
    folder = settings.directory.absolute()
    if not any((folder / runs).is_dir() for runs in ("trials", "confirm")):
        raise UserError(
            f"study {settings.study.name!r} has no runs in {folder}; run the command where the search ran, or give its"
            " settings with --settings"
        )
    server = program.TensorBoard()
    try:
        server.configure(("tensorboard", "--logdir", str(folder), "--host", host, "--port", str(port)))
        with redirect_stderr(io.StringIO()):  # it says that its loader is experimental
            url: str = server.launch()
    except program.TensorBoardServerException as error:
        raise UserError(f"{error.msg}; choose another with --port, or 0 for any free port") from error
    return f"{url}?smoothing=0", sum(1 for _ in folder.rglob("tensorboard"))  # replays of trials are runs, too


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=6006, show_default=True, help="0: any free one.")
@common
def command(host: str, port: int, **given: Any) -> None:
    """Serve TensorBoard on the trials and the confirmation of a study that ran on this machine, until Ctrl-C."""
    settings = load_settings(given, shows=True)
    url, runs = launch(settings, host, port)
    print(f"TensorBoard on {shown(settings.directory.absolute())}: {url}  (Ctrl-C ends it)", flush=True)
    if runs > TICKED:
        print(
            f"It has {runs} runs. TensorBoard shows none of more than {TICKED} until you tick them on the left.",
            flush=True,
        )
    try:
        while True:
            time.sleep(1)  # not for ever: a signal that one of gRPC's threads received is seen at the next turn
    except KeyboardInterrupt:
        # Its loader and gRPC can hang at their own ends on a busy machine.
        for loader in psutil.Process().children():
            loader.kill()
        os._exit(130)
