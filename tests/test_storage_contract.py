"""Optuna's own contract suite. One database serves all tests of a class; each finds it empty."""

from collections.abc import Iterator

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from search.study.database import StudyStorage
from search.study.optuna_private import StudyCache
from search.study.storage import open_storage
from tests.postgres import Server


def emptied(storage: StudyStorage) -> Iterator[StudyStorage]:
    yield storage
    for study in storage.get_all_studies():
        storage.delete_study(study._study_id)
    storage.engine.dispose()


@pytest.fixture(scope="module")
def postgresql(server: Server) -> StudyStorage:
    return open_storage(server.empty_database())


class TestPostgresql(StorageTestCase):
    @pytest.fixture
    def storage(self, postgresql: StudyStorage) -> Iterator[BaseStorage]:
        yield from emptied(postgresql)


class TestCached(StorageTestCase):
    @pytest.fixture(scope="class")
    def sqlite(self, tmp_path_factory: pytest.TempPathFactory) -> StudyStorage:
        return open_storage(f"sqlite:///{tmp_path_factory.mktemp('contract')}/study.db")

    @pytest.fixture
    def storage(self, sqlite: StudyStorage) -> Iterator[BaseStorage]:
        for storage in emptied(sqlite):
            yield StudyCache(storage)

    test_pickle_storage = None  # it belongs to one process
