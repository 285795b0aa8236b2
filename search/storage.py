"""Database, sampler and pruner: the only place that names them."""

import hashlib
import json
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from search.errors import UserError
from search.pruners import FirstToFire, TwoIncreasePruner
from search.settings import Settings, safe_url
from search.trial import Prepared, StopReason, evaluation_steps

FINISHED_STATES = (TrialState.COMPLETE, TrialState.PRUNED)
_CODE = ("knobs.py", "trial.py", "pruners.py", "training")  # of search/: what a trial's numbers depend on


def check_reachable(url: str) -> None:
    """Raises UserError when there is no database at `url`. Creates nothing."""
    parsed = make_url(with_driver(url))
    if parsed.get_backend_name() == "sqlite":
        return
    try:
        engine = create_engine(
            parsed, connect_args={"connect_timeout": 10} if "postgresql" in parsed.drivername else {}
        )
    except ImportError as error:
        raise UserError(
            f"study.storage {safe_url(url)} needs the Python package {error.name}, which is missing; use sqlite or"
            " postgresql"
        ) from error
    try:
        engine.connect().close()
    except Exception as error:  # drivers raise their own kinds besides SQLAlchemy's
        raise UserError(
            f"study.storage {safe_url(url)} cannot be reached: {_first_line(error, url)}; check host, port, name and"
            " password, and that the server runs"
        ) from error
    finally:
        engine.dispose()


def open_storage(url: str) -> RDBStorage:
    """The Optuna storage at `url`; its tables are made if they are not there. Raises UserError."""
    parsed = make_url(with_driver(url))
    sqlite = parsed.get_backend_name() == "sqlite"
    try:
        if sqlite and parsed.database:
            # Write-ahead logging lets `status` and the dashboard read while a search writes; the file remembers it.
            with sqlite3.connect(parsed.database) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        arguments: dict[str, Any] = {"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True}
        return RDBStorage(parsed.render_as_string(hide_password=False), engine_kwargs=arguments)
    except (SQLAlchemyError, sqlite3.Error, RuntimeError) as error:
        raise UserError(f"study.storage {safe_url(url)} cannot be opened: {_first_line(error, url)}") from error


def exists(settings: Settings) -> bool:
    """Whether the study is in its storage. Creates nothing, not even Optuna's tables."""
    return _has_tables(settings) and settings.study.name in optuna.get_all_study_names(
        open_storage(settings.storage_url)
    )


def load_study(settings: Settings) -> optuna.Study:
    """The study, to read. Raises UserError when it does not exist."""
    if not exists(settings):
        raise UserError(
            f"study {settings.study.name!r} does not exist in {safe_url(settings.storage_url)}; run study.py to start"
            " it, or name another with --study"
        )
    return optuna.load_study(study_name=settings.study.name, storage=open_storage(settings.storage_url))


def open_study(settings: Settings, prepared: Prepared) -> optuna.Study:
    """The study, made if it is new, with sampler and pruner. Raises UserError if it was made with other settings."""
    fingerprint = study_fingerprint(settings, prepared)
    storage = open_storage(settings.storage_url)
    study = optuna.create_study(
        study_name=settings.study.name,
        storage=storage,
        direction="minimize",
        load_if_exists=True,
        pruner=make_pruner(settings, prepared),
    )
    stored = study.user_attrs.get("fingerprint")
    foreign = study.get_trials(deepcopy=False) or study.directions != [optuna.study.StudyDirection.MINIMIZE]
    if stored is None and foreign:
        raise UserError(
            f"study {settings.study.name!r} in {safe_url(settings.storage_url)} was not made by xtts-study; give this"
            " search another name with --study"
        )
    if stored is None:
        study.set_user_attr("prepared", json.loads(prepared.to_json()))
        study.set_user_attr("horizon", settings.trial_horizon(prepared.train_clips))
        study.set_user_attr("full_horizon", settings.full_horizon(prepared.train_clips))
        study.set_user_attr("fingerprint", fingerprint)  # last: it says that the others are there
    elif stored != fingerprint:
        keys = [k for k in {**stored, **fingerprint} if stored.get(k) != fingerprint.get(k)]
        differences = "; ".join(f"{k}: {stored.get(k)} there, {fingerprint.get(k)} here" for k in keys)
        raise UserError(
            f"study {settings.study.name!r} exists with other settings ({differences}); give this search another name"
            " with --study, or the same settings"
        )
    study.sampler = make_sampler(settings.study.seed, len(study.get_trials(deepcopy=False)))
    return study


def study_fingerprint(settings: Settings, prepared: Prepared) -> dict[str, Any]:
    """What all trials of a study must share for their values to be comparable. By content: no paths."""
    training = settings.training
    return {
        "data": prepared.data_fingerprint,
        "base": prepared.base_fingerprint,
        "conditioning_seconds": list(settings.conditioning_seconds),
        "space": hashlib.sha256(json.dumps(settings.search_space().to_dict()).encode()).hexdigest()[:16],
        "seed": settings.study.seed,
        "batch_size": training.batch_size,
        "accumulation": training.accumulation,
        "horizon": settings.trial_horizon(prepared.train_clips),
        "full_horizon": settings.full_horizon(prepared.train_clips),
        "evaluations": training.evaluations,
        "precision": training.precision,
        "pruning": settings.pruning.model_dump(),
        "code": _code_digest(),
        "versions": {k: v for k, v in prepared.versions.items() if k != "python"},
    }


def make_sampler(seed: int, trials: int) -> optuna.samplers.BaseSampler:
    """Multivariate TPE by groups of parameters. A resumed study does not draw its first points again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group`
        return optuna.samplers.TPESampler(seed=seed + trials, multivariate=True, group=True, constant_liar=True)


def make_pruner(settings: Settings, prepared: Prepared) -> BasePruner:
    """The two-increase rule first: where both fire, the trial's best evaluation is a full result."""
    pruning = settings.pruning
    steps = evaluation_steps(settings.trial_horizon(prepared.train_clips), settings.training.evaluations)
    rules: dict[str, BasePruner] = {}
    if pruning.two_increases:
        rules[StopReason.TWO_INCREASES] = TwoIncreasePruner(pruning.n_increases, pruning.min_delta)
    if pruning.median and pruning.warmup_evaluations < len(steps):
        rules[StopReason.MEDIAN] = MedianPruner(pruning.startup_trials, steps[pruning.warmup_evaluations])
    return FirstToFire(rules) if rules else NopPruner()


def _has_tables(settings: Settings) -> bool:
    url = make_url(with_driver(settings.storage_url))
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return False
    check_reachable(settings.storage_url)
    engine = create_engine(url)
    try:
        return bool(inspect(engine).has_table("studies"))
    except SQLAlchemyError as error:
        reason = _first_line(error, settings.storage_url)
        raise UserError(f"study.storage {safe_url(settings.storage_url)} cannot be read: {reason}") from error
    finally:
        engine.dispose()


def with_driver(url: str) -> str:
    """psycopg 3 for plain postgresql:// URLs."""
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


def _first_line(error: Exception, url: str) -> str:
    """The reason without the password, which a driver may repeat."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    password = make_url(url).password
    return text.replace(str(password), "***") if password else text


def _code_digest() -> str:
    """SHA-256 over the sources that a trial's numbers depend on."""
    root = Path(__file__).parent
    files = [f for name in _CODE for f in ([root / name] if name.endswith(".py") else (root / name).glob("*.py"))]
    files += (root.parent / "space").glob("*.py")
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda f: f.relative_to(root.parent).as_posix()):
        digest.update(file.relative_to(root.parent).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]
