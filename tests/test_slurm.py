"""`study.py slurm`: the script in a real Slurm, where there is one, and what is refused."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.tools.slurm_script import script
from tests import stub
from tests.conftest import ROOT, wait_until
from tests.in_process import StudyPy
from tests.machines import PATIENCE, Study
from tests.slurm import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    yield cluster
    cluster.stop()


def written(folder: Path, gpus: int, *command: str, **environment: str) -> Path:
    path = folder / "search.sbatch"
    path.write_text(script(gpus, {"time": "1:00:00", "partition": "main"}, folder, environment, command))
    return path


def test_a_study_is_finished_though_jobs_run_out_of_time_and_are_killed(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    """Real supervisors with stub runs. One job is told that its time is over, another's search is killed."""
    command = [sys.executable, "-m", "tests.stub", database, ".", "--trials", "12", "--slots", "1"]
    command += ["--seconds", "0.01", "--stopped", "130"]
    (tmp_path / stub.HOLD).write_text("3")
    with Study(database, tmp_path, trials=12) as study:
        array = cluster.submit(written(tmp_path, 2, *command, PYTHONPATH=str(ROOT)))
        wait_until(lambda: study.evaluations() == 6, PATIENCE, "two runs that are held")
        cluster.run("scancel", "--batch", "--signal=USR1", f"{array}_0")
        wait_until(lambda: cluster.jobs(array).get(f"{array}_0") == "PENDING", PATIENCE, "a job that is queued again")
        reasons = study.sql("SELECT value_json FROM trial_user_attributes WHERE key = 'stop_reason'")
        assert reasons == [('"stopped_by_user"',)]  # in order
        assert cluster.jobs(array)[f"{array}_1"] == "RUNNING"  # requeuing is of the one job alone
        wait_until(lambda: study.evaluations() == 9, PATIENCE, "the third run")
        owners = study.sql(
            "SELECT value_json::json ->> 'pid' FROM trial_system_attributes JOIN trials USING (trial_id)"
            " WHERE key = 'owner' AND state = 'RUNNING' ORDER BY number"
        )
        os.kill(int(owners[0][0]), signal.SIGKILL)  # the job that was not told
        (tmp_path / stub.HOLD).unlink()
        cluster.wait()
        study.assert_exact()
    outputs = [path.read_text() for path in tmp_path.glob("slurm-*.out")]
    assert [text.count("miniature") for text in outputs] == [2, 2]  # each opened the study twice


CODES = {"0": 1, "1": 1, "2": 1, "75": 2, "130": 1, "killed": 2}  # how often a job runs whose first run ends so


def test_exit_codes_decide_and_a_cancelled_search_is_told_once(cluster: Cluster, tmp_path: Path) -> None:
    body = (
        f"set -- {' '.join(CODES)}; shift $SLURM_ARRAY_TASK_ID; echo $CUDA_VISIBLE_DEVICES >> ran-$1;"
        " [ -z $SLURM_RESTART_COUNT ] || exit 0; [ $1 != killed ] || kill -9 $$; exit $1"
    )
    cluster.submit(written(tmp_path, len(CODES), "sh", "-c", body))
    cluster.wait()
    ran = {code: (tmp_path / f"ran-{code}").read_text().split() for code in CODES}
    assert {code: len(runs) for code, runs in ran.items()} == CODES
    assert all(device.isdecimal() for runs in ran.values() for device in runs)  # one GPU each

    # It takes its time to end, as runs do; a second TERM would be told, too.
    told = "trap 'echo told >> told' TERM; touch began; until [ -e told ]; do sleep 0.1; done; sleep 1; exit 130"
    array = cluster.submit(written(tmp_path, 1, "sh", "-c", told))
    wait_until((tmp_path / "began").exists, PATIENCE, "the job's start")
    cluster.run("scancel", array)
    cluster.wait()
    assert (tmp_path / "told").read_text() == "told\n"


# The command

URL = "postgresql://xtts@10.0.0.5:5433/xtts?sslmode=verify-ca&sslrootcert=/home/me/own%20database/server.crt"


def test_the_script_is_saved_with_the_search_s_own_options(
    study_py: StudyPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", "/home/me/own database/pgpass")
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    given = ["--storage", URL, "--trials", "30", "--study", "voice", "--confirm"]
    code, out, err = study_py("slurm", "--gpus", "8", "--time", "1-12:00:00", *given)
    assert (code, err) == (0, "")
    (saved,) = tmp_path.rglob("search.sbatch")
    text = saved.read_text()
    assert text in out and out.endswith("voice/search.sbatch\n") and "hunter2" not in out
    assert {"#SBATCH --array=0-7", "#SBATCH --time=1-12:00:00", "#SBATCH --requeue"} <= set(text.splitlines())
    assert "--partition" not in text and "export PGPASSFILE='/home/me/own database/pgpass'\n" in text
    # What bash makes of the line.
    line = next(line for line in text.splitlines() if line.endswith(" &")).removesuffix(" &")
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True).stdout
    saving = ["--set", "study.save_minutes=15"]  # a job that is cut short loses no run
    assert words.splitlines() == [sys.executable, str(ROOT / "study.py"), *given, *saving]
    assert "save_minutes=15" not in study_py("slurm", "--gpus", "8", *given, "--set", "study.save_minutes=5")[1]
    assert "# The database's host" in study_py("slurm", "--gpus", "1", "--storage", "postgresql://127.0.0.1/xtts")[1]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["SQLite serves one search at a time", "study.py database --listen"]),
        (["--storage", "postgresql://xtts:hunter2@db/xtts"], ["xtts:***@db", "has a password", "PGPASSFILE"]),
        (["--set", "study.storage=postgresql://xtts:hunter2@db/xtts"], ["xtts:***@db", "has a password"]),
        (["--storage", URL, "--notify", "tgram://hunter2/chat"], ["--notify", "XTTS_STUDY_NOTIFY"]),
        (["--storage", URL, "--time", "1:00\nrm"], ["--time", "24:00:00"]),
        (["--storage", URL, "--partition", "a b"], ["--partition"]),
    ],
)
def test_what_no_array_can_run_is_refused_in_one_line(
    study_py: StudyPy, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    code, out, err = study_py("slurm", "--gpus", "2", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), (out, err)
    assert all(part in err for part in parts) and "hunter2" not in err, err
    assert not list(tmp_path.rglob("search.sbatch"))
