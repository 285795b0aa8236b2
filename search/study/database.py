"""Optuna's storage, with calls that survive a lost connection."""

import functools
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import sqlalchemy.exc as sql_errors
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from search.errors import UserError
from search.settings.settings import safe_url
from search.study.optuna_private import TRANSACTIONS
from search.study.server import DatabaseLost, cause_of, engine_arguments, is_transient, reason_of

HURRIED = 5.0  # seconds of patience once the user wants to leave
NOTICED = 2.0  # seconds after which an outage is worth a line

# Of a connection that ends amid a transaction the driver and the pool log what they do not raise, with tracebacks. The
# connection is discarded, the transaction made again, and an outage told in a line.
for _library in ("psycopg", "sqlalchemy.pool"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)

Result = TypeVar("Result")


def _surviving(name: str) -> Any:
    """The method of Optuna's storage, asked again while the database does not answer."""
    method = getattr(RDBStorage, name)

    @functools.wraps(method)
    def call(self: "StudyStorage", *arguments: Any, **named: Any) -> Any:
        return self.survive(lambda: method(self, *arguments, **named))

    return call


class StudyStorage(RDBStorage):
    """Optuna's storage. Each method is one transaction, and is repeated after a lost connection.

    Repeating is safe: reading or writing an attribute twice is the same as once. A search makes and ends trials through
    its ledger. Where somebody uses Optuna's own methods for that, a commit whose answer is lost may leave a RUNNING
    trial that nobody owns, which the reaper fails, or be told again, which is refused.

    Args:
        url: SQLAlchemy URL, psycopg 3 for PostgreSQL.
        patience: Seconds that a method waits for a database that does not answer, before it raises `DatabaseLost`.
        connections: The most connections to a server, whatever the number of threads.
    """

    def __init__(self, url: URL, patience: float, connections: int = 3) -> None:
        self.patience = patience
        self._hurried = False
        self.on_outage: Callable[[str], None] = _ignore  # told once when an outage begins, and once when it is over
        self._outage = False
        self._answered = time.monotonic()
        arguments = engine_arguments(url)
        if url.get_backend_name() != "sqlite":
            arguments |= {"pool_pre_ping": True, "pool_size": connections, "max_overflow": 0, "pool_timeout": 5}
        super().__init__(url.render_as_string(hide_password=False), engine_kwargs=arguments)

    def hurry(self) -> None:
        """From now on no call waits longer than `HURRIED`: the user wants to leave."""
        self._hurried = True

    def survive(self, transaction: Callable[[], Result]) -> Result:
        """What `transaction` returns. It is repeated while the database does not answer, perhaps after a commit whose
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
        if isinstance(cause_of(error), sql_errors.ProgrammingError):  # a missing right or table
            raise UserError(
                f"study.storage {safe_url(self.url)} refused: {reason}; its user must own Optuna's"
                " tables, see docs/operations.md"
            ) from error
        raise error


for _method in TRANSACTIONS:
    setattr(StudyStorage, _method, _surviving(_method))


def _ignore(_text: str) -> None:
    pass
