"""Optuna's cache of trials, asked for no more than a search needs: reading the study is what costs a large one time."""

import copy
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager

from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.trial import FrozenTrial, TrialState

from search.study.database import StudyStorage


class StudyCache(_CachedStorage):
    """What `Study` gets as its storage. Finished trials are read once, as in Optuna's own cache, and besides

    * who wants finished trials only (the median rule) does not read the running ones again;
    * within `one_reading` the study is read once: TPE would read it anew for each group of parameters.
    """

    def __init__(self, storage: StudyStorage) -> None:
        super().__init__(storage)
        self._local = threading.local()

    @contextmanager
    def one_reading(self, study_id: int) -> Iterator[None]:
        """In this thread, the study's trials are as they are now until the block ends."""
        self._local.reading = (study_id, self.get_all_trials(study_id, deepcopy=False))
        try:
            yield
        finally:
            del self._local.reading

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        of, reading = getattr(self._local, "reading", (None, []))
        if of == study_id:
            found = [t for t in reading if states is None or t.state in states]
            return copy.deepcopy(found) if deepcopy else found
        if deepcopy or states is None or any(s in states for s in (TrialState.RUNNING, TrialState.WAITING)):
            return super().get_all_trials(study_id, deepcopy, states)
        self._read_finished(study_id)
        with self._lock:
            trials = [t for t in self._studies[study_id].trials.values() if t.state in states]
            return sorted(trials, key=lambda t: t.number)  # some samplers rely on it

    def _read_finished(self, study_id: int) -> None:
        """Adds what finished since, among the trials that ran at the last full reading and those that came after it."""
        with self._lock:
            known = self._studies.setdefault(study_id, _StudyInfo())
            last = max(known.unfinished_trial_ids, default=known.last_finished_trial_id)
            trials = self._backend._get_trials(
                study_id,
                (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL),
                known.unfinished_trial_ids,
                max(last, known.last_finished_trial_id),
            )
            self._add_trials_to_cache(study_id, trials)
            # Those after the last full reading stay to be read again by the next: between them may be running ones.
            known.unfinished_trial_ids -= {t._trial_id for t in trials}
