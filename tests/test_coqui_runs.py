"""What is said of run folders: the advice, data that is not here, names and folders gone bad. Nothing is trained."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search.errors import UserError
from search.settings.settings import load
from search.tools.advice import advice
from search.tools.checkpoint_tables import show, to_json
from search.tools.measure import NotFound, find_material
from search.tools.run_folder import inspect_runs
from search.trial import Evaluation
from tests.test_checkpoints import put, study_py
from tests.test_coqui_log import NEW


@pytest.mark.parametrize(
    ("losses", "base", "expected"),
    [
        ([4.4, 4.3], 4.2, "Take none: the untouched base model has eval 4.2000, the best of them 4.3000 (checkpoint_1"),
        ([4.4, 4.1], 4.2, "Take checkpoint_1.pth: eval 4.1000 nats per audio token, 0.1000 below the untouched base"),
        ([float("nan"), 4.1], 4.2, "Take checkpoint_1.pth: eval 4.1000"),
    ],
)
def test_advice_by_measurement(tmp_path: Path, losses: list[float], base: float, expected: str) -> None:
    for i in range(len(losses)):
        put(tmp_path, f"checkpoint_{i}.pth", {})
    found = inspect_runs(tmp_path, None)
    for checkpoint, loss in zip(found.checkpoints, losses, strict=True):
        checkpoint.evaluation = Evaluation(1, loss, 1.0, 1.0, 1.0)
    found.base = Evaluation(0, base, 1.0, 1.0, 1.0)
    assert advice(found)[0].startswith(expected)
    evaluation = json.loads(to_json(found))["runs"][0]["checkpoints"][0]["evaluation"]
    assert evaluation["mel_ce"] == evaluation["gap"] == (4.4 if losses[0] == 4.4 else None)


@pytest.mark.parametrize(
    ("eval_loss", "files", "expected"),
    [
        ("5.377", ["best_model_1010.pth", "checkpoint_500.pth"], "By the log, take best_model_1010.pth, of epoch 1"),
        ("5.377", ["checkpoint_500.pth"], "(best_model_1010.pth). It is no longer on the disk."),
        ("5.377", [], "the checkpoint to take is that of epoch 1"),
        ("5.577", [], "By the log, take none: epoch 0"),
    ],
)
def test_advice_by_the_log(tmp_path: Path, eval_loss: str, files: list[str], expected: str) -> None:
    """Where nothing is measured. The base's eval was 5.4 there."""
    (tmp_path / "trainer_0_log.txt").write_text(NEW.replace("5.577", eval_loss), encoding="utf-8")
    for name in files:
        put(tmp_path, name, {})
    assert expected in advice(inspect_runs(tmp_path, None))[0]


DATASET = {"formatter": "coqui", "meta_file_train": "train.csv", "meta_file_val": "eval.csv", "language": "en"}


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (None, "no config.json"),
        ({}, "names no data"),
        ({"datasets": [{**DATASET, "path": "/content/drive"}]}, "/content/drive, which is not on this machine"),
        ({"datasets": [{**DATASET, "path": "{here}", "meta_file_val": ""}]}, "names no eval table"),
        (
            {"datasets": [{**DATASET, "path": "{here}"}], "model_args": {"dvae_checkpoint": "/x/dvae.pth"}},
            "/x/dvae.pth",
        ),
    ],
)
def test_data_that_is_not_here_is_said_in_one_line(tmp_path: Path, config: Any, part: str) -> None:
    put(tmp_path, "best_model.pth", {})
    if config is not None:
        text = json.dumps(config).replace("{here}", str(tmp_path))
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(NotFound, match=part) as found:
        find_material(inspect_runs(tmp_path, None), load(None, {}))
    assert "--settings" in str(found.value)
    assert "\n" not in str(found.value)


def test_names_cannot_break_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "run\x1b[2J\n[red]"
    put(folder, "evil\x1b]0;x\x07\u202e.pth", {})
    put(folder, "best_model.pth", {})
    (folder / "trainer_0_log.txt").write_text(NEW.replace("best_model_1010.pth", "\x9b31mX[link=x].pth"))
    console = Console(record=True, width=160, file=io.StringIO())
    show(inspect_runs(folder, None), console)
    text = console.export_text()
    assert not {c for c in text if not c.isprintable()} - {"\n"}
    assert "evil\\x1b]0;x\\x07\\x202e.pth" in text
    assert "[link=x]" in text


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda folder: folder / "nowhere\x1b", "nowhere\\x1b does not exist"),
        (lambda folder: folder, "contains no checkpoints and no logs"),
        (lambda folder: put(folder, "best_model.pth", {}), "is one file"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, make: Callable[[Path], Path], part: str) -> None:
    with pytest.raises(UserError) as found:
        inspect_runs(make(tmp_path), None)
    assert part in str(found.value)


def test_bad_input_on_the_command_line_is_one_line(tmp_path: Path) -> None:
    result = study_py(tmp_path)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
