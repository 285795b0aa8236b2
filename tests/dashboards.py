"""A study as Optuna's own dashboard answers for it, without a server."""

import json
from pathlib import Path
from typing import Any

import optuna
from optuna_dashboard import wsgi
from werkzeug.test import Client

from search.pages.dashboard_notes import Notes
from search.settings.settings import Settings
from search.study import artifacts, storage
from tests.studies import miniature, new_study


class Dashboard:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.opened = storage.open_storage(settings.storage_url)
        self.notes = Notes(settings, self.opened)
        self.pages = wsgi(self.opened, artifact_store=artifacts.open_store(settings))

    def refreshed(self, study_id: int = 1) -> dict[str, Any]:
        """The study's document, with notes that were just written."""
        self.notes.refresh()
        return self.document(study_id)

    def document(self, study_id: int = 1) -> dict[str, Any]:
        self.pages._inmemory_cache.clear()
        answer = Client(self.pages).get(f"/api/studies/{study_id}", headers={"Accept-Encoding": ""})
        assert answer.status_code == 200, answer.text
        return answer.get_json()  # type: ignore[no-any-return]


def small(folder: Path, overrides: dict[str, Any] | None = None) -> tuple[optuna.Study, Dashboard]:
    """A study that a test fills."""
    settings = miniature(folder, overrides)
    return new_study(settings), Dashboard(settings)


def figures_of(document: dict[str, Any]) -> dict[str, Any]:
    return {g["id"]: json.loads(g["graph_object"]) for g in document["plotly_graph_objects"]}


def attributes_of(shown: dict[str, Any]) -> dict[str, str]:
    return {attribute["key"]: attribute["value"] for attribute in shown["user_attrs"]}
