"""`--engine ray`: a real Ray cluster of three nodes on this host, whose nodes are killed and added in mid-study."""

import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.trial import StopReason
from tests.conftest import ROOT, wait_until
from tests.in_process import in_process
from tests.machines import PATIENCE, Machine, Study

pytest.importorskip("ray")
SMALL = {"num_cpus": 2, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head that gives nothing; each test adds its nodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        from ray.cluster_utils import Cluster

        made = Cluster(True, head_node_args={**SMALL, "num_cpus": 0, "include_dashboard": False})
        yield made
        made.shutdown()


def on_ray(study: Study, cluster: Any, folder: Path, **options: float) -> Machine:
    named = {"trials": study.total, "seconds": 0.01, "heartbeat": 0.3, "grace": 2.0, **options}
    flags = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    command = ["-m", "tests.stub_on_ray", cluster.address, study.url, ".", *flags]
    return study.add(Machine(command, folder, PYTHONPATH=os.environ["PYTHONPATH"]))


def reasons(study: Study) -> Counter[str]:
    return Counter(trial.user_attrs.get("stop_reason", "") for trial in study.trials())


def test_nodes_come_and_go_and_a_plain_machine_ends_the_study(cluster: Any, database: str, tmp_path: Path) -> None:
    folder = tmp_path / "ray"
    folder.mkdir()
    (folder / "hold").write_text("1")  # each run waits after its first evaluation
    nodes = [cluster.add_node(**SMALL) for _ in range(2)]
    with Study(database, tmp_path, trials=20) as study:
        driver = on_ray(study, cluster, folder)
        driver.wait_for(" started ", count=4)
        cluster.remove_node(nodes[0], allow_graceful=False)
        driver.wait_for(" is gone ")
        nodes[0] = cluster.add_node(**SMALL)
        driver.wait_for(" started ", count=6)  # two on the new node
        wait_until(lambda: reasons(study)[StopReason.PREEMPTED] == 2, PATIENCE, "the leases of the dead node end")
        driver.release()
        driver.wait()
        assert len(study.assert_exact()) == 22
        names = set(re.findall(r"on (\S+?)\)  started", driver.output))
        assert len(names) == 3, names
        for name in names:
            assert f"{name}: 2 slots" in driver.output and f"{folder}/miniature/trials/NUMBER/log.txt" in driver.output

        study.total = 30
        driver.hold(1)
        driver = on_ray(study, cluster, folder)
        driver.wait_for(" started ", count=4)
        driver.send(signal.SIGINT)
        driver.wait(code=130)
        assert study.taken() == 20  # nothing is left running
        for node in nodes:
            cluster.remove_node(node)
        study.start("plain", seconds=0.005).wait()
        study.assert_exact()
        assert reasons(study)[StopReason.PREEMPTED] == 2  # and no other
