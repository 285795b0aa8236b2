"""Study, sampler and pruner: what a search opens, and what others read."""

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from sqlalchemy import URL, Connection, func, inspect, select, text

from search.errors import Halted, UserError
from search.settings.settings import Settings, safe_url
from search.study import clips, control, rows, warm_start
from search.study.control import NOTHING_SAID, Control
from search.study.database import StudyStorage
from search.study.fingerprint import differences, fingerprint
from search.study.ledger import Ledger
from search.study.optuna_private import STUDIES, StudyCache, claimed_trial, schema_versions, try_writing
from search.study.pruners import FirstToFire, MedianRule, TwoIncreasePruner
from search.study.sampler import make_sampler
from search.study.server import DatabaseLost, connected, is_away, parse, reason_of
from search.study.warm_start import NOTHING, Memory
from search.trial import Prepared, StopReason, evaluation_steps
from space.hyperparameters import Hyperparameters
from space.search_space import SearchSpace

READERS_PATIENCE = 20.0  # seconds that a command waits for a database that does not answer; a search waits longer
# What to do about an error, by its code in PostgreSQL.
NEXT_STEPS = {
    "42501": "let its user create tables and write to them (docs/operations.md), or name another database",
    "3F000": "create the schema, or name one that exists: ?options=-csearch_path=SCHEMA",
    "57014": "lift the statement_timeout of its user",
    "25006": "name the primary server, or a database that may be written to",
}
_CREATION = 0x78747473  # PostgreSQL's advisory lock while tables are made
ASK_AGAIN = 0.2  # seconds between two attempts to get it


def open_storage(url: str, connections: int = 3) -> StudyStorage:
    """The storage at `url`; Optuna's tables are made if they are not there. Raises UserError."""
    parsed = parse(url)
    with _refusing(url):
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            # Write-ahead logging lets `status` and the dashboard read while a search writes; the file remembers it.
            with sqlite3.connect(parsed.database) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        with alone(parsed) as connection:
            if _has_tables(connection):
                _check_schema(connection, url)
            return StudyStorage(parsed, READERS_PATIENCE, connections)


@contextmanager
def alone(url: URL) -> Iterator[Connection]:
    """A connection within which no other process makes tables, of those that start together on an empty server.

    Who waits keeps no connection: behind PgBouncer those who wait would have all that there are.
    """
    locked = select(func.pg_try_advisory_xact_lock(_CREATION))
    while True:
        with connected(url) as connection:
            if url.get_backend_name() != "postgresql" or connection.scalar(locked):
                yield connection
                return
        time.sleep(ASK_AGAIN)


@contextmanager
def _refusing(given: str) -> Iterator[None]:
    """Raises UserError for what goes wrong with the database at `given`; DatabaseLost while its server is away."""
    place = safe_url(given)
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"study.storage {place} needs the Python package {error.name}, which is missing; use sqlite or postgresql"
        ) from error
    except Exception as error:  # drivers raise their own kinds besides SQLAlchemy's
        reason = reason_of(error, given)
        if is_away(error, parse(given)):
            raise DatabaseLost(
                f"study.storage {place} cannot be reached: {reason}; see that the server runs, and check host and port"
            ) from error
        hint = NEXT_STEPS.get(getattr(getattr(error, "orig", error), "sqlstate", None) or "", "")
        # SQLAlchemy's errors of a connection that could not be made have no statement.
        if not hint and getattr(error, "statement", "") is None and parse(given).get_backend_name() != "sqlite":
            hint = "check host, port, name and password"
        raise UserError(f"study.storage {place} cannot be opened: {reason}{hint and '; '}{hint}") from error


def _has_tables(connection: Connection) -> bool:
    """Whether Optuna's tables are there. Raises SQLAlchemy's error for another tool's table of the same name."""
    there = inspect(connection)
    if not there.has_table("studies"):
        return False
    connection.execute(select(STUDIES).limit(0))
    return there.has_table("alembic_version")


