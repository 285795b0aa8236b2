import io
import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from search.files import write_text
from search.show import tables
from search.study.findings import Row, read
from search.study.recorded import by_kind
from search.trial import Evaluation, StopReason
from space.reader import load_preset
from tests.studies import BASE, FLAT, STEPPED, miniature, new_study, run, three_trials


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return new_study(miniature(tmp_path))


def shown(study: optuna.Study) -> str:
    console = Console(file=io.StringIO(), width=160)
    tables.show(read(study), load_preset("miniature"), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table(study: optuna.Study) -> list[list[str]]:
    """The words of each row between the title with the column names and the counts."""
    lines = shown(study).splitlines()
    end = next(i for i, line in enumerate(lines) if "finished trials" in line)
    return [line.split() for line in lines[2:end]]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> optuna.Study:
    """Only to be read."""
    return three_trials(tmp_path_factory.mktemp("three"))[0]


# Report


def test_findings(three: optuna.Study) -> None:
    findings = read(three)
    assert [row.trial.number for row in findings.completed] == [2, 0]
    assert [row.reason for row in findings.rows] == ["two_increases", "median", "finished"]
    assert findings.rows[0].best == Evaluation(60, 4.0, 2.0, 3.2, 2.0)
    assert findings.finished == 3
    assert findings.steps == (100 + 40 + 200, 600)
    assert findings.base == BASE


def test_the_tables_name_best_baseline_and_base(three: optuna.Study) -> None:
    assert shown(three).startswith("Study miniature")
    rows = table(three)
    assert len(rows) == 3
    assert rows[0][:6] == ["2", "2.7500", "180", "2.00", "1.25", "finished"]
    assert rows[1][:6] == ["0", "4.0000", "60", "2.00", "1.25", "two_increases"]
    assert rows[1][-1] == "V0"
    assert rows[2] == ["base", "5.0000", "0", "2.50", "1.25", "untouched", "base", "model"]
    assert rows[0][6:] == "lr 4.00e-04 wd 0.02 x0.5 at 25% 50% clip 2".split()


def test_a_run_that_diverged_saved_nothing(study: optuna.Study) -> None:
    run(study, FLAT, [4.9, 4.8], StopReason.MEDIAN)
    run(study, STEPPED, [4.9], StopReason.DIVERGED)
    assert read(study).steps == (60, 220), "no rule ended the second"


def test_a_study_without_a_result_says_so(study: optuna.Study) -> None:
    assert "No trial has completed yet." in shown(study)
    run(study, FLAT, [4.9], StopReason.DIVERGED)
    text = shown(study)
    assert "No trial has completed yet." in text
    assert "1 finished trials: 1 diverged" in text


@pytest.mark.parametrize(
    ("params", "loss", "inert", "expected"),
    [
        (FLAT, 5.0, [], "Do not fine-tune: no trial beats the untouched base model (5.0000)."),
        ({**FLAT, "lr": 1e-2}, 4.0, [], "Warning: lr 0.01 lies at the edge of 4e-05 to 0.01; widen the range."),
        (FLAT, 4.0, ["weight_decay: too small"], "Did not act in trial 0: weight_decay: too small"),
        (FLAT, 4.0, [], "One seed and a truncated run each: the order of close trials is not proven"),
    ],
)
def test_the_verdict_says_what_speaks_against_the_winner(
    study: optuna.Study, params: dict[str, Any], loss: float, inert: list[str], expected: str
) -> None:
    run(study, params, [loss], inert=inert)
    findings = read(study)
    lines = tables.verdict(findings, load_preset("miniature"))
    assert any(line.startswith(expected) for line in lines)
    for mark in ("Do not fine-tune", "Warning", "Did not act"):
        assert any(line.startswith(mark) for line in lines) == expected.startswith(mark)


# Atomic files


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    for text in ("a long first version", "ሁለት"):
        write_text(tmp_path / "file", text)
        assert (tmp_path / "file").read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file", "new \ud800")  # a surrogate has no UTF-8
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_no_file_is_not_replaced_and_a_link_is_followed(tmp_path: Path) -> None:
    """As root the device itself would be gone, for the whole machine."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no file"):
        write_text(tmp_path / "pipe", "new")
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to("file")
    for text in ("old", "new"):
        write_text(tmp_path / "link", text)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 3


def test_control_characters_of_the_database_do_not_reach_the_terminal(study: optuna.Study) -> None:
    run(study, FLAT, [4.0], attributes={})
    trial = study.trials[-1]
    trial.set_user_attr("stop_reason", "\x1b[2J")
    assert "\x1b" not in Row(trial, [], None).reason


def test_runs_that_were_cut_short_come_with_the_last_error(study: optuna.Study) -> None:
    assert "\n0 finished trials\n" in shown(study)
    attributes = {"stop_reason": "crashed", "owner": {"host": "gpu-1"}, "run": {"error": "no \x1b[2Jroom"}}
    study.add_trial(create_trial(state=TrialState.FAIL, **by_kind(attributes)))
    assert "1 cut short: 1 crashed. The last was trial 0 on gpu-1: no \\x1b[2Jroom\n" in shown(study)
