"""What the dashboard shows of our studies besides Optuna's own.

All of it is derived when somebody looks, and none is kept in the database: so it is there for studies of any age, is
as current as the trials, and costs a search nothing.
"""

import json
import re
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from optuna.storages import BaseStorage

from search.pages import study_notes
from search.pages import trial_figures as figures
from search.pages.dashboard_seen import Seen, is_ours
from search.pages.importances import importances
from search.settings.sections import CONFIRMATION
from search.settings.settings import Settings
from search.study.spoken import Speech

FIGURE = "f1"  # the artifact id of a trial's figure: Optuna's are 36 signs of 0-9, a-f and hyphens
LOG_BYTES = 1_000_000  # of a log's end that are shown
FIGURES_KEPT = 32
OBJECTIVE = "lowest eval, nats per audio token"

_FIGURE_PATH = re.compile(rf"/artifacts/([0-9]{{1,9}})/([0-9]{{1,9}})/{FIGURE}")
_LOG_PATH = re.compile(r"/logs/([^/]+)/([0-9]{1,9})")


class Content:
    """What the dashboard shows of our studies besides Optuna's own: notes, figures, sound, readable attributes."""

    def __init__(self, settings: Settings, storage: BaseStorage, tensorboard: str) -> None:
        """`storage` is one that is cheap to ask again; `tensorboard` the URL of TensorBoard, for links."""
        self._settings, self._storage, self._tensorboard = settings, storage, tensorboard.rstrip("/")
        self._lock = threading.RLock()  # pages are served by several threads
        self._seen: dict[int, Seen] = {}
        self._figures: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._importances: dict[int, tuple[int | None, list[dict[str, Any]]]] = {}  # and of how many finished trials

    def study(self, document: dict[str, Any]) -> None:
        """Changes the decoded JSON of GET /api/studies/<id> in place; a study that is not ours stays as it is."""
        if not any(attribute["key"] == "fingerprint" for attribute in document.get("user_attrs", [])):
            return
        with self._lock:
            try:
                seen = self._look(self._storage.get_study_id_from_name(document["name"]))
            except KeyError:  # it was deleted meanwhile
                return
            if seen is None:
                return
            document["best_trials"] = self._best(seen, document["best_trials"])
            for trial in (*document["trials"], *document["best_trials"]):
                self._trial(seen, trial)
            document["union_user_attrs"] = seen.columns()
            document["user_attrs"] = _attributes({**seen.facts(), **seen.foreign})
            _write(document["note"], seen.note)
            document.setdefault("objective_names", [OBJECTIVE])
            own = [{"id": name, "graph_object": figure} for name, figure in seen.figures.items()]
            document["plotly_graph_objects"] = own + document["plotly_graph_objects"]

    def importances(self, study_id: int) -> list[dict[str, Any]] | None:
        """Of the dimensions of a search of ours; of a confirmation, which searches nothing, none."""
        with self._lock:
            try:
                seen = self._look(study_id)
            except KeyError:  # it was deleted meanwhile
                return None
            if seen is None:
                return None
            if seen.is_confirmation:
                return []
            finished, found = self._importances.get(study_id, (None, []))
            if finished != seen.findings.finished:  # they are of finished trials alone
                finished, found = seen.findings.finished, importances(seen.findings)
                self._importances[study_id] = finished, found
            return found

    def studies(self, document: dict[str, Any]) -> None:
        """Changes that of GET /api/studies."""
        for summary in document["study_summaries"]:
            if any(attribute["key"] == "fingerprint" for attribute in summary["user_attrs"]):
                with suppress(KeyError):  # it was deleted meanwhile
                    attributes = self._storage.get_study_user_attrs(summary["study_id"])
                    if is_ours(attributes):
                        summary["user_attrs"] = _attributes(study_notes.facts(attributes))

    def resource(self, path: str) -> tuple[str, bytes] | None:
        """(media type, content) of a path, unquoted, that Optuna's dashboard does not know; None: not ours."""
        if found := _FIGURE_PATH.fullmatch(path):
            drawn = self._figure(int(found[1]), int(found[2]))
            return ("image/svg+xml", drawn) if drawn else None
        if found := _LOG_PATH.fullmatch(path):
            log = self._log(found[1], int(found[2]))
            return ("text/plain; charset=utf-8", log) if log is not None else None
        return None

    def _look(self, study_id: int) -> Seen | None:
        """The study as it is now; None for one that is not ours. Raises KeyError for one that is not there."""
        attributes = self._storage.get_study_user_attrs(study_id)
        if not is_ours(attributes):
            return None
        name = self._storage.get_study_name_from_id(study_id)
        seen = self._seen.get(study_id) or self._seen.setdefault(study_id, Seen(name, self._settings))
        confirmation = search = None
        own = self._settings.study.name
        if name == own and (other := self._ours(own + CONFIRMATION)) is not None:
            confirmation = self._storage.get_study_user_attrs(other), self._trials(other)
        if name == own + CONFIRMATION and (other := self._ours(own)) is not None:
            of = self._look(other)
            search = of.findings if of else None
        seen.look(attributes, self._trials(study_id), confirmation, search)
        return seen

    def _ours(self, name: str) -> int | None:
        """The id of a study of ours; None where there is none of the name."""
        try:
            study_id = self._storage.get_study_id_from_name(name)
        except KeyError:
            return None
        return study_id if is_ours(self._storage.get_study_user_attrs(study_id)) else None

    def _trials(self, study_id: int) -> list[Any]:
        return self._storage.get_all_trials(study_id, deepcopy=False)

    def _best(self, seen: Seen, of_optuna: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The best trial of a search; the runs of what a confirmation exports. `of_optuna` are the lowest values.

        Those may be of a repeat of the stock recipe, or of a pruned trial that was run for the audit.
        """
        numbers = [row.trial.number for row in seen.best]
        if [trial["number"] for trial in of_optuna] == numbers:
            return of_optuna
        from optuna_dashboard._serializer import serialize_frozen_trial

        study_id = self._storage.get_study_id_from_name(seen.name)
        attributes = self._storage.get_study_system_attrs(study_id)
        return [serialize_frozen_trial(study_id, row.trial, attributes) for row in seen.best]

    def _trial(self, seen: Seen, trial: dict[str, Any]) -> None:
        """Changes the JSON of a trial in place."""
        shown = seen.trial(trial["trial_id"])
        if shown is None:
            return
        trial["user_attrs"] = _attributes(shown.attributes)
        figure = f"![its evaluations](/artifacts/{trial['study_id']}/{trial['trial_id']}/{FIGURE})"
        _write(trial["note"], f"{shown.note}\n\n{self._links(seen, trial['number'])}\n\n{figure}")
        trial["artifacts"] = _artifacts(trial["artifacts"], shown.speech)

    def _links(self, seen: Seen, number: int) -> str:
        folder = self._folder(seen.name)
        if folder is None:
            return ""
        links = []
        if (self._settings.directory / folder / str(number) / "log.txt").is_file():
            links.append(f"[Log](/logs/{quote(seen.name, safe='')}/{number})")
        # The filter is a regular expression over runs, which TensorBoard names after their folders: below the study's,
        # or below that of all studies. Smoothed, as TensorBoard draws by itself, ten evaluations would be others.
        own = self._settings.study.name.replace(".", r"\.")
        runs = quote(f"(^|{own}/){folder}/{number}/", safe="")
        links.append(f"[TensorBoard](<{self._tensorboard}/?runFilter={runs}&smoothing=0#timeseries>)")
        return " · ".join(links)

    def _folder(self, study: str) -> str | None:
        """Of the study's runs, within its own; None for a study of other settings: its folder is not known here."""
        own = self._settings.study.name
        return {own: "trials", own + CONFIRMATION: "confirm"}.get(study)

    def _log(self, study: str, number: int) -> bytes | None:
        folder = self._folder(study)
        if folder is None:
            return None
        try:
            with open(self._settings.directory / folder / str(number) / "log.txt", "rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - LOG_BYTES))
                content = file.read(LOG_BYTES)
        except OSError:
            return None
        if size > LOG_BYTES:
            return f"… the last {LOG_BYTES:,} of {size:,} bytes\n".encode() + content.partition(b"\n")[2]
        return content

    def _figure(self, study_id: int, trial_id: int) -> bytes | None:
        """A trial's evaluations as SVG, drawn anew when the study has changed."""
        with self._lock:
            try:
                seen = self._look(study_id)
            except KeyError:
                return None
            if seen is None or (row := seen.rows.get(trial_id)) is None:
                return None
            key = (study_id, trial_id, seen.stamp)
            if key not in self._figures:
                self._figures[key] = figures.trial_svg(row, seen.median, seen.findings.base, seen.horizon_of(row))
            self._figures.move_to_end(key)
            while len(self._figures) > FIGURES_KEPT:
                self._figures.popitem(last=False)
            return self._figures[key]


def _write(note: dict[str, Any], body: str) -> None:
    """Into a note that nobody wrote: one that was saved in the dashboard is the user's."""
    if not note["body"]:
        note["body"] = body.strip()


def _attributes(values: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"key": key, "value": value if isinstance(value, str) else json.dumps(value)} for key, value in values.items()
    ]


def _artifacts(found: list[dict[str, Any]], speech: Speech | None) -> list[dict[str, Any]]:
    """The figure, then what the trial spoke, sentence by sentence, under names that say what one hears."""
    names = _names(speech) if speech else {}
    order = {artifact: place for place, artifact in enumerate(names)}
    heard = sorted((a for a in found if a["artifact_id"] in names), key=lambda a: order[a["artifact_id"]])
    rest = [a for a in found if a["artifact_id"] not in names]
    figure = {"artifact_id": FIGURE, "filename": "evaluations.svg", "mimetype": "image/svg+xml", "encoding": None}
    return [figure, *({**a, "filename": names[a["artifact_id"]]} for a in heard), *rest]


def _names(speech: Speech) -> dict[str, str]:
    """Artifact id to file name, in the order to listen in. Files of the same content are one artifact."""
    digits = len(str(len(speech.sentences)))  # the page sorts by name
    references = list(dict.fromkeys(sentence.reference for sentence in speech.sentences))
    labels: dict[str, list[str]] = {}
    for number, sentence in enumerate(speech.sentences, 1):
        which = f" {references.index(sentence.reference) + 1}" if len(references) > 1 else ""
        for file, label in (
            (sentence.spoken, f"sentence {number:0{digits}}, model"),
            (sentence.recorded, f"sentence {number:0{digits}}, recording"),
            (sentence.reference, f"voice reference{which}"),
        ):
            if (known := speech.artifacts.get(file)) is not None and label not in labels.setdefault(known, []):
                labels[known].append(label)
    return {known: f"{'; '.join(parts)}.wav" for known, parts in labels.items()}
