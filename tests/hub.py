"""A hub of one small repository on loopback: as much of Hugging Face's protocol as a download uses.

Large files are on a second host, as on the real hub: `/resolve/` redirects there. It records what it was asked for.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from search.tools.base_files import BaseFile, PinnedBase

COMMIT = hashlib.sha1(b"a commit").hexdigest()
# Names as in XTTS-v2, sizes for a test; bytes that differ everywhere, the same in every run.
SIZES = {"LICENSE.txt": 400, "config.json": 437, "mel_stats.pth": 107, "dvae.pth": 70_000, "model.pth": 300_000}
FILES = {name: hashlib.shake_256(name.encode()).digest(size) for name, size in SIZES.items()}
BASE = PinnedBase(
    "coqui/XTTS-v2",
    COMMIT,
    tuple(BaseFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in FILES.items()),
    "Licence of the Test",
    ("Nothing is allowed.",),
)


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]  # names in lower case
    sent: tuple[int, int]  # start and length of what was answered


@dataclass
class Hub:
    """What the servers hold, and what goes wrong with them."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    cuts: dict[str, list[int]] = field(default_factory=dict)  # by name: bytes after which each answer breaks off
    status: int = 200  # of every answer
    log: list[Asked] = field(default_factory=list)
    url: str = ""
    storage_url: str = ""
    on_cut: Callable[[], None] = lambda: None

    def sent(self, name: str) -> list[tuple[int, int]]:
        """(start, length) of each answer that carried bytes of a file."""
        return [asked.sent for asked in self.log if asked.path.endswith(f"/{name}") and asked.sent[1]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if self.hub.status != 200:
            self.answer(self.hub.status, {}, b"an error of the hub")
        elif self.path.startswith(f"/coqui/XTTS-v2/resolve/{COMMIT}/") and name.endswith(".pth"):
            self.answer(302, {"Location": f"{self.hub.storage_url}/storage/{name}"}, b"")
        elif self.path.startswith((f"/coqui/XTTS-v2/resolve/{COMMIT}/", "/storage/")) and name in self.hub.files:
            self.send(name)
        else:
            self.answer(404, {}, b"")

    def send(self, name: str) -> None:
        data = self.hub.files[name]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        cuts = self.hub.cuts.get(name)
        self.answer(206 if start else 200, headers, data[start:], start, cuts.pop(0) if cuts else None)

    def answer(self, status: int, headers: dict[str, str], body: bytes, start: int = 0, cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        given = {key.lower(): value for key, value in self.headers.items()}
        self.hub.log.append(Asked(self.path, given, (start, len(body[:cut]) if status < 300 else 0)))
        self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.hub.on_cut()
            self.close_connection = True


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub, and its storage under another host name."""
    hub = Hub()
    handler = type("OneHub", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url, hub.storage_url = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
