"""Optuna's storage, with calls that survive a lost connection."""

import functools
import logging
import time
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import sqlalchemy.exc as sql_errors
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from search.errors import UserError
from search.settings.settings import safe_url
from search.study.reading import read_trials

HURRIED = 5.0  # seconds of patience once the user wants to leave
NOTICED = 2.0  # seconds after which an outage is worth a line
# A stopped process keeps no lock on the study for longer; no transaction of ours waits for anything but the server.
IDLE_IN_TRANSACTION = 15.0  # seconds

# Of a connection that ends amid a transaction the driver and the pool log what they do not raise, with tracebacks. The
# connection is discarded, the transaction made again, and an outage told in a line.
for _library in ("psycopg", "sqlalchemy.pool"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)

Result = TypeVar("Result")


class DatabaseLost(UserError):
    """The database did not answer for as long as it was waited for."""


def _surviving(name: str) -> Any:
    """The method of Optuna's storage, asked again while the database does not answer."""
    method = getattr(RDBStorage, name)

    @functools.wraps(method)
    def call(self: "StudyStorage", *arguments: Any, **named: Any) -> Any:
        return self.survive(lambda: method(self, *arguments, **named))

    return call


class StudyStorage(RDBStorage):
    """Optuna's storage. Each method is one transaction, and is repeated after a lost connection.

    Repeating is safe: reads and attributes change nothing by it, and a trial's end is looked up before it is told
    again. Only Optuna's own creation of a trial, which a search does not use (see `search.study.ledger`), can leave one
    RUNNING that nobody holds, when its commit succeeds and the answer is lost; the reaper fails it.

    Args:
        url: SQLAlchemy URL, psycopg 3 for PostgreSQL.
        patience: Seconds that a method waits for a database that does not answer, before it raises `DatabaseLost`.
        connections: At most so many to a server, whatever the number of threads.
    """

    def __init__(self, url: URL, patience: float, connections: int = 3) -> None:
        self.patience = patience
        self._hurried = False
        self.on_outage: Callable[[str], None] = _ignore  # told once when an outage begins, and once when it is over
        self._outage = False
        self._answered = time.monotonic()
        arguments: dict[str, Any] = {"connect_args": connect_arguments(url)}
        if url.get_backend_name() != "sqlite":
            arguments |= {"pool_pre_ping": True, "pool_size": connections, "max_overflow": 0, "pool_timeout": 5}
        if url.get_backend_name() == "postgresql":
            # Whoever waited for the study's lock must see what its holder wrote, whatever the server's default.
            arguments["isolation_level"] = "READ COMMITTED"
        super().__init__(url.render_as_string(hide_password=False), engine_kwargs=arguments)
        if url.get_backend_name() == "postgresql":
            event.listen(self.engine, "connect", limit_idle_transactions)
            self.engine.dispose()  # those that the constructor opened had no limit yet

    create_new_study = _surviving("create_new_study")
    delete_study = _surviving("delete_study")
    set_study_user_attr = _surviving("set_study_user_attr")
    set_study_system_attr = _surviving("set_study_system_attr")
    get_study_id_from_name = _surviving("get_study_id_from_name")
    get_study_name_from_id = _surviving("get_study_name_from_id")
    get_study_directions = _surviving("get_study_directions")
    get_study_user_attrs = _surviving("get_study_user_attrs")
    get_study_system_attrs = _surviving("get_study_system_attrs")
    get_all_studies = _surviving("get_all_studies")
    _create_new_trial = _surviving("_create_new_trial")
    _set_trial_param = _surviving("_set_trial_param")
    get_trial_param = _surviving("get_trial_param")
    set_trial_intermediate_value = _surviving("set_trial_intermediate_value")
    set_trial_user_attr = _surviving("set_trial_user_attr")
    set_trial_system_attr = _surviving("set_trial_system_attr")
    get_trial_user_attrs = _surviving("get_trial_user_attrs")
    get_trial_system_attrs = _surviving("get_trial_system_attrs")
    get_trial_id_from_study_id_trial_number = _surviving("get_trial_id_from_study_id_trial_number")
    get_trial = _surviving("get_trial")
    _get_best_trial_id = _surviving("_get_best_trial_id")
    record_heartbeat = _surviving("record_heartbeat")
    _get_stale_trial_ids = _surviving("_get_stale_trial_ids")

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Optuna's, which tells a trial once: a repetition that finds it told so by us has nothing left to do."""
        attempts = 0

        def tell() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                return bool(RDBStorage.set_trial_state_values(self, trial_id, state, values))
            except UpdateFinishedTrialError:
                stored = RDBStorage.get_trial(self, trial_id)
                if attempts > 1 and stored.state == state and stored.values == (list(values) if values else None):
                    return True
                raise

        return self.survive(tell)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        def read() -> list[FrozenTrial]:
            with self.engine.connect() as connection:
                return read_trials(connection, study_id, states, included_trial_ids, trial_id_greater_than)

        return self.survive(read)

    # Patience

    def hurry(self) -> None:
        """From now on nobody waits longer than `HURRIED`: the user wants to leave."""
        self._hurried = True

    def survive(self, transaction: Callable[[], Result]) -> Result:
        """What `transaction` returns, once the database lets it. It must stand being repeated after a commit whose
        answer was lost. Raises `DatabaseLost` after `patience`, and UserError when the database refuses."""
        failing_since: float | None = None  # not since the call began, in which this process may have been stopped

        def is_out_of_patience(_: RetryCallState) -> bool:
            nonlocal failing_since
            failing_since = time.monotonic() if failing_since is None else failing_since
            patience = min(self.patience, HURRIED) if self._hurried else self.patience
            return time.monotonic() - failing_since >= patience

        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            stop=is_out_of_patience,
            wait=wait_random_exponential(multiplier=0.05, max=2.0),  # seconds
            before_sleep=self._note_outage,
            reraise=True,
        )
        try:
            result = retrying(transaction)
        except (StorageInternalError, sql_errors.SQLAlchemyError) as error:
            self._give_up(error)
        self._answered = time.monotonic()
        if self._outage:
            self._outage = False
            self.on_outage("the database answers again")
        return result

    def _note_outage(self, state: RetryCallState) -> None:
        with suppress(sql_errors.SQLAlchemyError):
            self.scoped_session.remove()  # this thread's session may hold what is left of the failed transaction
        silent = min(state.seconds_since_start or 0.0, time.monotonic() - self._answered)  # towards all threads
        if not self._outage and silent > NOTICED and state.outcome:
            self._outage = True
            reason = reason_of(state.outcome.exception(), self.url)
            self.on_outage(
                f"the database does not answer ({reason}); runs go on, and it is waited for, {self.patience:.0f} s"
            )

    def _give_up(self, error: Exception) -> NoReturn:
        reason = reason_of(error, self.url)
        if is_transient(error):
            raise DatabaseLost(
                f"study.storage {safe_url(self.url)} does not answer: {reason}; see that the server"
                " runs and its disk has room, then run the same command again"
            ) from error
        if isinstance(_cause(error), sql_errors.ProgrammingError):  # a missing right or table
            raise UserError(
                f"study.storage {safe_url(self.url)} refused: {reason}; its user must own Optuna's"
                " tables, see docs/operations.md"
            ) from error
        raise error


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed later: connection lost, server restarting, full or locked."""
    cause = _cause(error)
    kinds = (
        sql_errors.OperationalError,
        sql_errors.InterfaceError,
        sql_errors.InternalError,
        sql_errors.PendingRollbackError,
        sql_errors.TimeoutError,  # of the pool
    )
    return isinstance(cause, kinds) or (isinstance(cause, sql_errors.DBAPIError) and cause.connection_invalidated)


def _cause(error: BaseException | None) -> BaseException | None:
    return error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error


def reason_of(error: BaseException | None, url: str) -> str:
    """The first line of an error, without the password, which a driver may repeat."""
    error = _cause(error)
    line = (str(error).strip() or type(error).__name__).splitlines()[0].partition(" (Background on this error")[0]
    password = make_url(url).password
    return line.replace(str(password), "***") if password else line


def connect_arguments(url: URL) -> dict[str, Any]:
    """What the driver is told besides the URL, which wins: limits on how long a silent network is believed."""
    wanted: dict[str, dict[str, Any]] = {
        "sqlite": {"timeout": 60},  # seconds
        "postgresql": {
            "connect_timeout": 10,  # seconds
            "keepalives_idle": 10,  # seconds; a connection whose peer is gone fails within 25 s
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,  # ms
            "application_name": "xtts-study",
        },
    }
    return {k: v for k, v in wanted.get(url.get_backend_name(), {}).items() if k not in url.query}


def limit_idle_transactions(connection: Any, _record: Any) -> None:
    """For a new connection: the server ends a transaction whose process was stopped, and with it its locks."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION:.0f}s'")
    connection.commit()


def _ignore(_text: str) -> None:
    pass
