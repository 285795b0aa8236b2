"""Who may do what at the dashboard: hosts, password, reading and writing. Stands before the pages."""

import hmac
import ipaddress
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
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
FAILURES = 10  # wrong passwords per minute and address
SAFE = ("GET", "HEAD", "OPTIONS")
READ_ONLY = "This dashboard is read-only; to change or delete anything, start it with: study.py dashboard --writable"
# Set where the answer has none of its own.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
NOTHING = "default-src 'none'"
# An artifact may be HTML or SVG: it shall not run script here.
SANDBOX = f"sandbox; {NOTHING}; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'"
FRAMES = "frame-ancestors 'none'"  # in every policy


def read_password(given: str | None, file: Path | None) -> str | None:
    """The password from the environment (`given`) or `file`; None where neither was named.

    Either may be empty where the other holds it: containers hand over both. Raises UserError, without the password.
    """
    if given is None and file is None:
        return None
    where, content = VARIABLE, ""
    if file is not None:
        where = f"--password-file {file}"
        try:
            content = file.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UserError(f"{where} cannot be read ({reason}); name a file of one line") from None
    password = given or content
    if given and content and given != content:
        raise UserError(f"{VARIABLE} and {where} hold different passwords; give one of them")
    if not password:
        raise UserError(f"the dashboard has no password: {where} is empty; put one there, or leave it out on loopback")
    if not password.isprintable():
        raise UserError(
            f"the dashboard's password, from {VARIABLE} or a file, has several lines or unprintable characters"
        )
    return password


class Gate:
    """WSGI application: what it lets through, `pages` answers.

    Args:
        password: Asked for by HTTP Basic, with any user name. None: no password is asked for.
        writable: Whether requests that change something pass, from the dashboard's own page.
        loopback: Whether it listens on loopback only. Then the Host must be a loopback name, too: to a browser, a name
            of the web that is made to point here (DNS rebinding) would be the same origin.
    """

    pages: "WSGIApplication"

    def __init__(self, password: str | None, writable: bool, loopback: bool = True) -> None:
        self._password = password.encode() if password is not None else None
        self._writable = writable
        self._loopback = loopback
        self._failures = FixedWindowRateLimiter(MemoryStorage())

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        response = self._refuse(request) or self._ask(request)
        return guarded(request.path, response)(environ, start_response)

    def _ask(self, request: Request) -> Response:
        environ = {name: value for name, value in request.environ.items() if name != "wsgi.file_wrapper"}
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # optuna-dashboard 0.21 fails without one
        response = Response.from_app(self.pages, environ)
        if response.status_code == 204:  # its page reads JSON of every answer, and takes none for a failure
            return Response("{}", 200, content_type="application/json")
        return response

    def _refuse(self, request: Request) -> Response | None:
        if self._loopback and not is_loopback_name(request.host):
            return refusal(403, "This dashboard is for this machine; ask for localhost, or use an ssh tunnel.")
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
        """None for the right password. An address that failed too often is refused until its minute is over."""
        assert self._password is not None
        limit, owner = RateLimitItemPerMinute(FAILURES), _owner(request.remote_addr or "")
        if not self._failures.test(limit, owner):
            seconds = max(1, round(self._failures.get_window_stats(limit, owner).reset_time - time.time()))
            refused = refusal(429, f"Too many wrong passwords from this address; try again in {seconds} s.")
            refused.headers["Retry-After"] = str(seconds)
            return refused
        given = request.authorization
        if given is None or given.type != "basic" or given.password is None:
            return unauthorized("This dashboard asks for a password; the user name does not matter.")
        if hmac.compare_digest(given.password.encode("utf-8", "surrogatepass"), self._password):
            return None
        self._failures.hit(limit, owner)
        return unauthorized("That is not the password.")


def _owner(address: str) -> str:
    """An IPv6 network of 64 bits is one address: its owner has all of them."""
    return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False)) if ":" in address else address


def is_loopback_name(host: str) -> bool:
    """Of a Host header, with a port or without."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_same_origin(request: Request) -> bool:
    """Whether the dashboard's own page asks, by headers that no web page can set. Without such headers: no."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:  # behind a proxy with TLS, too, where the Host is another
        return site == "same-origin"
    _, _, origin = request.headers.get("Origin", "").partition("://")
    return origin.lower() == request.host.lower() != ""


def guarded(path: str, response: Response) -> Response:
    """The answer for `path`, with the headers that every answer has."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    own = SANDBOX if path.startswith("/artifacts/") else NOTHING
    response.headers["Content-Security-Policy"] = f"{response.headers.get('Content-Security-Policy', own)}; {FRAMES}"
    response.headers.pop("Access-Control-Allow-Origin", None)  # Optuna's lets every web page read artifacts
    return response


def refusal(status: int, reason: str) -> Response:
    """In the form in which the dashboard's API tells errors."""
    return Response(json.dumps({"reason": reason}), status, content_type="application/json")


def unauthorized(reason: str) -> Response:
    response = refusal(401, reason)
    response.www_authenticate = WWWAuthenticate("basic", {"realm": "xtts-study", "charset": "UTF-8"})
    return response