def _check_schema(connection: Connection, given: str) -> None:
    """Raises UserError when another release of Optuna made the tables. Optuna itself would add to them first."""
    there = connection.scalar(text("SELECT version_num FROM alembic_version"))
    here, *before = schema_versions()
    if there == here:
        return
    older = there in before
    remedy = (
        "back the database up, end all searches and run: optuna storage upgrade --storage URL"
        if older
        else "use the release of xtts-study that made it"
    )
    raise UserError(
        f"study.storage {safe_url(given)} has tables of {'an older' if older else 'another, probably newer,'} Optuna"
        f" (schema {there}; Optuna {optuna.__version__} has {here}); {remedy} (docs/operations.md), or name another"
        " database"
    )


def try_out(settings: Settings) -> bool:
    """Whether the study exists; first tries what a search will make and write there, and takes it back.

    So a missing right or schema is told before any work. Raises UserError. Creates nothing.
    """
    there = exists(settings)
    url = parse(settings.storage_url)
    if url.get_backend_name() == "sqlite" and not (there or _is_file(url)):
        return False  # a new file: the right to make it is that to its folder
    with _refusing(settings.storage_url), alone(url) as connection:
        if url.get_backend_name() == "sqlite":
            connection.execute(text("BEGIN IMMEDIATE"))
        try_writing(connection, f"tried {uuid.uuid4().hex}")
        connection.rollback()
    return there


def _is_file(url: URL) -> bool:
    return Path(url.database or "").is_file()


@contextmanager
def reading(settings: Settings) -> Iterator[Connection | None]:
    """A connection to the database of studies, to read; None where there are no tables. Creates nothing.

    Raises UserError for a database that cannot be used.
    """
    url = parse(settings.storage_url)
    if url.get_backend_name() == "sqlite" and not _is_file(url):
        yield None
        return
    with _refusing(settings.storage_url), connected(url) as connection:
        there = _has_tables(connection)
        if there:
            _check_schema(connection, settings.storage_url)
        yield connection if there else None


def exists(settings: Settings, suffix: str = "") -> bool:
    """Whether the study, of its name and `suffix`, is in its storage, by one connection. Creates nothing.

    Raises UserError for a database that cannot be used.
    """
    with reading(settings) as connection:
        return connection is not None and _id_of(connection, settings.study.name + suffix) is not None


def _id_of(connection: Connection, name: str) -> int | None:
    found: int | None = connection.scalar(select(STUDIES.c.study_id).where(STUDIES.c.study_name == name))
    return found


def control_of(settings: Settings) -> Control:
    """What people told all machines of the study; nothing where it does not exist."""
    with reading(settings) as connection:
        study_id = _id_of(connection, settings.study.name) if connection else None
        if connection is None or study_id is None:
            return NOTHING_SAID
        return control.read(rows.control_of(connection, study_id))


def refuse_stopped(settings: Settings) -> None:
    """Raises Halted when the study was stopped for all machines: whoever starts another one may not know it."""
    said = control_of(settings)
    if said.state == "stopped":
        raise Halted(f"{said.words}; then run the same command again")


def load_study(settings: Settings, suffix: str = "") -> optuna.Study:
    """The study of the settings' name and `suffix`, to read. Raises UserError when it does not exist."""
    name = settings.study.name + suffix
    if not exists(settings, suffix):
        raise UserError(
            f"study {name!r} does not exist in {safe_url(settings.storage_url)}; run study.py to start it, or name"
            " another with --study"
        )
    with _refusing(settings.storage_url):
        return optuna.load_study(study_name=name, storage=StudyStorage(parse(settings.storage_url), READERS_PATIENCE))


def open_study(
    settings: Settings, prepared: Prepared, storage: StudyStorage, recalled: Memory | None = None
) -> tuple[optuna.Study, Ledger]:
    """The study and the ledger of its trials; a new study gets its fingerprint, its first trials and what is recalled.

    Raises UserError, with a line for each difference, if the study was made with other settings.
    """
    attributes, name, queue = attributes_of(settings, prepared), settings.study.name, first_trials(settings)
    documents = {warm_start.ATTRIBUTE: recalled} if recalled else {}
    queue += warm_start.queue(recalled or NOTHING, queue)
    pruner = make_pruner(settings, prepared)
    study, ledger, stored = open_ours(name, settings, storage, attributes, queue, pruner, documents)
    memory = memory_of(ledger.study_id, storage)
    warm_start.refuse_others(memory, settings)
    earlier = warm_start.known(memory, settings.search_space())
    study.sampler = make_sampler(settings.study.seed, stored["searches"], earlier)
    return study, ledger


