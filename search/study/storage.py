"""Study, sampler and pruner: what a search opens, and what others read."""

import json
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner, NopPruner
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from search.errors import UserError
from search.settings.settings import Settings, safe_url
from search.study.database import StudyStorage, connect_arguments, limit_idle_transactions, reason_of
from search.study.fingerprint import differences, fingerprint
from search.study.ledger import Ledger
from search.study.pruners import FirstToFire, MedianRule, TwoIncreasePruner
from search.study.sampler import Sampler
from search.study.study_cache import StudyCache
from search.trial import Prepared, StopReason, evaluation_steps
from space.hyperparameters import Hyperparameters
from space.search_space import SearchSpace

READERS_PATIENCE = 20.0  # seconds that a command waits for a database that does not answer; a search waits longer
_CREATION = 0x78747473  # PostgreSQL's advisory lock while tables are made


def check_reachable(url: str) -> None:
    """Raises UserError when there is no database at `url`. Creates nothing."""
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        return
    engine = None
    try:
        engine = create_engine(parsed, poolclass=NullPool, connect_args=connect_arguments(parsed))
        engine.connect().close()
    except ImportError as error:
        raise UserError(
            f"study.storage {safe_url(url)} needs the Python package {error.name}, which is missing; use sqlite or"
            " postgresql"
        ) from error
    except Exception as error:  # drivers raise their own kinds besides SQLAlchemy's
        raise UserError(
            f"study.storage {safe_url(url)} cannot be reached: {reason_of(error, url)}; check host, port, name and"
            " password, and that the server runs"
        ) from error
    finally:
        if engine is not None:
            engine.dispose()


def open_storage(url: str, connections: int = 3) -> StudyStorage:
    """The storage at `url`; Optuna's tables are made if they are not there. Raises UserError."""
    parsed = parse(url)
    try:
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            # Write-ahead logging lets `status` and the dashboard read while a search writes; the file remembers it.
            with sqlite3.connect(parsed.database) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        with _alone(parsed):
            if _has_tables(parsed):
                _check_schema(parsed, url)
            return StudyStorage(parsed, READERS_PATIENCE, connections)
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error, RuntimeError) as error:
        raise UserError(f"study.storage {safe_url(url)} cannot be opened: {reason_of(error, url)}") from error


@contextmanager
def _alone(url: URL) -> Iterator[None]:
    """One process at a time makes tables, of those that start together on an empty server."""
    if url.get_backend_name() != "postgresql":
        yield
        return
    engine = create_engine(url, poolclass=NullPool, connect_args=connect_arguments(url))
    event.listen(engine, "connect", limit_idle_transactions)  # it idles while tables are made
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION})
        yield


def _has_tables(url: URL) -> bool:
    engine = create_engine(url, poolclass=NullPool, connect_args=connect_arguments(url))
    with engine.connect() as connection:
        return inspect(connection).has_table("studies")


def _check_schema(url: URL, given: str) -> None:
    """Raises UserError when another release of Optuna made the tables. Optuna itself would add to them first."""
    storage = RDBStorage(
        url.render_as_string(hide_password=False),
        engine_kwargs={"poolclass": NullPool, "connect_args": connect_arguments(url)},
        skip_compatibility_check=True,
        skip_table_creation=True,
    )
    there, here = storage.get_current_version(), storage.get_head_version()
    if there == here:
        return
    older = there in storage.get_all_versions()
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


