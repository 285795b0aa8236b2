"""The pages: Optuna's dashboard as a WSGI application, its answers enriched and kept until something changes."""

import gzip
import json
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import BaseStorage
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from search.pages.dashboard_reading import Reading
from search.pages.gate import refusal
from search.study import artifacts
from search.study.database import StudyStorage
from search.study.server import DatabaseLost

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from search.pages.dashboard_content import Content

LOG = logging.getLogger(__name__)
KEPT = 32  # answers, packed: the whole of a study of 5,000 trials is some MB
STUDY = re.compile(r"/api/studies/(\d{1,18})(/param_importances)?")
# What is uploaded or written by others may be HTML or SVG: it shall not run script here, nor be framed elsewhere.
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'"
CONDITIONS = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_RANGE", "HTTP_IF_RANGE")
OURS = re.compile(r"/(api|dashboard|static|csv)(/|$)|/?$|/favicon.ico$")  # Optuna's dashboard's, never `resource`'s
BANNER = (
    b'<p id="read-only" role="note">Read-only: changes are refused (<code>dashboard --writable</code> takes them)</p>'
)
# The banner stands in the free end of the page's bar, in a narrow window at its foot, in colours that stand out on
# light and on dark; clicks pass through. The browser's own blue of links cannot be read on the page's dark. A note is
# kept clear of the pencil in its corner.
STYLE = b"""<style>
#read-only{position:fixed;right:16px;top:14px;z-index:2000;max-width:45%;margin:0;padding:6px 12px;
border:1px solid #8a6d00;border-radius:4px;background:#fff3c4;color:#3d3000;font:13px/1.4 system-ui,sans-serif;
pointer-events:none}
@media (max-width:800px){#read-only{left:0;right:0;top:auto;bottom:0;max-width:none;border-radius:0}}
.MuiCardContent-root a:not([class]){color:inherit}
.MuiCardContent-root>p:first-child:not([class]){margin-right:40px}
</style>"""


@dataclass(frozen=True)
class Answer:
    """An answer of the API: `packed` by gzip, good for as long as `token` is."""

    token: str
    packed: bytes