def memory_of(study_id: int, storage: StudyStorage) -> Memory:
    """What the study recalls of earlier ones since it was founded."""
    found: Memory = storage.get_study_system_attrs(study_id).get(warm_start.ATTRIBUTE, NOTHING)
    return found


def open_ours(
    name: str,
    settings: Settings,
    storage: StudyStorage,
    attributes: dict[str, Any],
    queue: list[tuple[dict[str, Any], dict[str, Any]]],
    pruner: BasePruner,
    documents: Mapping[str, Any] | None = None,
) -> tuple[optuna.Study, Ledger, dict[str, Any]]:
    """The study `name`, if it is new founded with `attributes`, `queue` and `documents`; its ledger and attributes.

    Raises UserError when another tool made it, or a founder whose fingerprint differs.
    """
    study = optuna.create_study(
        study_name=name, storage=StudyCache(storage), direction="minimize", load_if_exists=True, pruner=pruner
    )
    place = safe_url(settings.storage_url)
    ledger = Ledger(storage, *map(storage.get_study_id_from_name, (name, settings.study.name)))
    foreign = study.directions != [optuna.study.StudyDirection.MINIMIZE]
    stored = {} if foreign else ledger.found(attributes, queue, documents)
    if not stored:
        raise UserError(
            f"study {name!r} in {place} was not made by xtts-study; give this search another name with --study"
        )
    differing = differences(stored["fingerprint"], attributes["fingerprint"])
    differing = clips.named(differing, stored.get("prepared", {}), attributes.get("prepared", {}))
    if differing:
        raise UserError(
            f"study {name!r} in {place} was made with other settings; give this search another name with --study, or"
            " make these the same:",
            differing,
        )
    return study, ledger, stored


def first_trials(settings: Settings) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(parameters, attributes) of the repeats of the stock recipe, each with its own seed, and of the baselines.

    With repeats the stock recipe's trial is the first of them.
    """
    space, repeats, seed = settings.search_space(), settings.study.repeats, settings.study.seed
    stock = settings.stock_recipe()
    baselines = [stock, *(b for b in space.baselines if b.name != stock.name)] if repeats else space.baselines
    queue: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (space.to_params(b.hyperparameters)[0], {"baseline": b.name}) for b in baselines
    ]
    if repeats:
        params, _ = space.to_params(stock.hyperparameters)
        queue[0][1]["repeat"] = 0
        queue[1:1] = [(params, {"repeat": i, "seed": (seed + i) % 2**31}) for i in range(1, repeats + 1)]
    return queue


def attributes_of(settings: Settings, prepared: Prepared) -> dict[str, Any]:
    """What a study remembers of how it was founded."""
    return {
        "fingerprint": fingerprint(settings, prepared),
        "prepared": json.loads(prepared.to_json()),
        "horizon": settings.trial_horizon(prepared.train_clips),
        "full_horizon": settings.full_horizon(prepared.train_clips),
    }


def suggest(study: optuna.Study, trial_id: int, space: SearchSpace) -> tuple[optuna.Trial, Hyperparameters]:
    """A trial that the ledger claimed, and its point."""
    with claimed_trial(study, trial_id) as trial:
        return trial, space.suggest(trial)


def make_pruner(settings: Settings, prepared: Prepared) -> BasePruner:
    """The two-increase rule first: where both fire, the trial's best evaluation is a full result."""
    pruning = settings.pruning
    steps = evaluation_steps(settings.trial_horizon(prepared.train_clips), settings.training.evaluations)
    rules: dict[str, BasePruner] = {}
    if pruning.two_increases:
        base = prepared.base_evaluation["mel_ce"]
        rules[StopReason.TWO_INCREASES] = TwoIncreasePruner(pruning.n_increases, pruning.min_delta, base)
    if pruning.median and pruning.warmup_evaluations < len(steps):
        first = steps[pruning.warmup_evaluations]
        rules[StopReason.MEDIAN] = MedianRule(pruning.startup_trials, first)
    return FirstToFire(rules) if rules else NopPruner()