def exists(settings: Settings, suffix: str = "") -> bool:
    """Whether the study, of its name and `suffix`, is in its storage. Creates nothing, not even Optuna's tables."""
    url = parse(settings.storage_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return False
    check_reachable(settings.storage_url)
    try:
        found = _has_tables(url)
    except SQLAlchemyError as error:
        reason = reason_of(error, settings.storage_url)
        raise UserError(f"study.storage {safe_url(settings.storage_url)} cannot be read: {reason}") from error
    if not found:
        return False
    storage = open_storage(settings.storage_url)
    try:
        return settings.study.name + suffix in optuna.get_all_study_names(storage)
    finally:
        storage.engine.dispose()


def load_study(settings: Settings, suffix: str = "") -> optuna.Study:
    """The study of the settings' name and `suffix`, to read. Raises UserError when it does not exist."""
    if not exists(settings, suffix):
        name = settings.study.name + suffix
        raise UserError(
            f"study {name!r} does not exist in {safe_url(settings.storage_url)}; run study.py to start it, or name"
            " another with --study"
        )
    return optuna.load_study(study_name=settings.study.name + suffix, storage=open_storage(settings.storage_url))


def open_study(settings: Settings, prepared: Prepared, storage: StudyStorage) -> tuple[optuna.Study, Ledger]:
    """The study and the ledger of its trials; a new study gets its fingerprint and its first trials.

    Raises UserError, with a line for each difference, if the study was made with other settings.
    """
    given = settings.pruning.min_delta
    pruner = make_pruner(settings, prepared, None if given == "seed_noise" else given)
    attributes = attributes_of(settings, prepared)
    study, ledger, stored = open_ours(
        settings.study.name, settings, storage, attributes, first_trials(settings), pruner
    )
    study.sampler = make_sampler(settings.study.seed, stored["searches"])
    return study, ledger


def open_ours(
    name: str,
    settings: Settings,
    storage: StudyStorage,
    attributes: dict[str, Any],
    queue: list[tuple[dict[str, Any], dict[str, Any]]],
    pruner: BasePruner,
) -> tuple[optuna.Study, Ledger, dict[str, Any]]:
    """The study `name`, if it is new founded with `attributes` and `queue`, its ledger and its attributes.

    Raises UserError when another tool made it, or a founder whose fingerprint differs.
    """
    study = optuna.create_study(
        study_name=name, storage=StudyCache(storage), direction="minimize", load_if_exists=True, pruner=pruner
    )
    place = safe_url(settings.storage_url)
    ledger = Ledger(storage, study._study_id)
    foreign = study.directions != [optuna.study.StudyDirection.MINIMIZE]
    stored = {} if foreign else ledger.found(attributes, queue)
    if not stored:
        raise UserError(
            f"study {name!r} in {place} was not made by xtts-study; give this search another name with --study"
        )
    differing = differences(stored["fingerprint"], attributes["fingerprint"])
    if differing:
        raise UserError(
            f"study {name!r} in {place} was made with other settings; give this search another name with --study, or"
            " make these the same:",
            differing,
        )
    return study, ledger, stored


def first_trials(settings: Settings) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(parameters, user attributes) of the repeats of the stock recipe, each with its own seed, and of the baselines.

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


@contextmanager
def one_trial(study: optuna.Study, trial_id: int) -> Iterator[optuna.Trial]:
    """A trial that the ledger claimed, to be asked for its parameters: what `Study.ask` gives when it takes one."""
    cache = study._storage
    assert isinstance(cache, StudyCache)
    with cache.one_reading(study._study_id):
        study._thread_local.cached_all_trials = None  # else this thread samples from the history of its trial before
        yield optuna.Trial(study, trial_id)


def suggest(study: optuna.Study, trial_id: int, space: SearchSpace) -> tuple[optuna.Trial, Hyperparameters]:
    """A trial that the ledger claimed, and its point."""
    with one_trial(study, trial_id) as trial:
        return trial, space.suggest(trial)


def make_sampler(seed: int, search: int) -> optuna.samplers.BaseSampler:
    """Multivariate TPE by groups of parameters. No two searches of a study, resumed or side by side, draw the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group`
        return Sampler(
            seed=(seed + 1_000_003 * (search - 1)) % 2**32, multivariate=True, group=True, constant_liar=True
        )


def make_pruner(settings: Settings, prepared: Prepared, min_delta: float | None) -> BasePruner:
    """The two-increase rule first: where both fire, the trial's best evaluation is a full result.

    `min_delta` None: not known yet; the two-increase rule does not act.
    """
    pruning = settings.pruning
    steps = evaluation_steps(settings.trial_horizon(prepared.train_clips), settings.training.evaluations)
    rules: dict[str, BasePruner] = {}
    if pruning.two_increases and min_delta is not None:
        rules[StopReason.TWO_INCREASES] = TwoIncreasePruner(pruning.n_increases, min_delta)
    if pruning.median and pruning.warmup_evaluations < len(steps):
        first = steps[pruning.warmup_evaluations]
        rules[StopReason.MEDIAN] = MedianRule(pruning.startup_trials, first)
    return FirstToFire(rules) if rules else NopPruner()


def parse(url: str) -> URL:
    """psycopg 3 for plain postgresql:// URLs."""
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return make_url("postgresql+psycopg://" + url.removeprefix(plain))
    return make_url(url)
