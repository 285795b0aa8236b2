"""Messages to notification services, by Apprise. Their URLs hold secrets: nothing here prints, logs or raises one."""

import logging
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from search.errors import UserError

VARIABLE = "XTTS_STUDY_NOTIFY"
DRAIN_SECONDS = 8.0  # at the end, for what was not sent yet: Apprise gives a server 4 s to connect and 4 to answer
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,30})://", re.IGNORECASE)


@dataclass(frozen=True)
class Message:
    """What is sent: plain text."""

    title: str
    body: str
    kind: Literal["info", "success", "failure"]


class Post:
    """Sends messages to the services that `urls` name, each from a thread of its own: none waits for another.

    Raises UserError for a URL that Apprise cannot use.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        # It logs the URLs that it sends to.
        logging.getLogger("apprise").disabled = True
        self.say: Callable[[str], None] = complain
        self._services = [_Service(_open(url), lambda text: self.say(text)) for url in urls]

    def send(self, message: Message) -> None:
        """Returns at once. That a service cannot be reached is said once."""
        for service in self._services:
            service.messages.put(message)

    def close(self, seconds: float = DRAIN_SECONDS) -> None:
        """Waits until all is sent, at most so long for all services together."""
        until = time.monotonic() + seconds
        for service in self._services:
            service.messages.put(None)
        for service in self._services:
            service.thread.join(max(0.0, until - time.monotonic()))
            if service.thread.is_alive():
                self.say(f"{service.name} did not answer in time: a notification may be lost")


class _Service:
    """One service with its thread, which ends after a None among the messages, or with the process."""

    def __init__(self, sender: Any, say: Callable[[str], None]) -> None:
        self.name = str(sender[0].service_name)
        self.messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._sender = sender
        self._say = say
        self.thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        failed = False
        while (message := self.messages.get()) is not None:
            if not self._send(message) and not failed:
                failed = True
                self._say(f"a notification by {self.name} could not be sent; this is said once")

    def _send(self, message: Message) -> bool:
        try:
            return self._sender.notify(message.body, message.title, message.kind, body_format="text") is True
        except Exception:  # any of Apprise's hundred services; what it says may hold the URL
            return False


def _open(url: str) -> Any:
    """An Apprise that sends to `url` alone. Raises UserError, which shows no more of it than its scheme."""
    import apprise  # 0.2 s, which only those pay who want messages

    sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="xtts-study"))
    try:
        is_known = sender.add(url)
    except Exception:  # what it says may hold the URL
        is_known = False
    if not is_known or len(sender) != 1:
        found = _SCHEME.match(url)
        what = f"a {found[1].lower()}:// URL that Apprise cannot use" if found else "not a URL: it has no scheme"
        raise UserError(
            f"--notify or {VARIABLE} is {what}; it may be incomplete, or its service unknown or in need of a further"
            " package; https://github.com/caronc/apprise/wiki lists the services and their URLs"
        )
    return sender


def complain(text: str) -> None:
    print(f"study.py: {text}", file=sys.stderr, flush=True)
