"""What is said of run folders: the advice, data that is not here, names and folders gone bad. Nothing is trained."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search.errors import UserError
from search.settings.settings import load
from search.tools.advice import advice
from search.tools.checkpoint_tables import show, to_json
from search.tools.measure import NotFound, find_source
from search.tools.run_folder import Report, read
from search.trial import Evaluation
from tests.test_checkpoints import put, study_py
from tests.test_coqui_log import NEW


def shown(report: Report) -> str:
    console = Console(record=True, width=160, file=open(os.devnull, "w"))  # noqa: SIM115
    show(report, console)
    return console.export_text()


def measured(path: Path, losses: list[float], base_loss: float) -> Report:
    """A report with these eval losses."""
    for i in range(len(losses)):
        put(path, f"checkpoint_{i}.pth", {})
    report = read(path, None)
    for found, loss in zip(report.checkpoints, losses, strict=True):
        found.evaluation = Evaluation(1, loss, 1.0, 1.0, 1.0)
    report.base = Evaluation(0, base_loss, 1.0, 1.0, 1.0)
    return report


def test_none_may_be_better_than_the_base(tmp_path: Path) -> None:
    assert advice(measured(tmp_path, [4.4, 4.3], 4.2))[0] == (
        "Take none: the untouched base model has eval 4.2000, the best of them 4.3000 (checkpoint_1.pth)."
    )


def test_what_is_not_finite_is_never_advised(tmp_path: Path) -> None:
    report = measured(tmp_path, [float("nan"), 4.1], 4.2)
    assert advice(report)[0].startswith("Take checkpoint_1.pth: eval 4.1000")
    document = json.loads(to_json(report))
    assert document["runs"][0]["checkpoints"][0]["evaluation"]["mel_ce"] is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["best_model_1010.pth", "checkpoint_500.pth"], "By the log, take best_model_1010.pth, of epoch 1"),
        (["checkpoint_500.pth"], "(best_model_1010.pth). It is not on the disk any more."),
        ([], "the checkpoint to take is that of epoch 1"),
    ],
)
def test_advice_by_the_log(tmp_path: Path, files: list[str], expected: str) -> None:
    """Where nothing is measured: the base's eval was 5.4 there, and epoch 1 is made the better one."""
    (tmp_path / "trainer_0_log.txt").write_text(NEW.replace("5.577", "5.377"), encoding="utf-8")
    for name in files:
        put(tmp_path, name, {})
    assert expected in advice(read(tmp_path, None))[0]


def test_the_log_may_say_to_take_none(tmp_path: Path) -> None:
    (tmp_path / "trainer_0_log.txt").write_text(NEW, encoding="utf-8")
    assert "take none: epoch 0" in advice(read(tmp_path, None))[0]


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
        find_source(read(tmp_path, None), load(None, {}))
    assert "--settings" in str(found.value)
    assert "\n" not in str(found.value)


def test_names_cannot_break_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "run\x1b[2J\n[red]"
    put(folder, "evil\x1b]0;x\x07\u202e.pth", {})
    put(folder, "best_model.pth", {})
    (folder / "trainer_0_log.txt").write_text(NEW.replace("best_model_1010.pth", "\x9b31mX[link=x].pth"))
    text = shown(read(folder, None))
    assert not {c for c in text if not c.isprintable()} - {"\n"}
    assert "evil\\x1b]0;x\\x07\\x202e.pth" in text
    assert "[link=x]" in text


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda folder: folder / "nowhere\x1b", "nowhere\\x1b does not exist"),
        (lambda folder: folder, "has no checkpoints and no logs in it"),
        (lambda folder: put(folder, "best_model.pth", {}), "is one file"),
        (lambda folder: write(folder / "notes.txt", b"hello\n"), "has no epoch"),
        (lambda folder: write(folder / "trainer_0_log.txt", b"\0\0").parent, "is no text"),
        (lambda folder: write(folder / "evaluations.csv", b"a,b\n1,2\n").parent, "evaluations.csv cannot be read"),
        (lambda folder: write(folder / "events.out.tfevents.1", b"\1" * 99).parent, "TensorBoard events hold no epoch"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, make: Callable[[Path], Path], part: str) -> None:
    with pytest.raises(UserError) as found:
        read(make(tmp_path), None)
    assert part in str(found.value)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_bad_input_on_the_command_line_is_one_line(tmp_path: Path) -> None:
    result = study_py(tmp_path)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
