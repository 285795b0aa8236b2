"""What makes trials comparable: by content, in lines that name what differs."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search import sources
from search.settings.settings import Settings, load
from search.study import fingerprint as fingerprints
from search.study.fingerprint import differences, fingerprint
from tests.conftest import ROOT
from tests.stub import PREPARED

SPACE = "version = 1\n[lr]\nlow = 1e-5\nhigh = 1e-3\n[weight_decay]\nvalue = 0\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without settings."""
    monkeypatch.chdir(tmp_path)


def with_file(folder: Path, **overrides: Any) -> Settings:
    folder.mkdir()
    (folder / "space.toml").write_text(SPACE)
    return load(None, {"space.file": str(folder / "space.toml"), **overrides})


def test_a_fingerprint_survives_its_storage() -> None:
    """A list that was a tuple, or a number that was another, would be refused after the way through JSON."""
    here = fingerprint(load(None, {}), PREPARED)
    there = json.loads(json.dumps(here))
    assert there == here
    assert differences(there, here) == []
    assert all(not isinstance(value, dict) for value in here.values())


def test_the_same_files_at_another_path_agree(tmp_path: Path) -> None:
    one = fingerprint(with_file(tmp_path / "one"), PREPARED)
    two = fingerprint(
        with_file(tmp_path / "two", **{"study.directory": str(tmp_path)}), replace(PREPARED, directory="elsewhere")
    )
    assert one == two
    assert str(tmp_path) not in json.dumps(one)


def test_what_is_free_to_change() -> None:
    overrides = {
        **{"study.name": "other", "study.trials": 99, "study.workers": 2, "study.max_retries": 0},
        **{"study.stall_minutes": 5, "study.storage": "postgresql://reader:hunter2@host/db"},
        **{"training.eval_batch_size": 3, "service.heartbeat_seconds": 1, "service.connections": 9},
    }
    assert fingerprint(load(None, overrides), PREPARED) == fingerprint(load(None, {}), PREPARED)


LENGTHS = "horizon full_horizon"


@pytest.mark.parametrize(
    ("overrides", "change", "names"),
    [
        ({"study.seed": 2, "training.precision": "bf16"}, {}, "seed precision"),
        ({"training.batch_size": 5}, {}, f"batch_size {LENGTHS}"),
        ({"training.accumulation": 5}, {}, f"accumulation {LENGTHS}"),
        ({"training.evaluations": 6}, {}, "evaluations"),
        ({"training.fused_adamw": True}, {}, "fused_adamw"),
        ({"training.pin_memory": True}, {}, "pin_memory"),
        ({"pruning.min_delta": 0.5, "pruning.median": False}, {}, "pruning.median pruning.min_delta"),
        ({"data.min_conditioning_seconds": 0.6}, {}, "conditioning_seconds"),
        ({}, {"data_fingerprint": "data-2", "base_fingerprint": "base-2"}, "data base"),
        ({}, {"versions": {"torch": "2.9.0", "numpy": "2.3", "python": "3.12.0"}}, "versions.torch versions.numpy"),
        ({}, {"train_clips": 101, "eval_clips": 21}, f"training_clips eval_clips {LENGTHS}"),
    ],
)
def test_what_differs_is_named_and_nothing_else(overrides: dict[str, Any], change: dict[str, Any], names: str) -> None:
    there, here = (fingerprint(load(None, o), replace(PREPARED, **c)) for o, c in (({}, {}), (overrides, change)))
    lines = differences(there, here)
    assert sorted(line.partition(":")[0].replace(" ", "_") for line in lines) == sorted(names.split())


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        (SPACE.replace("1e-3", "1e-2"), ["space.lr.high: 0.001 there, 0.01 here"]),
        (
            SPACE + "[frozen_layers]\nlow = 0\nhigh = 2\n",
            [
                "space.frozen_layers.low: nothing there, 0 here",
                "space.frozen_layers.high: nothing there, 2 here",
                "space.frozen_layers.log: nothing there, False here",
            ],
        ),
    ],
)
def test_a_space_that_differs_is_named_value_by_value(tmp_path: Path, changed: str, lines: list[str]) -> None:
    settings = with_file(tmp_path / "one")
    there = fingerprint(settings, PREPARED)
    (tmp_path / "one/space.toml").write_text(changed)
    settings = Settings.model_validate(settings.model_dump())  # read again
    assert differences(there, fingerprint(settings, PREPARED)) == lines


# The code


Edit = Callable[[Path], None]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's code in another folder."""
    for package in ("search", "space"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    return tmp_path


def replaced(file: str, old: str, new: str) -> Edit:
    def edit(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def renamed(root: Path) -> None:
    """A module that others import gets another name, and they import it by that."""
    (root / "search/ties.py").rename(root / "search/equal.py")
    for file in root.rglob("*.py"):
        file.write_text(file.read_text(encoding="utf-8").replace("search.ties", "search.equal"), encoding="utf-8")


RULES, TIES = "search/study/pruners.py", "search/ties.py"


@pytest.mark.parametrize(
    ("edit", "changes"),
    [
        pytest.param(replaced(RULES, "import itertools", "# Why.\nimport itertools"), False, id="a comment"),
        pytest.param(replaced(TIES, "Whether two values are equal", "Whether values tie"), False, id="a docstring"),
        pytest.param(replaced(RULES, "it must be a whole number", "it must be whole"), False, id="an error"),
        pytest.param(renamed, False, id="the name of a module"),
        pytest.param(replaced("search/study/findings.py", "math.inf", "0.0"), False, id="a module of no run"),
        pytest.param(replaced(TIES, "one < other", "one <= other"), True, id="an operator"),
        pytest.param(replaced(TIES, "RESOLUTION = 1e-9", "RESOLUTION = 1e-8"), True, id="a constant"),
        pytest.param(replaced(RULES, "n_increases: int = 2", "n_increases: int = 3"), True, id="a default"),
    ],
)
def test_the_digest_is_of_what_code_computes(copy: Path, edit: Edit, changes: bool) -> None:
    before = sources.digest("search.study.pruners", root=ROOT)
    edit(copy)
    assert (sources.digest("search.study.pruners", root=copy) != before) == changes


@pytest.mark.parametrize("file", ["training/evaluation.py", "training/run.py", "settings/knobs.py", "trial.py"])
def test_the_digest_of_a_study_is_of_all_that_a_run_imports(copy: Path, file: str) -> None:
    (copy / "search" / file).write_text((copy / "search" / file).read_text(encoding="utf-8") + "\nADDED = 1\n")
    assert sources.digest(*fingerprints._CODE, root=copy) != fingerprints.code_digest()
