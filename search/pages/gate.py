"""Who may do what at the dashboard: hosts, password, reading and writing. Stands before the pages."""

import hmac
import ipaddress
import json
import secrets
import time
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.wrappers import Request, Response

from search.errors import UserError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

VARIABLE = "XTTS_STUDY_DASHBOARD_PASSWORD"
FAILURES = 10  # wrong passwords a minute and address
GROUPS = 4096  # addresses are counted in so many groups, by a secret hash: memory is bounded, whoever comes
SAFE = ("GET", "HEAD", "OPTIONS")
READ_ONLY = "This dashboard is read-only; to change or delete anything, start it with: study.py dashboard --writable"
# Set where the answer has none of its own.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'",
}
FRAMES = "frame-ancestors 'none'"  # in every policy


def read_password(given: str | None, file: Path | None) -> str | None:
    """The password from the environment (`given`) or `file`; None where neither was named.

    Either may be empty where the other holds it: containers hand over both. Raises UserError, without the password.
    """
    if given is None and file is None:
        return None
    content = ""
    if file is not None:
        try:
            content = file.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UserError(f"--password-file {file} cannot be read ({reason}); name a file of one line") from None
        if "\n" in content:
            raise UserError(f"--password-file {file} has several lines; it must hold the password alone")
    if given and content and given != content:
        raise UserError(f"{VARIABLE} and --password-file {file} hold different passwords; give one of them")
    password = given or content
    if not password:
        empty = f"{VARIABLE} is empty" if file is None else f"--password-file {file} is empty, and {VARIABLE} not set"
        raise UserError(f"the dashboard has no password: {empty}; put one there, or leave it out on this machine alone")
    if not password.isprintable():
        raise UserError(f"the dashboard's password, from {VARIABLE} or the file, has signs that no keyboard types")
    return password


class Gate:
    """WSGI application: what it lets through, `pages` answers.

    Args:
        pages: What is guarded.
        password: Asked for by HTTP Basic, of any user; None: nobody is asked.
        writable: Whether requests that change something pass, from the dashboard's own page.
        loopback: Whether it listens on loopback alone. Then the Host must be of loopback, too: a name of the web that
            is made to point here (DNS rebinding) would be the same origin to a browser.
    """

    def __init__(self, pages: "WSGIApplication", password: str | None, writable: bool, loopback: bool = True) -> None:
        self._pages = pages
        self._password = password.encode() if password is not None else None
        self._writable = writable
        self._loopback = loopback
        self._failures = FixedWindowRateLimiter(MemoryStorage())
        self._salt = secrets.token_bytes(8)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
            return start_response(status, guarded(headers), *rest)

        refused = self._refuse(request)
        return self._pages(environ, start) if refused is None else refused(environ, start)

    def _refuse(self, request: Request) -> Response | None:
        if self._loopback and not is_loopback_name(request.host):
            return refusal(
                403, "This dashboard is for this machine; ask for it as localhost, or through an ssh tunnel."
            )
        if self._password is not None and (refused := self._ask_password(request)):
            return refused
        if request.method in SAFE:
            return None
        if not self._writable:
            return refusal(403, READ_ONLY)
        if not is_same_origin(request):
            return refusal(403, "Changes are accepted from the dashboard's own page only; this came from elsewhere.")
        return None

    def _ask_password(self, request: Request) -> Response | None:
        """None for the right password. An address that failed too often is not heard until its minute is over."""
        assert self._password is not None
        limit, group = RateLimitItemPerMinute(FAILURES), self._group(request.remote_addr or "")
        if not self._failures.test(limit, group):
            seconds = max(1, round(self._failures.get_window_stats(limit, group).reset_time - time.time()))
            refused = refusal(429, f"Too many wrong passwords from this address; try again in {seconds} s.")
            refused.headers["Retry-After"] = str(seconds)
            return refused
        given = request.authorization
        if given is None or given.type != "basic" or given.password is None:
            return unauthorized("This dashboard asks for a password; the user name does not matter.")
        if hmac.compare_digest(given.password.encode("utf-8", "surrogatepass"), self._password):
            return None
        self._failures.hit(limit, group)
        return unauthorized("That is not the password.")

    def _group(self, address: str) -> str:
        """An IPv6 network of 64 bits is one address: its owner has all of them."""
        packed = ipaddress.ip_address(address.partition("%")[0]).packed if address else b""
        network = packed[:8] if len(packed) == 16 else packed
        return str(int.from_bytes(blake2b(network, key=self._salt, digest_size=8).digest()) % GROUPS)


def is_loopback_name(host: str) -> bool:
    """Of a Host header, with a port or without."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_same_origin(request: Request) -> bool:
    """Whether the dashboard's own page asks. Browsers tell, and no page can make them lie; who tells nothing is not."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:  # behind a proxy with TLS, too, where the Host is another
        return site == "same-origin"
    _, _, origin = request.headers.get("Origin", "").partition("://")
    return origin.lower() == request.host.lower() != ""


def guarded(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """`headers` with those that every answer has."""
    given = {name.lower() for name, _ in headers}
    whole = [*headers, *((name, value) for name, value in HEADERS.items() if name.lower() not in given)]
    return [
        (name, f"{value}; {FRAMES}" if name.lower() == "content-security-policy" else value) for name, value in whole
    ]


def refusal(status: int, reason: str) -> Response:
    """In the form in which the dashboard's API tells errors."""
    return Response(json.dumps({"reason": reason}), status, content_type="application/json")


def unauthorized(reason: str) -> Response:
    response = refusal(401, reason)
    response.www_authenticate = WWWAuthenticate("basic", {"realm": "xtts-study", "charset": "UTF-8"})
    return response
