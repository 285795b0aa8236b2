"""`--engine ray`: a real Ray cluster of three nodes on this host, whose nodes are killed and added in mid-study."""

import os
import re
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from search.devices import AllInUse, reserved
from search.errors import UserError
from search.preparation.cache import cache_directory
from search.trial import StopReason
from search.workers.on_ray import connected
from search.workers.ray_node import end_of_log
from tests.conftest import ROOT, wait_until
from tests.in_process import StudyPy, in_process
from tests.machines import PATIENCE, Machine, Study
from tests.postgres import ESCAPED, PASSWORD
from tests.stub import HOLD

SMALL = {"num_cpus": 2, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that gives nothing, and two nodes. A node takes seconds to start, so tests leave those that they add."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # it ends actors when other work fills this machine
        patch.setenv("PYTHONPATH", str(ROOT))  # of the nodes, which run tests/stub_on_ray.py
        patch.setenv("PGPASSWORD", PASSWORD)
        from ray.cluster_utils import Cluster

        made = Cluster(True, head_node_args={**SMALL, "num_cpus": 0, "include_dashboard": False})
        for _ in range(2):
            made.add_node(**SMALL)
        yield made
        made.shutdown()


def on_ray(study: Study, cluster: Any, folder: Path, **options: Any) -> Machine:
    named = {"trials": study.total, "seconds": 0.01, "heartbeat": 0.5, "grace": 4.0, **options}
    flags = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    command = ["-m", "tests.stub_on_ray", cluster.address, study.url, ".", *flags]
    return study.add(Machine(command, folder))


def study_on_ray(study: Study, cluster: Any, folder: Path, *arguments: str) -> Machine:
    """study.py itself, here and on the nodes, with runs that do not train."""
    settings = [f"--set=service.{name}={value}" for name, value in (("heartbeat_seconds", 0.5), ("grace_seconds", 60))]
    command = ["-m", "tests.stub_on_ray", "study.py", "search", "--engine", "ray", "--ray-address", cluster.address]
    command += ["--storage", study.url.replace(f":{ESCAPED}@", "@"), "--trials", str(study.total), *settings]
    return study.add(Machine([*command, *arguments], folder, PGPASSWORD=PASSWORD))


def wait_for_demand(cluster: Any, nodes: int) -> None:
    """Until the autoscaler would see that so many more are wanted."""
    with connected(cluster.address) as ray:

        def pending() -> int:
            return sum(group["state"] == "PENDING" for group in ray.util.placement_group_table().values())

        wait_until(lambda: pending() == nodes, PATIENCE, f"{nodes} placement groups wait")


def reasons(study: Study) -> Counter[str]:
    return Counter(trial.user_attrs.get("stop_reason", "") for trial in study.trials())


def owners(study: Study) -> set[psutil.Process]:
    """The processes that run trials, as the study knows them."""
    found = study.sql(
        "SELECT DISTINCT (value_json::json ->> 'pid')::int FROM trials JOIN trial_system_attributes USING (trial_id)"
        " WHERE state = 'RUNNING' AND key = 'owner'"
    )
    return {psutil.Process(pid) for (pid,) in found}


def test_nodes_come_and_go_and_a_plain_machine_ends_the_study(cluster: Any, database: str, tmp_path: Path) -> None:
    folder = tmp_path / "ray"
    folder.mkdir()
    (folder / "hold").write_text("1")  # each run waits after its first evaluation
    with Study(database, tmp_path, trials=8) as study:
        driver = on_ray(study, cluster, folder)
        driver.wait_for(")  started ", count=4)
        wait_for_demand(cluster, 2)  # 8 trials need four nodes
        cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
        driver.wait_for(" is gone ")
        cluster.add_node(**SMALL, labels={"ray.io/market-type": "spot"})  # as Ray's autoscaler labels such a node
        driver.wait_for("it has study.save_minutes=15")
        driver.wait_for(")  started ", count=6)  # two on the new node
        wait_until(lambda: reasons(study)[StopReason.PREEMPTED] >= 2, PATIENCE, "the leases of the dead node end")
        driver.send(signal.SIGINT)
        driver.wait(code=130)
        assert len(re.findall(rf": 2 slots, .* logs there in {folder}/miniature/trials/NUMBER", driver.output)) == 3
        assert driver.output.count("it has study.save_minutes") == 1
        assert study.taken() == study.finished()  # nothing is left running
        wait_for_demand(cluster, 0)
        study.start("plain", seconds=0.005).wait()
        study.assert_exact()


@pytest.mark.full
def test_people_and_the_budget_reach_all_nodes(cluster: Any, database: str, tmp_path: Path, study_py: StudyPy) -> None:
    where = ("--storage", database)
    (tmp_path / HOLD).write_text("1")  # each run waits after its first evaluation
    with Study(database, tmp_path, trials=30) as study:

        def search(*arguments: str) -> Machine:
            return study_on_ray(study, cluster, tmp_path, "--workers", "2", *arguments)

        driver = search()
        driver.wait_for(")  started ", count=4)
        assert "is paused" in study_py("pause", *where)[1]
        driver.wait_for("the study is paused (on ", count=2)
        driver.release()
        wait_until(lambda: study.finished() == study.taken(), PATIENCE, "the runs go on to their ends")
        driver.hold(1)
        begun = driver.output.count(")  started ")
        assert "goes on" in study_py("resume", *where)[1]
        driver.wait_for(")  started ", count=begun + 4)
        named = re.findall(r"trial (\d+) .* started ", driver.output)[-1]
        driver.wait_for(f"trial {named}  step ")
        assert "ends now" in study_py("stop", named, *where)[1]
        driver.wait_for(f"trial {named}  stopped_by_name  best ")
        driver.wait_for(")  started ", count=begun + 5)
        assert "stopped at once" in study_py("stop", "--now", *where)[1]
        driver.wait(code=3)
        assert "Stopped, since the study was stopped at once (on " in driver.output
        assert study.finished() == study.taken()
        again = search()
        again.wait(code=3)
        assert "then run the same command again" in again.output and " started " not in again.output
        study_py("resume", *where)
        driver.release()
        spent = sum(trial.user_attrs["slot_seconds"] for trial in study.trials() if trial.state.is_finished())
        capped = search("--gpu-hours", str((spent + 12) / 3600))
        capped.wait(code=4)
        assert "the budget has no room for more" in capped.output
        took = sum(trial.user_attrs["slot_seconds"] for trial in study.trials() if trial.state.is_finished())
        assert spent < took <= spent + 13
        assert study.finished() < 30


@pytest.mark.full
def test_an_actor_that_dies_is_started_again(cluster: Any, database: str, tmp_path: Path) -> None:
    folder = tmp_path / "ray"
    folder.mkdir()
    (folder / "hold").write_text("0")
    with Study(database, tmp_path, trials=20) as study:
        driver = on_ray(study, cluster, folder)
        driver.wait_for(")  started ", count=4)
        supervisor = owners(study).pop()
        supervisor.parent().kill()  # the actor, with which it ends
        driver.wait_for(")  started ", count=6)
        wait_until(lambda: reasons(study)[StopReason.PREEMPTED] >= 2, PATIENCE, "its leases end")
        assert not supervisor.is_running()
        driver.release()
        driver.wait()
        study.assert_exact()


NVML = """
class NVMLError(Exception): ...
def nvmlInit(): ...
nvmlShutdown = nvmlInit
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetName(handle): return "H200"
def nvmlDeviceGetUUID(handle): return f"GPU-{handle}"
"""


@pytest.fixture(scope="module")
def gpus(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of a node that says it has two, whose driver is a double. From then on the nodes without are not used."""
    double = tmp_path_factory.mktemp("double")
    (double / "pynvml.py").write_text(NVML)
    cluster.add_node(**SMALL, num_gpus=2, env_vars={"PYTHONPATH": f"{double}{os.pathsep}{ROOT}"})
    return ["GPU-0", "GPU-1"]


@pytest.mark.usefixtures("gpus")
def test_only_nodes_with_gpus_run_where_there_are_any(cluster: Any, tmp_path: Path) -> None:
    """Of two GPUs Ray gives the one that is asked for. When no node is left, the last one's error is the command's."""
    driver = Machine(["-m", "tests.stub_on_ray", cluster.address, "no-url", ".", "--refuse"], tmp_path / "ray")
    try:
        driver.wait(code=2)
    finally:
        driver.kill()
    assert re.search("it sees 'GPU-[01]'", driver.output)
    assert driver.output.count("is left out: this node is refused") == 1
    assert re.search(r"study.py: \S+: this node is refused\n  one\n  two\n$", driver.output)


@pytest.mark.usefixtures("study_py")  # for its settings
@pytest.mark.full
def test_slots_share_the_gpus_that_ray_gives(cluster: Any, gpus: list[str], database: str, tmp_path: Path) -> None:
    """Each run sees one, by its UUID, and no other search of this machine gets it."""
    (tmp_path / HOLD).write_text("1")
    locks = cache_directory() / "gpus"
    with Study(database, tmp_path, trials=9) as study:
        driver = study_on_ray(study, cluster, tmp_path, "--workers", "4")
        driver.wait_for(")  started ", count=4)
        driver.wait_for("  step ", count=4)
        assert "4 slots, with 2 of its GPUs" in driver.output
        seen = Counter(file.read_text() for file in (tmp_path / "miniature" / "trials").glob("*/devices"))
        assert seen == dict.fromkeys(gpus, 2)
        with pytest.raises(AllInUse), reserved(gpus, None, locks):
            pass
        driver.send(signal.SIGINT)
        driver.wait(code=130)
        with reserved(gpus, None, locks) as free:
            assert free == gpus


@pytest.mark.full
def test_the_log_of_a_run_that_fails_ends_in_the_output(cluster: Any, database: str, tmp_path: Path) -> None:
    """Six failures in a row end the search of a node."""
    with Study(database, tmp_path, trials=20) as study:
        driver = on_ray(study, cluster, tmp_path / "ray", run="run_broken")
        driver.process.wait(PATIENCE)
    assert driver.process.returncode == 1, driver.output
    assert re.search(r"  \S+: log of 0: RuntimeError: a run of \d+ characters cannot run\n", driver.output)


@pytest.fixture
def study_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> StudyPy:
    return in_process(tmp_path, monkeypatch, capfd)


@pytest.mark.parametrize("command", ["search", "confirm"])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--engine", "ray"], "needs a PostgreSQL database"),
        (["--engine", "ray", "--storage", "postgresql://me:hunter2@db.invalid/x"], "PGPASSWORD"),
        (["--ray-address", "head:6379"], "without --engine ray"),
    ],
)
def test_what_cannot_run_on_ray_is_refused(study_py: StudyPy, command: str, arguments: list[str], told: str) -> None:
    code, out, err = study_py(command, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert told in err and "hunter2" not in out + err


def test_a_log_of_any_size_reaches_the_terminal_as_letters(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "log.txt").write_text("x" * 10_000_000 + "\n\x1b]0;owned\x07\nlast")
    first, *others = end_of_log(tmp_path, 7)
    assert others == ["\\x1b]0;owned\\x07", "last"]
    assert set(first) == {"x"} and len(first) < 2000
    assert end_of_log(tmp_path, 8) == []


def test_a_cluster_that_is_not_there_is_told_in_a_line(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(address: str | None) -> UserError:
        with pytest.raises(UserError) as refused, connected(address):
            pass
        return refused.value

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = refusal(f"127.0.0.1:{closed.getsockname()[1]}")
    assert away.exit_code == 75 and "no Ray cluster answers" in str(away)
    for wrong in ("auto", "ray://127.0.0.1:10001", "127.0.0.1:99999999"):
        assert "HOST:PORT" in str(refusal(wrong)) or "answers" in str(refusal(wrong))
    with monkeypatch.context() as patch:
        patch.setattr("ray.__version__", "1.0.0")
        assert "Ray: 1.0.0" in str(refusal(cluster.address))
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "make study EXTRAS=ray" in str(refusal(None))
