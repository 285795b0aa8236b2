"""Who may do what at the dashboard: an application stands behind the gate that tells what came through."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse
from werkzeug.wrappers import Request, Response

from search.errors import UserError
from search.pages import gate

SECRET = "ge:heim ሰላም"
PAGE = {"Sec-Fetch-Site": "same-origin"}


@Request.application
def behind(request: Request) -> Response:
    if request.path == "/nothing":
        return Response(status=204)
    if request.path.startswith("/artifacts/"):
        return Response("<script>", headers={"Access-Control-Allow-Origin": "*"}, content_type="image/svg+xml")
    return Response(f"{request.method} came through", headers={"Content-Security-Policy": "default-src 'self'"})


def client(password: str | None = None, writable: bool = False, loopback: bool = True) -> Client:
    guard = gate.Gate(password, writable, loopback)
    guard.pages = behind
    return Client(guard)


def basic(password: str, user: str = "anyone") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def ask(asked: Client, method: str = "GET", headers: dict[str, str] | None = None, **named: Any) -> TestResponse:
    return asked.open("/api/studies/1", method=method, headers=headers, **named)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
def test_nothing_can_be_changed_unless_told_so(method: str) -> None:
    for asked, headers in ((client(), PAGE), (client(SECRET), {**basic(SECRET), **PAGE})):
        answer = ask(asked, method, headers)
        assert answer.status_code == (200 if method in gate.SAFE else 403)
        assert method in gate.SAFE or "study.py dashboard --writable" in json.loads(answer.text)["reason"]
    assert ask(client(writable=True), method, PAGE).status_code == 200


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"}, True),
        ({"Origin": "http://LOCALHOST:8080"}, True),
        ({}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:8080"}, False),
        ({"Origin": "http://localhost:3000"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_another_web_page_changes_nothing_in_a_writable_one(headers: dict[str, str], passes: bool) -> None:
    answer = ask(client(writable=True), "DELETE", headers, base_url="http://localhost:8080")
    assert answer.status_code == (200 if passes else 403)
    assert passes or "own page" in json.loads(answer.text)["reason"]


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("localhost", True), ("localhost:8080", True), ("127.0.0.1:9000", True), ("127.3.2.1", True),
        ("[::1]:8080", True), ("evil.example", False), ("localhost.evil.example:8080", False), ("10.0.0.5", False),
        ("127.0.0.1.evil.example", False), ("evil.example@localhost:8080", False), ("", False), ("[half", False),
    ],
)  # fmt: skip
def test_a_name_of_the_web_that_points_here_is_refused(host: str, passes: bool) -> None:
    """DNS rebinding: with a password or without. On other addresses the password is what protects."""
    for password in (None, SECRET):
        headers = basic(SECRET) if password else {}
        answer = ask(client(password), headers=headers, environ_overrides={"HTTP_HOST": host})
        assert answer.status_code == (200 if passes else 403)
    anywhere = client(SECRET, loopback=False)
    assert ask(anywhere, headers=basic(SECRET), environ_overrides={"HTTP_HOST": "gpu-1:8080"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {}, basic(""), basic(SECRET + "x"), basic(SECRET[:-1]), {"Authorization": "Basic"},
        {"Authorization": "Basic /////w=="}, {"Authorization": f"Bearer {SECRET[:2]}"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_only_the_password_opens(headers: dict[str, str], method: str) -> None:
    asked = client(SECRET, writable=True, loopback=False)
    refused = ask(asked, method, {**headers, **PAGE})
    assert refused.status_code == 401
    assert refused.www_authenticate.type == "basic"
    assert SECRET not in refused.text
    assert ask(asked, method, {**basic(SECRET), **PAGE}).status_code == 200
    assert ask(asked, method, {**basic(SECRET, ""), **PAGE}).status_code == 200


def test_guessing_is_slowed_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for others; not by requests without a password, as a browser's first; IPv6 by the network; for a minute."""
    asked = client(SECRET, loopback=False)

    def status(address: str, headers: dict[str, str]) -> int:
        return ask(asked, headers=headers, environ_overrides={"REMOTE_ADDR": address}).status_code

    assert {status("10.0.0.1", {}) for _ in range(50)} == {401}
    assert [status("10.0.0.1", basic(f"{i}")) for i in range(gate.FAILURES)] == [401] * gate.FAILURES
    blocked = ask(asked, headers=basic("11"), environ_overrides={"REMOTE_ADDR": "10.0.0.1"})
    assert blocked.status_code == 429
    assert 1 <= int(blocked.headers["Retry-After"]) <= 60
    assert status("10.0.0.1", basic(SECRET)) == 429  # else a guesser would learn it all the same
    assert status("10.0.0.2", basic(SECRET)) == 200
    assert status("10.0.0.2", basic("wrong")) == 401

    assert {status(f"2001:db8::{i:x}", basic(f"{i}")) for i in range(gate.FAILURES)} == {401}
    assert status("2001:db8::ffff%eth0", basic(SECRET)) == 429
    assert status("2001:db8:0:1::1", basic(SECRET)) == 200

    now = gate.time.time()
    monkeypatch.setattr(gate.time, "time", lambda: now + 61)
    assert status("10.0.0.1", basic(SECRET)) == 200


@pytest.mark.parametrize("headers", [{}, basic(SECRET)])
def test_every_answer_has_the_headers_and_artifacts_are_guests(headers: dict[str, str]) -> None:
    for method, path in (("GET", "/api/studies/1"), ("DELETE", "/api/studies/1"), ("GET", "/artifacts/1/2/abc")):
        answer = client(SECRET).open(path, method=method, headers=headers)
        assert gate.HEADERS.items() <= dict(answer.headers).items()
        [policy] = answer.headers.getlist("Content-Security-Policy")
        own = "sandbox; default-src 'none'" if path.startswith("/artifacts") else "default-src 'none'"
        assert policy.startswith("default-src 'self'" if answer.text.endswith("came through") else own)
        assert policy.endswith("; frame-ancestors 'none'")
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_an_answer_without_content_is_one_that_the_page_understands() -> None:
    answer = client(writable=True).post("/nothing", headers=PAGE)
    assert (answer.status_code, answer.get_json()) == (200, {})


# Where the password comes from


@pytest.mark.parametrize(
    ("given", "content", "found"),
    [
        (None, None, None), (SECRET, None, SECRET), (None, f"{SECRET}\n", SECRET),
        (None, f" {SECRET}\r\n", f" {SECRET}"), ("", SECRET, SECRET), (SECRET, "", SECRET),
    ],
)  # fmt: skip
def test_the_password_is_read(given: str | None, content: str | None, found: str | None, tmp_path: Path) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content.encode())
    assert gate.read_password(given, file if content is not None else None) == found


@pytest.mark.parametrize(
    ("given", "content", "said"),
    [
        ("", None, "XTTS_STUDY_DASHBOARD_PASSWORD is empty"), (None, b"", "is empty"), (None, b"\n", "is empty"),
        ("", b"\n", "is empty"), (SECRET, b"another", "different passwords"), (None, b"one\ntwo", "several lines"),
        (None, b"\xff\xfe", "not UTF-8"), (None, b"bell\x07", "unprintable"), ("half \udcff", None, "unprintable"),
    ],
)  # fmt: skip
def test_a_password_that_is_none_is_refused(
    given: str | None, content: bytes | None, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=said) as refused:
        gate.read_password(given, file if content is not None else None)
    assert not any(word in str(refused.value) for word in (SECRET, "another", "two", "bell", "half"))


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--password-file {tmp_path} cannot be read"):
        gate.read_password(None, tmp_path)
