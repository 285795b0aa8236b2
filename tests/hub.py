"""A hub of one small repository on loopback: the protocol of Hugging Face's, as far as a download needs it.

Large files lie on a second server, as on the real hub: `/resolve/` redirects there. Both write down what was asked.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import close_session

from search.tools.base_files import BaseFile, Manifest

REPOSITORY = "coqui/XTTS-v2"
TOKEN = "hf_averysecrettoken"
VARIABLES = "HF_TOKEN HUGGING_FACE_HUB_TOKEN COQUI_TOS_AGREED HF_HUB_OFFLINE TRANSFORMERS_OFFLINE".split()


def some_bytes(name: str, size: int) -> bytes:
    """Bytes that differ everywhere, the same in every run."""
    return hashlib.shake_256(name.encode()).digest(size)


# Names as in XTTS-v2, sizes for a test.
FILES = {
    "LICENSE.txt": some_bytes("LICENSE.txt", 400),
    "config.json": some_bytes("config.json", 437),
    "vocab.json": some_bytes("vocab.json", 3_612),
    "mel_stats.pth": some_bytes("mel_stats.pth", 107),
    "speakers_xtts.pth": some_bytes("speakers_xtts.pth", 7_755),
    "dvae.pth": some_bytes("dvae.pth", 70_000),
    "model.pth": some_bytes("model.pth", 300_000),
}
OTHERS = {"README.md": b"not wanted", "samples/en_sample.wav": b"nor this"}
COMMIT = hashlib.sha1(b"a commit").hexdigest()
NEXT = hashlib.sha1(b"a later commit").hexdigest()


def is_large(name: str) -> bool:
    return name.endswith((".pth", ".wav"))


def git_blob(data: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def manifest(files: dict[str, bytes] = FILES) -> Manifest:
    """`FILES` at `COMMIT`, pinned."""
    pinned = tuple(BaseFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items())
    return Manifest(REPOSITORY, COMMIT, pinned, "Licence of the Test", ("Nothing is allowed.",))


def assert_complete(target: Path, files: dict[str, bytes] = FILES) -> dict[str, Any]:
    """Checks that the folder holds these files and a note on them, and nothing lies beside it; the note."""
    note: dict[str, Any] = json.loads((target / "source.json").read_text(encoding="utf-8"))
    assert {p.name: p.read_bytes() for p in target.iterdir() if p.name != "source.json"} == files
    assert {name: (f["size"], f["sha256"]) for name, f in note["files"].items()} == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()
    }
    assert not (target.parent / f".{target.name}.download").exists()
    return note


@dataclass(frozen=True)
class Request:
    """A line of the server's log."""

    method: str
    path: str
    start: int  # of the range that was asked for; 0 without one
    token: str | None
    status: int
    sent: int  # bytes of the body
    headers: dict[str, str]


@dataclass
class Hub:
    """What the servers hold, and what goes wrong with them."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    revisions: dict[str, str] = field(
        default_factory=lambda: {"main": COMMIT, COMMIT: COMMIT, "next": NEXT, NEXT: NEXT}
    )
    cuts: dict[str, list[int]] = field(default_factory=dict)  # by name: bytes after which each answer breaks off
    sends: dict[str, bytes] = field(default_factory=dict)  # by name: what is sent instead
    statuses: list[tuple[str, int, str]] = field(default_factory=list)  # part of a path, status, X-Error-Code
    knows_ranges: bool = True
    log: list[Request] = field(default_factory=list)
    url: str = ""
    storage_url: str = ""
    on_cut: Any = None  # called when an answer breaks off

    def sent(self, name: str) -> list[tuple[int, int]]:
        """(start, bytes) of each answer that carried bytes of a file."""
        return [(r.start, r.sent) for r in self.log if r.path.endswith(f"/{name}") and r.method == "GET" and r.sent]

    def asked(self) -> list[str]:
        """`METHOD status path` of each request."""
        return [f"{r.method} {r.status} {r.path}" for r in self.log]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        for part, status, code in self.hub.statuses:
            if part in path:
                self.answer(status, {"X-Error-Code": code} if code else {}, b"an error of the hub")
                return
        if path.startswith("/storage/"):
            name = path.removeprefix("/storage/")
            self.send(name, {})
        elif path.startswith(f"/api/models/{REPOSITORY}/revision/"):
            self.info(path.rpartition("/revision/")[2], "blobs" in parse_qs(url.query))
        elif path.startswith(f"/{REPOSITORY}/resolve/"):
            revision, _, name = path.removeprefix(f"/{REPOSITORY}/resolve/").partition("/")
            self.resolve(revision, name)
        else:
            self.answer(404, {"X-Error-Code": "RepoNotFound"}, b"")

    def info(self, revision: str, with_files: bool) -> None:
        if revision not in self.hub.revisions:
            self.answer(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
            return
        siblings: list[dict[str, Any]] = [{"rfilename": name} for name in (*self.hub.files, *OTHERS)]
        for sibling in siblings if with_files else []:
            data = self.hub.files.get(sibling["rfilename"], OTHERS.get(sibling["rfilename"], b""))
            sibling |= {"size": len(data), "blobId": git_blob(data)}
            if is_large(sibling["rfilename"]):
                sha256 = hashlib.sha256(data).hexdigest()
                sibling |= {"blobId": "0" * 40, "lfs": {"sha256": sha256, "size": len(data), "pointerSize": 135}}
        info = {"id": REPOSITORY, "sha": self.hub.revisions[revision], "siblings": siblings, "private": False}
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(info).encode())

    def resolve(self, revision: str, name: str) -> None:
        commit = self.hub.revisions.get(revision)
        if commit is None or name not in self.hub.files:
            code = "EntryNotFound" if commit else "RevisionNotFound"
            self.answer(404, {"X-Error-Code": code}, b"")
            return
        data = self.hub.files[name]
        headers = {"X-Repo-Commit": commit}
        if is_large(name):
            headers["X-Linked-Size"] = str(len(data))
            headers["X-Linked-ETag"] = f'"{hashlib.sha256(data).hexdigest()}"'
            headers["Location"] = f"{self.hub.storage_url}/storage/{name}"
            self.answer(302, headers, b"")
        else:
            headers["ETag"] = f'"{git_blob(data)}"'
            self.send(name, headers)

    def send(self, name: str, headers: dict[str, str]) -> None:
        data = self.hub.sends.get(name, self.hub.files[name])
        start = self.start() if self.hub.knows_ranges else 0
        if start and start >= len(data):
            self.answer(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.answer(206 if start else 200, headers, data[start:], name)

    def start(self) -> int:
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def answer(self, status: int, headers: dict[str, str], body: bytes, name: str = "") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = None
        if self.command == "GET":
            cuts = self.hub.cuts.get(name, [])
            cut = cuts.pop(0) if cuts else None
            body = body[:cut]
            self.wfile.write(body)
        asked = self.headers.get("Range")
        token = self.headers.get("Authorization")
        start = self.start() if asked else 0
        given = {key.lower(): value for key, value in self.headers.items()}
        sent = len(body) if self.command == "GET" else 0
        self.hub.log.append(Request(self.command, self.path, start, token, status, sent, given))
        if cut is not None:
            self.wfile.flush()
            if self.hub.on_cut:
                self.hub.on_cut()
            self.close_connection = True


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub and its storage, on two ports of loopback; nothing of the environment is in the way."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    hub = Hub()
    handler = type("OneHub", (Handler,), {"hub": hub})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    hub.url, hub.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}) for server in servers]
    for server, thread in zip(servers, threads, strict=True):
        server.daemon_threads = True
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
        close_session()  # of the client: the next hub has other ports
