"""Shared fixtures. The miniature is prepared once a session, in the user's cache: a second run finds it there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search.session import cache_directory
from search.settings import load
from search.trial import Prepared, TrialSpec, evaluation_steps
from space.hyperparameters import Hyperparameters

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where the prepared miniature lies; children of the tests use the same."""
    folder = cache_directory()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["XTTS_STUDY_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def prepared(cache: Path) -> Prepared:
    """The miniature, extended and encoded, as a search prepares it."""
    from search.training.prepare import prepare

    return prepare(load(None, {}), cache, lambda _: None)


@pytest.fixture
def make_spec(prepared: Prepared, tmp_path: Path) -> Callable[..., TrialSpec]:
    """Specs of short runs, each with a folder of its own; hyperparameters by keyword, the rest as given."""
    count = 0

    def make(horizon: int = 6, evaluations: int = 2, **values: Any) -> TrialSpec:
        nonlocal count
        count += 1
        directory = tmp_path / f"run-{count}"
        directory.mkdir()
        knobs = {name: values.pop(name) for name in ("milestones", "gamma", "clip_norm") if name in values}
        point = Hyperparameters(values.pop("lr", 5e-4), values.pop("weight_decay", 0.01), **knobs)
        fields: dict[str, Any] = {
            "seed": 1,
            "batch_size": 2,
            "accumulation": 1,
            "eval_batch_size": 20,
            "precision": "fp32",
            **values,
        }
        return TrialSpec(
            study="test",
            number=count,
            hyperparameters=point,
            horizon=horizon,
            evaluation_steps=evaluation_steps(horizon, evaluations),
            prepared=prepared.directory,
            directory=str(directory),
            **fields,
        )

    return make
