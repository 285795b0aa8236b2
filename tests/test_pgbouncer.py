"""A study through PgBouncer in transaction mode: each transaction of a search may have another connection."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from search.study import storage
from search.study.leases import owner
from search.study.server import wait_for_server
from tests.machines import PATIENCE, Machine, Study, outage
from tests.pgbouncer import Pooler
from tests.postgres import Server
from tests.stub import PREPARED, settings_of


@pytest.fixture
def pooled(server: Server) -> Iterator[Callable[..., Pooler]]:
    """Makes PgBouncers."""
    started: list[Pooler] = []

    def make(size: int = 3, **limits: float) -> Pooler:
        started.append(Pooler(server, size, **limits))
        return started[-1]

    yield make
    for pooler in started:
        pooler.stop()


def test_a_search_is_exact_with_fewer_connections_than_it_opens_and_survives_a_restart(
    server: Server, pooled: Callable[..., Pooler], tmp_path: Path
) -> None:
    pooler, direct = pooled(), server.empty_database()
    options = ("--trials", "40", "--slots", "4", "--seconds", "0.01")
    with Study(direct, tmp_path, trials=40) as study:
        machines = []
        for name in "ab":
            command = ["-m", "tests.stub", pooler.url(direct), ".", "--machine", name, *options]
            machines.append(study.add(Machine(command, tmp_path / name)))
            machines[-1].hold(3)
        for machine in machines:
            machine.wait_for(" step 60 ", count=4)
        assert int(str(dict(pooler.ask("SHOW LISTS"))["used_clients"])) > 3
        with outage(server):
            for machine in machines:
                machine.release()
        for machine in machines:
            machine.wait()
        study.assert_exact()
        (servers,) = study.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'xtts-study'")[0]
        assert servers <= 3


def test_who_is_stopped_with_the_study_s_lock_keeps_nobody_out(
    pooled: Callable[..., Pooler], database: str, tmp_path: Path
) -> None:
    """By PgBouncer's `idle_transaction_timeout`: what a search sets on a connection does not stay with it."""
    url = pooled(idle=3).url(database)
    opened = storage.open_storage(url)
    _, ledger = storage.open_study(settings_of(url, tmp_path, trials=5, slots=1), PREPARED, opened)
    opened.patience = PATIENCE
    stopped = psycopg.connect(url)
    stopped.execute("SELECT * FROM studies FOR UPDATE")
    assert ledger.claim(5, owner(60)).trial_id is not None
    stopped.close()
    opened.engine.dispose()


def test_many_that_meet_at_an_empty_server_get_in_with_few_connections(
    server: Server, pooled: Callable[..., Pooler]
) -> None:
    """More of them than connections: who makes the tables needs several."""
    url = pooled().url(server.empty_database())
    with ThreadPoolExecutor(6) as threads:
        opened = [call.result() for call in [threads.submit(storage.open_storage, url) for _ in range(6)]]
    for found in opened:
        found.engine.dispose()


def test_a_server_that_is_away_behind_it_is_waited_for(
    server: Server, pooled: Callable[..., Pooler], tmp_path: Path
) -> None:
    url = pooled(wait=5).url(server.empty_database())
    settings = settings_of(url, tmp_path, trials=5, slots=1)
    assert not storage.exists(settings)  # the pool has a connection
    told: list[str] = []

    def note(line: str) -> None:
        told.append(line)
        server.start()

    server.stop()
    wait_for_server(url, 3600, note)
    assert len(told) == 1 and "does not accept connections yet" in told[0]
    assert not storage.exists(settings)
