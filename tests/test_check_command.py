"""`study.py check` as it is called: exit codes, files, what goes where; the storage; a child that fails."""

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from search.check import document
from search.check.judging import judge
from search.check.memory import Probe
from search.commands import check as command
from search.commands import group
from search.errors import UserError
from search.settings.settings import load
from search.workers.launcher import Failed
from tests import bad_data
from tests.surveys import healthy, settings, survey


def run(*arguments: str) -> Result:
    """The command in this process; its child is a process of its own."""
    return CliRunner().invoke(group.study, ["check", *arguments], standalone_mode=True)


@pytest.mark.usefixtures("cache")
def test_errors_end_with_code_2_and_leave_the_list_beside_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = bad_data.plant(tmp_path)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    given = (f"data.path={bad}", "data.eval=eval.csv", "base.extend_vocabulary=false")
    result = run(*(part for one in given for part in ("--set", one)), "--study", "bad", "--html", "page.html")
    assert result.exit_code == 2, result.output
    assert "error    the base's vocabulary lacks" in result.stdout
    assert "clips: runs/bad.check.csv" in result.stdout and "page: page.html" in result.stdout
    assert "reading texts" in result.stderr and "reading texts" not in result.stdout
    assert "truncated.flac" in Path("runs/bad.check.csv").read_text(encoding="utf-8")
    assert "base.extend_vocabulary is off" in Path("page.html").read_text(encoding="utf-8")
    assert os.listdir("runs") == ["bad.check.csv"]  # no study was made


@pytest.mark.usefixtures("cache")
def test_the_miniature_is_without_warning_and_json_has_the_output_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("--json", "--fast", "--csv", "clips.csv")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["study"] == "miniature"
    assert [f["message"] for f in values["findings"] if f["level"] != "info"] == []
    assert os.listdir() == ["clips.csv"]


class Child:
    """Stands for the launcher of a child, which fails before the judgement or after it, on a device of that name."""

    def call(self, _target: str, request: dict[str, Any], _listen: object, device: str | None) -> None:
        assert request["measure"] == (device is not None)
        if device == "broken":
            raise Failed("no luck", Path("the log"))
        probe = Probe(device, 8 * 10**9, 2, None, 1, False) if device == "0" else None
        report = judge(settings(), survey(healthy()), request["machine"], probe)
        Path(request["report"]).write_bytes(pickle.dumps(report))
        if device == "bad":
            raise Failed("no luck", Path("the log"))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("gpu", "measure", "level", "words"),
    [
        ("0", True, "error", "a batch of 2 does not fit into the 8.0 GB of 0; 1 does, measured"),
        ("0", False, "info", "computed, not measured"),
        ("bad", True, "warning", "the measurement on the GPU failed: no luck; see the log"),
        ("broken", True, None, "the check failed: no luck; see the log"),
    ],
)
def test_a_gpu_is_measured_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, gpu: str, measure: bool, level: str | None, words: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpu)
    monkeypatch.setattr(command, "Launcher", Child)
    monkeypatch.setattr(command, "refuse_unusable", lambda *_: None)
    if level is None:
        with pytest.raises(UserError, match=words):
            command.check(settings(), io.StringIO(), measure)
    else:
        first = next(f for f in command.check(settings(), io.StringIO(), measure).findings if f.area == "memory")
        assert first.level == level and words in first.message


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    document.write(tmp_path / "new" / "clips.csv", "strange \udcff\n", "--csv")  # a name that is no UTF-8
    assert (tmp_path / "new" / "clips.csv").read_bytes() == b"strange \xff\n"
    with pytest.raises(UserError, match=r"--html .* cannot be written"):
        document.write(tmp_path / "file" / "page.html", "", "--html")


def test_a_study_that_is_there_is_told(either: str, tmp_path: Path) -> None:
    from optuna import create_study

    given = load(None, {"study.storage": either, "study.directory": str(tmp_path)})
    assert command.storage_findings(given) == []
    create_study(storage=either, study_name=given.study.name)
    (finding,) = command.storage_findings(given)
    assert finding.level == "info" and "already exists" in finding.message