class Pages:
    """WSGI application. Answers 503 in words while the database does not answer.

    Args:
        storage: Of all studies of the database; its patience is how long a page waits in an outage.
        store: Artifact store, an Optuna one.
        content_of: Makes what enriches the answers, of a storage.
        read_only: Whether the page says that nothing can be changed. What is refused, the gate refuses.
    """

    def __init__(
        self, storage: StudyStorage, store: Any, content_of: "Callable[[BaseStorage], Content]", read_only: bool
    ) -> None:
        self._reading = Reading(storage)
        self._store = SharedStore(store)
        self._content_of = content_of
        self._banner = BANNER if read_only else b""
        self._answers: OrderedDict[tuple[str, int], Answer] = OrderedDict()
        self._lock = threading.Lock()  # one answer at a time: two pages that open together want the same one
        self._renew()

    def _renew(self) -> None:
        """Optuna's dashboard and the content on the reading's cache, which is new."""
        from optuna_dashboard import wsgi  # slow to import

        self._cache = self._reading.cache
        self._app: Any = wsgi(self._cache, artifact_store=self._store)
        self._app.catchall = False  # errors come to `__call__`
        self._content = self._content_of(self._cache)
        self._answers.clear()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self._respond(request)
        except DatabaseLost:
            response = refusal(503, "The database does not answer; this page goes on when it does.")
            response.headers["Retry-After"] = "5"
        except ArtifactNotFound:
            response = refusal(404, "The artifact is not, or no more, in the artifact store.")
        except StoreLost as error:
            LOG.error("%s", error)
            response = refusal(503, "The artifact store does not answer; the terminal of study.py dashboard says why.")
        except HTTPException as error:  # a range that is not there
            response = refusal(error.code or 500, error.description or "")
        except Exception:
            LOG.exception("%s %r", request.method, request.path)
            response = refusal(500, "The dashboard failed; the terminal or log of study.py dashboard says where.")
        return response(environ, start_response)

    def _respond(self, request: Request) -> Response:
        path = request.path.rstrip("/")
        if path.startswith(("/api/", "/artifacts/", "/csv/")):
            self._reading.check()  # Optuna's views would make a 500 and a traceback of it
        if request.method not in ("GET", "HEAD"):
            response = self._ask(request)
            # Its page reads JSON of every answer, and takes one without content for a failure (0.21).
            return Response("{}", 200, content_type="application/json") if response.status_code == 204 else response
        if found := STUDY.fullmatch(path):
            return self._study(request, path, int(found[1]), whole=found[2] is None)
        if path == "/api/studies":
            with self._lock:
                return self._enriched(self._ask(request), self._content.studies)
        if not OURS.match(path):
            resource = self._content.resource(request.path)
            if resource is not None:
                return partial_content(request, Response(resource[1], content_type=resource[0]))
        if path.startswith("/artifacts/"):
            try:
                return partial_content(request, self._ask(request))
            except KeyError:  # as Optuna's storage says it
                return refusal(404, "There is no such study or trial, or no more.")
        if path.startswith("/dashboard"):
            return self._page(request)
        return self._ask(request)

    def _ask(self, request: Request, without: tuple[str, ...] = (), **given: str) -> Response:
        """What Optuna's dashboard answers; files are read here. `without` and `given` are of the environment."""
        left_out = (*without, "wsgi.file_wrapper")
        environ = {name: value for name, value in request.environ.items() if name not in left_out} | given
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # it fails without one
        if request.method == "HEAD":
            environ["REQUEST_METHOD"] = "GET"  # the body is left out when it is sent
        return Response.from_app(self._app, environ, buffered=True)

    def _page(self, request: Request) -> Response:
        """The page of all paths below /dashboard, whole, with the banner."""
        response = self._ask(request, CONDITIONS)
        response.set_data(response.get_data().replace(b"</body>", STYLE + self._banner + b"</body>"))
        for name in ("Last-Modified", "ETag", "Accept-Ranges"):
            response.headers.pop(name, None)
        response.headers["Cache-Control"] = "no-cache"
        return response

    def _study(self, request: Request, path: str, study_id: int, whole: bool) -> Response:
        """A study's `whole` document or its importances, kept under its token. `after` leaves out the first trials."""
        try:
            after = max(0, int(request.args.get("after", 0)))
        except ValueError:
            return refusal(400, "`after` is the number of trials that the page has already.")
        with self._lock:
            token = self._reading.token(study_id)
            if token is None:
                return refusal(404, f"study_id={study_id} is not found")
            if self._reading.cache is not self._cache:
                self._renew()
            answer = self._answers.get((path, after))
            if answer is None or answer.token != token:
                response = self._document(request, after) if whole else self._importances(request, study_id)
                if response.status_code != 200:
                    return response
                answer = Answer(token, gzip.compress(response.get_data(), compresslevel=3))
                self._answers[path, after] = answer
            self._answers.move_to_end((path, after))
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)
        return packed(request, answer)

    def _document(self, request: Request, after: int) -> Response:
        # Optuna's dashboard believes the trials that it has seen for 10 s; the token knows better.
        self._app._inmemory_cache._trials_last_fetched_at.clear()
        # Of two `after` it would take the other one, and that answer would be kept for this.
        return self._enriched(self._ask(request, QUERY_STRING=f"after={after}"), self._content.study)

    def _importances(self, request: Request, study_id: int) -> Response:
        ours = self._content.importances(study_id)
        return self._ask(request) if ours is None else Response(json.dumps({"param_importances": [ours]}))

    @staticmethod
    def _enriched(response: Response, enrich: Callable[[dict[str, Any]], None]) -> Response:
        if response.status_code == 200:
            document = json.loads(response.get_data())
            enrich(document)
            response.set_data(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
        return response


def packed(request: Request, answer: Answer) -> Response:
    """The answer as the client takes it; 304 when it has it already."""
    takes_gzip = request.accept_encodings["gzip"] > 0
    response = Response(
        answer.packed if takes_gzip else gzip.decompress(answer.packed), content_type="application/json"
    )
    if takes_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(answer.token + ("-gzip" if takes_gzip else ""))
    return response.make_conditional(request.environ)


def partial_content(request: Request, response: Response) -> Response:
    """A file's content, by ranges where asked for, so that sound can be wound; as a guest on this origin."""
    response.headers["Content-Security-Policy"] = SANDBOX
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers.pop("Access-Control-Allow-Origin", None)  # Optuna's lets every web page read it
    if response.status_code == 200:
        response.add_etag()
        response.make_conditional(request.environ, accept_ranges=True, complete_length=len(response.get_data()))
    return response


class StoreLost(Exception):
    """An artifact store that does not answer."""


class SharedStore:
    """An artifact store that removes nothing: files are named by their content, and other trials may refer to them."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def open_reader(self, artifact_id: str) -> BinaryIO:
        try:
            reader: BinaryIO = self._store.open_reader(artifact_id)
        except ArtifactNotFound:
            raise
        except Exception as error:  # each kind of store raises its own
            raise StoreLost(artifacts.reason_of(error)) from None  # without a server's text, which may repeat a key
        return reader

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._store.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        pass
