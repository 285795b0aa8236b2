"""The dashboard as a process: its addresses, its password, the wait for a study, waitress."""

import errno
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
from search.study import artifacts
from search.text import without_urls

LOOK_SECONDS = 2.0  # between looks for a study that is not there yet
PATIENCE = 3.0  # seconds that a page waits for a database that does not answer
# MB, by whether it is writable: an artifact that is uploaded. A request is read whole before the gate sees it.
LONGEST_REQUEST = {False: 1, True: 16}
LEAVE_SECONDS = 1.0  # that requests under way have at the end

Say = Callable[[str], None]


def serve(
    settings: Settings, host: str, port: int, writable: bool, password_file: Path | None, tensorboard: str, say: Say
) -> None:
    """Serves the dashboard until Ctrl-C or SIGTERM, which raise KeyboardInterrupt. Raises UserError."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not tensorboard.startswith(("http://", "https://")):
        raise UserError(
            f"--tensorboard is {without_urls(repr(tensorboard))}; give its address, like http://127.0.0.1:6006"
        )
    addresses = resolve(host)
    loopback = all(ipaddress.ip_address(str(a[1][0]).partition("%")[0]).is_loopback for a in addresses)
    password = gate.read_password(os.environ.get(gate.VARIABLE), password_file)
    if password is None and not loopback:
        raise UserError(
            f"--host {host} can be reached from other machines, so a password is required: set {gate.VARIABLE}, or"
            " give --password-file FILE"
        )
    sockets = bind(addresses, host, port)
    study_id, pages = open_pages(settings, writable, tensorboard, say)

    import waitress

    logging.getLogger("waitress").setLevel(logging.ERROR)  # it warns of a queue when a page asks for five things
    try:
        server: Any = waitress.create_server(
            gate.Gate(pages, password, writable, loopback),
            sockets=sockets,
            threads=6,
            ident=None,
            channel_timeout=30,  # seconds of an idle connection
            max_request_body_size=LONGEST_REQUEST[writable] * 2**20,
        )
    except OSError as error:
        raise refused(host, port, error) from error
    server.task_dispatcher.shutdown = partial(server.task_dispatcher.shutdown, timeout=LEAVE_SECONDS)
    place = sockets[0].getsockname()
    say(f"Dashboard, {'writable' if writable else 'read-only'}: {url_of(*place[:2])}/dashboard/studies/{study_id}")
    server.run()
    raise KeyboardInterrupt  # which waitress took


def resolve(host: str) -> list[tuple[socket.AddressFamily, Any]]:
    """(family, address) of a host's name, without duplicates. Raises UserError."""
    try:
        if not host:
            raise OSError("it is empty")
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host {without_urls(repr(host))} is no address of this machine: {reason}") from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def bind(addresses: list[tuple[socket.AddressFamily, Any]], host: str, port: int) -> list[socket.socket]:
    """Sockets at the addresses, all of one port; not listening yet. Raises UserError."""
    bound: list[socket.socket] = []
    failure = None
    for family, address in addresses:
        try:
            made = socket.socket(family, socket.SOCK_STREAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((address[0], port, *address[2:]))
        except OSError as error:
            failure = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # ::1 of localhost, without IPv6
                raise refused(host, port, error) from error
            continue
        bound.append(made)
        port = made.getsockname()[1]
    if not bound:
        assert failure
        raise refused(host, port, failure) from failure
    return bound


def refused(host: str, port: int, error: OSError) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return UserError(f"--port {port} of {host} is in use by another program; give another one, like --port 8081")
    return UserError(
        f"--host {host} --port {port} cannot be listened on: {error.strerror}; give an address of this machine, and a"
        " port above 1023"
    )


def open_pages(settings: Settings, writable: bool, tensorboard: str, say: Say) -> tuple[int, Any]:
    """The study's number and the pages, once the study is there."""
    import optuna

    from search.study import storage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    wait_for_study(settings, say)
    from search.pages.dashboard_answers import Pages
    from search.pages.dashboard_content import Content

    opened = storage.open_storage(settings.storage_url, connections=4)
    opened.patience = PATIENCE
    store = artifacts.open_store(settings, make=writable)
    pages = Pages(opened, store, lambda cache: Content(settings, cache, tensorboard), read_only=not writable)
    return opened.get_study_id_from_name(settings.study.name), pages


def wait_for_study(settings: Settings, say: Say) -> None:
    """Returns once the study is there. What is wrong at the first look is refused, later it is waited for."""
    from search.study import storage

    if storage.exists(settings):
        return
    waiting = f"Waiting for study {settings.study.name!r}: the first search makes it"
    text, said = waiting, ""
    while True:
        if text != said:
            say(text)
            said = text
        time.sleep(LOOK_SECONDS)
        try:
            if storage.exists(settings):
                return
            text = waiting
        except UserError as error:  # the database restarts, or its tables are being made
            text = f"Waiting: {error}"


def url_of(host: str, port: int) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_unspecified:  # all addresses: the one that works here
        return f"http://127.0.0.1:{port}" if address.version == 4 else f"http://[::1]:{port}"
    return f"http://{address}:{port}" if address.version == 4 else f"http://[{host}]:{port}"
