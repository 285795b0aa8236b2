"""Optuna's dashboard as a process: its addresses, its password, the wait for a study, waitress."""

import ipaddress
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from search.errors import UserError
from search.pages import gate
from search.settings.settings import Settings
from search.study import artifacts, storage
from search.text import without_urls

CONTROL = "/control"  # the page of ours that pauses and stops
LOOK_SECONDS = 2.0  # between looks for a study that is not there yet
PATIENCE = 3.0  # seconds that a page waits for a database that does not answer
# MB, by whether it is writable: an artifact that is uploaded. A request is read whole before the gate sees it.
LONGEST_REQUEST = {False: 1, True: 16}
LEAVE_SECONDS = 1.0  # for requests under way at the end

Say = Callable[[str], None]


def serve(settings: Settings, host: str, port: int, writable: bool, password_file: Path | None, say: Say) -> None:
    """Serves the dashboard until Ctrl-C or SIGTERM, which raise KeyboardInterrupt. Raises UserError."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    loopback = is_loopback(host)
    password = gate.read_password(os.environ.get(gate.VARIABLE), password_file)
    if password is None and not loopback:
        raise UserError(
            f"--host {host} can be reached from other machines, so a password is required: set {gate.VARIABLE}, or"
            " give --password-file FILE"
        )
    guard = gate.Gate(password, writable, loopback)
    server = listen(guard, host, port, LONGEST_REQUEST[writable])  # what is asked meanwhile waits for the study
    study_id, guard.pages = open_pages(settings, writable, say)
    [place, *_] = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    say(f"Dashboard, {'writable' if writable else 'read-only'}: {url_of(*place)}/dashboard/studies/{study_id}")
    if writable:
        say(f"Pause, resume and stop the study: {url_of(*place)}{CONTROL}")
    server.run()
    raise KeyboardInterrupt  # which waitress took


def is_loopback(host: str) -> bool:
    """Whether all addresses of a host's name are of loopback. Raises UserError."""
    try:
        if not host:
            raise OSError("it is empty")
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host {without_urls(repr(host))} is no address of this machine: {reason}") from error
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def listen(guard: gate.Gate, host: str, port: int, longest_request: int) -> Any:
    """A server of waitress, whose sockets listen. Raises UserError."""
    import waitress

    logging.getLogger("waitress").setLevel(logging.ERROR)  # it warns when a page asks for five things at once
    largest, idle = longest_request * 2**20, 30  # seconds of an idle connection
    try:
        server: Any = waitress.create_server(
            guard, host=host, port=port, threads=6, ident=None, channel_timeout=idle, max_request_body_size=largest
        )
    except OSError as error:
        advice = "; give an address of this machine, and a port above 1023 that no other program uses"
        raise UserError(f"--host {host} --port {port} cannot be listened on: {error.strerror}{advice}") from error
    server.task_dispatcher.shutdown = partial(server.task_dispatcher.shutdown, timeout=LEAVE_SECONDS)
    return server


def open_pages(settings: Settings, writable: bool, say: Say) -> tuple[int, Any]:
    """The study's number and Optuna's dashboard on its database, once the study is there."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    wait_for_study(settings, say)
    from optuna_dashboard import wsgi  # slow to import

    from search.pages.control_page import ControlPage
    from search.pages.dashboard_notes import Notes

    opened = storage.open_storage(settings.storage_url, connections=4)
    opened.patience = PATIENCE
    try:
        Notes(settings, opened).repair()
    except UserError as error:  # of a study that this release cannot read, or by a database user who may only read
        say(f"Notes and figures were not refreshed: {error}")
    pages: Any = wsgi(opened, artifact_store=SharedStore(artifacts.open_store(settings, make=writable)))
    if writable:
        pages = ControlPage(pages, settings, opened)
    return opened.get_study_id_from_name(settings.study.name), pages


def wait_for_study(settings: Settings, say: Say) -> None:
    """Returns once the study is there. An error at the first look is raised; later ones are waited out."""
    is_there, said = storage.exists(settings), ""
    waiting = text = f"Waiting for study {settings.study.name!r}: the first search makes it"
    while not is_there:
        if text != said:
            say(text)
        said = text
        time.sleep(LOOK_SECONDS)
        try:
            is_there, text = storage.exists(settings), waiting
        except UserError as error:  # the database restarts, or its tables are being made
            text = f"Waiting: {error}"


def url_of(host: str, port: int) -> str:
    """Of all addresses (0.0.0.0, ::) the one that works here."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


class SharedStore:
    """An artifact store that removes nothing: files are named by their content, and other trials may refer to them."""

    def __init__(self, store: Any) -> None:
        self.open_reader, self.write = store.open_reader, store.write

    def remove(self, artifact_id: str) -> None:
        pass
