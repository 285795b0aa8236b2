"""`study.py database`: a PostgreSQL of the user's own, until Ctrl-C."""

import getpass
import shlex
import socket
from pathlib import Path

import click

from search.text import shown
from search.tools import own_database
from search.tools.database_folder import Folder


@click.command()
@click.option(
    "--directory", type=click.Path(path_type=Path), default=Path("database"), show_default=True,
    help="Its folder, made at first use; on a disk of this machine.",
)  # fmt: skip
@click.option("--listen", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="All but loopback has TLS.")
@click.option("--port", type=click.IntRange(1, 65535), default=5432, show_default=True)
@click.pass_context
def command(context: click.Context, directory: Path, listen: str, port: int) -> None:
    """Serve a PostgreSQL of your own, for searches on several machines, until Ctrl-C. It needs no administrator.

    The first start makes it, with a random password in a file that only you can read. docs/database.md
    """
    try:
        own_database.serve(directory, listen, port, _tell)
    except KeyboardInterrupt:
        context.exit(130)


def _tell(folder: Folder, address: own_database.Address, release: str) -> None:
    """Prints what to run where. No password is in it."""
    kind = "loopback only" if address.is_local else "TLS only"
    lines = [
        f"PostgreSQL {release} answers on {address.listen}, port {address.port} ({kind}); Ctrl-C stops it, the same"
        f" command starts it again. Data: {shown(folder.path)}",
        f"A search {'on this machine' if address.is_local else 'on each machine that sees this folder'}:",
        f"  export PGPASSFILE={shlex.quote(str(folder.passfile))}",
        f"  study.py --storage {shlex.quote(address.url(folder.certificate))}",
    ]
    if address.is_local:
        lines += ["For other machines start it with --listen ADDRESS."]
    else:
        files = ",".join(path.name for path in (folder.passfile, folder.certificate))
        lines += [
            "Other machines need copies of both files, and their paths in these lines (-p keeps the rights):",
            f"  scp -p {getpass.getuser()}@{socket.gethostname()}:{shlex.quote(f'{folder.path}/')}{{{files}}} .",
        ]
    print(*lines, sep="\n", flush=True)
