"""What the dashboard has read of its database: finished trials once, and a token that says whether anything changed."""

import hashlib
from typing import Any

import sqlalchemy
from optuna.storages import get_storage
from optuna.storages._rdb import models
from optuna.study._frozen import FrozenStudy

from search.settings.sections import CONFIRMATION
from search.study.database import StudyStorage

TRIALS = models.TrialModel.__table__


class Reading:
    """A cache of studies that others may write to, delete and make again.

    SQLite gives the numbers of a deleted study and its trials to the next. So a study that has fewer trials than are
    known of it, or began at another time, is another one: everything is forgotten, and `cache` is a new one.
    """

    def __init__(self, storage: StudyStorage) -> None:
        self.cache = get_storage(storage)
        self._storage = storage
        self._known: dict[int, tuple[str, int, Any]] = {}  # study id -> name, number of trials, first start

    def check(self) -> None:
        """Raises DatabaseLost."""
        self._ask(sqlalchemy.select(sqlalchemy.literal(1)))

    def token(self, study_id: int) -> str | None:
        """Differs whenever anything of the study, its confirmation or what it confirms does. None: no such study.

        Raises DatabaseLost.
        """
        studies = self.cache.get_all_studies()
        shown = next((s for s in studies if s._study_id == study_id), None)
        if shown is None:
            return None
        search = shown.study_name.removesuffix(CONFIRMATION)
        parts = [s for s in studies if s.study_name in (search, search + CONFIRMATION)]
        known = [self._is_known(part) for part in parts]
        if not all(known):
            self.cache = get_storage(self._storage)
        text = repr([self._state(part) for part in parts])
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def _is_known(self, study: FrozenStudy) -> bool:
        """Whether what the cache holds under the study's number is of this study."""
        query = sqlalchemy.select(sqlalchemy.func.count(), sqlalchemy.func.min(TRIALS.c.datetime_start)).where(
            TRIALS.c.study_id == study._study_id
        )
        count, began = self._ask(query)
        name, known, before = self._known.get(study._study_id, (study.study_name, 0, None))
        self._known[study._study_id] = (study.study_name, count, began)
        return name == study.study_name and known <= count and before in (None, began)

    def _ask(self, query: sqlalchemy.Select[Any]) -> Any:
        """The query's one row."""

        def transaction() -> Any:
            with self._storage.engine.connect() as connection:
                return connection.execute(query).one()

        return self._storage.survive(transaction)

    def _state(self, study: FrozenStudy) -> Any:
        """All that can change: finished trials cannot, but for what is written about them into the study."""
        trials = self.cache.get_all_trials(study._study_id, deepcopy=False)
        unfinished = [t for t in trials if not t.state.is_finished()]
        of = (study._study_id, study.study_name, study.user_attrs, study.system_attrs, self._known[study._study_id])
        return of, len(trials), unfinished
