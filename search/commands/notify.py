"""Messages to notification services, by Apprise. Their URLs hold secrets: nothing here prints, logs or raises one."""

import logging
import queue
import re
import threading
import time
from collections.abc import Sequence
from typing import Any, Literal

from search.errors import UserError
from search.text import complain

VARIABLE = "XTTS_STUDY_NOTIFY"
DRAIN_SECONDS = 8.0  # for what is unsent at the end: Apprise gives a server 4 s to connect and 4 s to answer

Kind = Literal["info", "success", "failure"]


class Post:
    """Sends messages to the services that `urls` name. A service that is slow delays neither the search nor another.

    Raises UserError for a URL that Apprise cannot use.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        logging.getLogger("apprise").disabled = True  # it logs the URLs that it sends to
        self._services = [_Service(_open(url)) for url in urls]

    def send(self, title: str, text: str, kind: Kind) -> None:
        """Plain text. Returns at once."""
        for service in self._services:
            service.messages.put((title, text, kind))

    def close(self, seconds: float = DRAIN_SECONDS) -> None:
        """Waits until all is sent, at most so long for all services together."""
        until = time.monotonic() + seconds
        for service in self._services:
            service.messages.put(None)
        for service in self._services:
            service.join(max(0.0, until - time.monotonic()))
            if service.is_alive():
                complain(f"{service.service} did not answer in time: a notification may be lost")


class _Service(threading.Thread):
    """Sends to one service until a None comes, or the process ends. That it cannot be reached is said once."""

    def __init__(self, sender: Any) -> None:
        super().__init__(name="notify", daemon=True)
        self.service = str(sender[0].service_name)
        self.messages: queue.SimpleQueue[tuple[str, str, Kind] | None] = queue.SimpleQueue()
        self._sender = sender
        self.start()

    def run(self) -> None:
        failed = False
        while (message := self.messages.get()) is not None:
            title, text, kind = message
            try:
                is_sent = self._sender.notify(text, title, kind, body_format="text")
            except Exception:  # any of Apprise's hundred services; what it says may hold the URL
                is_sent = False
            if not is_sent and not failed:
                failed = True
                complain(f"a notification by {self.service} could not be sent; this is said once")


def _open(url: str) -> Any:
    """An Apprise that sends to `url` alone. Raises UserError, which shows only its scheme."""
    import apprise  # takes 0.2 s, so only where messages are wanted

    sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="xtts-study"))
    try:
        is_known = sender.add(url)
    except Exception:  # what it says may hold the URL
        is_known = False
    if not is_known or len(sender) != 1:
        found = re.match(r"([a-z][a-z0-9+.-]{0,30})://", url, re.IGNORECASE)
        what = f"a {found[1].lower()}:// URL that Apprise cannot use" if found else "not a URL: it has no scheme"
        raise UserError(
            f"--notify or {VARIABLE} is {what}. It may be incomplete, or its service may be unknown or need another"
            " package; https://github.com/caronc/apprise/wiki lists the services and their URLs"
        )
    return sender
