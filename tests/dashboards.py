"""Studies as the dashboard answers for them, and its pages behind their gate, without a server."""

import io
import json
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import get_storage
from werkzeug.test import Client, TestResponse

from search.pages import dashboard_answers as pages
from search.pages import gate
from search.pages.dashboard_content import Content
from search.settings.settings import Settings
from search.study import artifacts, storage
from tests.studies import miniature, new_study

TENSORBOARD = "http://127.0.0.1:6006/"
PAGE = {"Sec-Fetch-Site": "same-origin"}
CHANGES = optuna.distributions.FloatDistribution(0.0, 1.0)


class Served:
    """A study as Optuna's dashboard and the content answer for it."""

    def __init__(self, settings: Settings) -> None:
        from optuna_dashboard import wsgi

        self.settings = settings
        self.storage = get_storage(storage.open_storage(settings.storage_url))
        self._app = wsgi(self.storage, artifact_store=artifacts.open_store(settings))
        self.content = Content(settings, self.storage, TENSORBOARD)

    def raw(self, name: str | None = None, after: int = 0) -> dict[str, Any]:
        self._app._inmemory_cache.clear()
        study_id = self.storage.get_study_id_from_name(name or self.settings.study.name)
        return dict(json.loads(Client(self._app).get(f"/api/studies/{study_id}?after={after}").data))

    def study(self, name: str | None = None, after: int = 0) -> dict[str, Any]:
        document = self.raw(name, after)
        self.content.study(document)
        return document

    def studies(self) -> list[dict[str, Any]]:
        document = json.loads(Client(self._app).get("/api/studies").data)
        self.content.studies(document)
        return list(document["study_summaries"])

    def note(self, number: int) -> str:
        return str(self.study()["trials"][number]["note"]["body"])


def small(folder: Path) -> tuple[optuna.Study, Served]:
    """A study that a test fills."""
    settings = miniature(folder)
    return new_study(settings), Served(settings)


def pairs(attributes: list[dict[str, str]]) -> dict[str, str]:
    return {attribute["key"]: attribute["value"] for attribute in attributes}


def figures_of(document: dict[str, Any]) -> dict[str, Any]:
    return {g["id"]: json.loads(g["graph_object"]) for g in document["plotly_graph_objects"]}


class OneNote:
    """In place of dashboard_content: one note, one file, and a count of the documents that it was given."""

    def __init__(self) -> None:
        self.asked = 0

    def study(self, document: dict[str, Any]) -> None:
        self.asked += 1
        document["note"]["body"] = f"{document['name']} ሰላም"

    def studies(self, document: dict[str, Any]) -> None:
        document["studies_seen"] = len(document["study_summaries"])

    def importances(self, _study_id: int) -> list[dict[str, Any]] | None:
        return None

    def resource(self, path: str) -> tuple[str, bytes] | None:
        return ("text/html", b"<script>harm()</script>") if path == "/logs/voice/3" else None


class Dashboard:
    """The pages behind a gate, as `study.py dashboard --writable` has them, without a server."""

    def __init__(self, url: str, folder: Path, writable: bool = True) -> None:
        self.opened = storage.open_storage(url)
        self.opened.patience = 0.2
        self.content = OneNote()
        self.store = FileSystemArtifactStore(folder)
        self.pages = pages.Pages(self.opened, self.store, lambda _: self.content, read_only=not writable)  # type: ignore[arg-type,return-value]
        self.client = Client(gate.Gate(self.pages, None, writable))

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def study(self, number: int = 1, after: int = 0) -> dict[str, Any]:
        answer = self.get(f"/api/studies/{number}?after={after}")
        assert answer.status_code == 200, answer.text
        return answer.get_json()  # type: ignore[no-any-return]


def found(url: str, name: str = "voice", trials: int = 3) -> optuna.Study:
    """A study by another process, as far as the dashboard can tell."""
    study = optuna.create_study(study_name=name, storage=storage.open_storage(url))
    for i in range(trials):
        trial = study.ask({"lr": CHANGES})
        trial.report(i + 0.5, 1)
        study.tell(trial, float(i))
    return study


def keep(made: Dashboard, study: optuna.Study, number: int, name: str, mimetype: str, content: bytes) -> str:
    """The URL of a new artifact of a trial."""
    known = artifacts.artifact_id(content)
    made.store.write(known, io.BytesIO(content))
    trial = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    for key, value in artifacts.described({name: known}, mimetype).items():
        study._storage.set_trial_system_attr(trial, key, json.dumps(value))
    return f"/artifacts/{study._study_id}/{trial}/{known}"
