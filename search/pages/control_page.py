"""The page of a writable dashboard that pauses, resumes and stops the study: plain forms, no script.

It stands before Optuna's pages, behind the gate, which lets changes pass from pages of its own origin only.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState
from werkzeug.wrappers import Request, Response

from search.errors import UserError
from search.pages.dashboard import CONTROL
from search.pages.gate import refusal
from search.pages.page import render
from search.settings.settings import Settings
from search.study import listing, steering
from search.study.database import StudyStorage
from search.study.ledger import Ledger
from search.study.optuna_private import trial_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"
CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_RANGE")
LINK = (
    f'<a href="{CONTROL}" style="position: fixed; right: 1rem; bottom: 1rem; z-index: 2000; padding: .5rem .9rem;'
    ' border-radius: .3rem; background: #0072b2; color: #fff; font: 15px sans-serif">Pause or stop</a></body>'
)
ORDERS: dict[str, dict[str, Any]] = {
    "pause": {"state": "paused"},
    "resume": {"state": "running"},
    "stop": {"state": "stopped"},
    "stop now": {"state": "stopped", "cuts": True},
}


class ControlPage:
    """WSGI application: the page at `CONTROL`. All else `pages` answers, Optuna's dashboard, with a link to it."""

    def __init__(self, pages: "WSGIApplication", settings: Settings, database: StudyStorage) -> None:
        self._pages, self._database = pages, database
        self._name = settings.study.name
        self._ledger = Ledger(database, database.get_study_id_from_name(self._name))

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.path.startswith("/dashboard") and request.method == "GET":
            return self._linked(environ)(environ, start_response)
        if request.path != CONTROL:
            return self._pages(environ, start_response)
        try:
            response = self._obey(request) if request.method == "POST" else self._page()
        except UserError as error:
            response = refusal(409 if error.exit_code == 2 else 503, str(error))
        return response(environ, start_response)

    def _linked(self, environ: "WSGIEnvironment") -> Response:
        """Optuna's page, whole: a browser may have kept it from a dashboard that was not writable."""
        asked = {name: value for name, value in environ.items() if name not in CONDITIONS}
        response = Response.from_app(self._pages, asked)
        if response.mimetype == "text/html":
            response.set_data(response.get_data().replace(b"</body>", LINK.encode()))
            response.headers["Cache-Control"] = "no-store"
        return response

    def _obey(self, request: Request) -> Response:
        """Does what a form asks for, and shows the page again."""
        order, trial = request.form.get("order", ""), request.form.get("trial", "")
        if order in ORDERS:
            self._ledger.steer(lambda said: said.told(**ORDERS[order], through="in the dashboard "))
        elif trial.isascii() and trial.isdecimal():
            steering.stop_trial(self._ledger, self._database.get_all_trials(self._ledger.study_id), int(trial))
        else:
            return refusal(400, f"The form must have an order, one of {', '.join(ORDERS)}, or a trial's number.")
        return Response(status=303, headers={"Location": CONTROL})

    def _page(self) -> Response:
        def look() -> listing.Listed:
            with self._database.engine.connect() as connection:
                return listing.look(connection, self._name, {self._name: self._ledger.study_id})

        study, study_id = self._database.survive(look), self._ledger.study_id
        running = self._database.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        page = render(
            Path(__file__).with_name("control_page.html.j2"),
            study=study,
            study_id=study_id,
            trials=[(each, steering.is_stock(each), trial_id(each) in study.control.ending) for each in running],
        )
        return Response(page, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})
