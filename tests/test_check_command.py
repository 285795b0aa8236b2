"""`study.py check` as it is called: exit codes, files, what goes where; the storage; a child that fails."""

import io
import json
import os
import tempfile
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from search.check.probe import Probe
from search.commands import check as session
from search.commands import group
from search.errors import UserError
from search.settings.settings import load
from tests import bad_data
from tests.conftest import as_another_user
from tests.surveys import healthy, settings, survey


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bad_data.plant(tmp_path_factory.mktemp("bad"))


def run(*arguments: str) -> Result:
    """The command in this process; its child is a process of its own."""
    return CliRunner().invoke(group.study, ["check", *arguments], standalone_mode=True)


def test_errors_end_with_code_2_and_leave_the_list_beside_the_study(
    bad: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.html"
    result = run(
        "--set", f"data.path={bad}", "--set", "data.eval=eval.csv", "--study", "bad", "--html", str(page)
    )  # fmt: skip
    assert result.exit_code == 2, result.output
    assert "error    a quotation mark at the start of a text swallows" in result.stdout
    assert "clips: runs/bad.check.csv" in result.stdout and "page: page.html" in result.stdout
    assert "reading texts" in result.stderr and "reading texts" not in result.stdout
    assert "truncated.flac" in (tmp_path / "runs" / "bad.check.csv").read_text(encoding="utf-8")
    assert "swallows the rows after it" in page.read_text(encoding="utf-8")
    assert sorted(os.listdir(tmp_path / "runs")) == ["bad.check.csv"]  # no study was made
    assert not (cache / f"check-{os.getpid()}.log").exists()


@pytest.mark.usefixtures("cache")
def test_warnings_end_with_code_0_and_json_has_the_output_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("--json", "--fast", "--csv", "clips.csv")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["study"], values["counts"]["error"]) == ("miniature", 0)
    assert sorted(os.listdir(tmp_path)) == ["clips.csv"]


@pytest.mark.usefixtures("cache")
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("audio_file|text\nmissing.wav|a\n")
    with pytest.raises(UserError, match="finds no clips") as caught:
        session.check(load(None, {"data.path": str(tmp_path)}), io.StringIO())
    assert "missing.wav" in caught.value.details[0]


@pytest.mark.usefixtures("cache")
def test_a_failure_of_the_child_is_told_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "check_child", os.path.join)  # raises for what it is given
    with pytest.raises(UserError, match=r"the check failed: the process ended with exit code 1; see .*check-\d+\.log"):
        session.check(load(None, {}), io.StringIO())


def measuring_child(_settings: str, _cache: str, log: str, found: str, device: str, connection: Connection) -> None:
    """Stands for `check_child` on a machine with a GPU. Dies after the measurement of a GPU of that name."""
    Path(log).write_text("what the child printed")
    survey(healthy()).write(Path(found))
    for message in (
        {"kind": "surveyed"},
        {"kind": "probed", "probe": asdict(Probe(device, 8 * 10**9, 2, None, 1, False))},
        {"kind": "end", **({"error": "no luck"} if device == "bad luck" else {})},
    ):
        connection.send_bytes(json.dumps(message).encode())


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("gpu", ["0", "bad luck"])
def test_a_gpu_is_measured_and_a_failure_of_that_is_a_warning(monkeypatch: pytest.MonkeyPatch, gpu: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpu)
    monkeypatch.setattr(session, "check_child", measuring_child)
    report = session.check(settings(), io.StringIO())
    of_memory = [(f.level, f.message) for f in report.findings if f.area == "memory"]
    if gpu == "0":
        assert [level for level, _ in of_memory] == ["error"]
        assert "a batch of 2 does not fit into the 8.0 GB of 0; 1 does, measured" in of_memory[0][1]
    else:
        assert [level for level, _ in of_memory] == ["warning", "info"]
        assert "the measurement on the GPU failed: no luck; see" in of_memory[0][1]
        Path(of_memory[0][1].rpartition("see ")[2]).unlink()


@pytest.mark.usefixtures("cache")
def test_nothing_is_measured_where_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    given: list[object] = []

    def nothing(*arguments: object) -> tuple[object, None, None]:
        given.append(arguments[2])
        return survey(healthy()), None, None

    monkeypatch.setattr(session, "_survey", nothing)
    session.check(settings(), io.StringIO(), measure=False)
    session.check(settings(), io.StringIO())
    assert given == [None, "0"]


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    from search.check import document

    (tmp_path / "file").touch()
    document.write(tmp_path / "new" / "clips.csv", "strange \udcff\n", "--csv")  # a name that is no UTF-8
    assert (tmp_path / "new" / "clips.csv").read_bytes() == b"strange \xff\n"
    with pytest.raises(UserError, match=r"--html .* cannot be written"):
        document.write(tmp_path / "file" / "page.html", "", "--html")


def test_a_storage_that_is_away_is_an_error_without_its_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://someone:geheim@127.0.0.1:1/none"
    given = load(None, {"study.storage": url, "study.directory": str(tmp_path)})
    (finding,) = session.storage_findings(given)
    assert (finding.level, finding.area) == ("error", "storage")
    assert "cannot be reached" in finding.message and "geheim" not in finding.message and "\n" not in finding.message


def test_a_study_that_is_there_is_told(either: str, tmp_path: Path) -> None:
    from optuna import create_study

    given = load(None, {"study.storage": either, "study.directory": str(tmp_path)})
    assert session.storage_findings(given) == []
    create_study(storage=either, study_name=given.study.name)
    (finding,) = session.storage_findings(given)
    assert finding.level == "info" and "is there already" in finding.message


def test_a_folder_that_cannot_be_written_to_is_an_error() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        os.chmod(folder, 0o555)
        given = load(None, {"study.directory": f"{folder}/runs"})

        def refused() -> bool:
            (finding,) = session.storage_findings(given)
            return finding.level == "error" and "cannot be written to" in finding.message

        assert as_another_user(refused)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_in_a_terminal_and_many_elsewhere() -> None:
    for stream, expected in ((io.StringIO(), "a\nb\\x1b\n"), (Terminal(), "\r\x1b[Ka\r\x1b[Kb\\x1b\r\x1b[K")):
        told = session.Told(stream)
        told("a")
        told("b\x1b")
        told.clear()
        assert stream.getvalue() == expected
