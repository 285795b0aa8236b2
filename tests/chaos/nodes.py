"""Rounds on Ray: a cluster of this host with two nodes, which rounds share, and one command that drives it."""

import os
import random
import signal
from contextlib import suppress
from typing import Any

import psutil

from tests.chaos import faults
from tests.chaos.rounds import MARK, PLAIN, JumpingServer, NoTarget, Round, one_of, send
from tests.conftest import ROOT
from tests.postgres import ESCAPED, PASSWORD

NODE = {"num_cpus": 2, "object_store_memory": 80_000_000}
DRIVER = "driver"
OURS = f"cluster of {os.getpid()}"
_made: list[Any] = []  # the cluster


def cluster() -> Any:
    """Made at its first use: a head that gives nothing, and two nodes."""
    if not _made:
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
        os.environ |= {"PYTHONPATH": str(ROOT), "PGPASSWORD": PASSWORD, "STUB_SECONDS": Round.SECONDS, MARK: OURS}
        from ray.cluster_utils import Cluster

        _made.append(Cluster(True, head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False}))
        for _ in range(2):
            _made[0].add_node(**NODE)
    return _made[0]


def shut_down() -> None:
    for made in _made:
        made.shutdown()


class RayRound(Round):
    """The only machine is the driver. What it may end with besides follows from what happened to its nodes."""

    def __init__(self, server: JumpingServer, folder: Any, seed: int, trials: int) -> None:
        cluster()
        super().__init__(server, folder, seed, trials)
        self.mark, self.names = OURS, [DRIVER]

    def command(self, name: str) -> list[str]:
        _, *words = super().command(name)
        words[words.index(self.url)] = self.url.replace(f":{ESCAPED}@", "@")
        ray = ["--engine", "ray", "--ray-address", cluster().address]
        return [PLAIN, *words, *ray, f"--set=study.directory={self.folder / name / 'runs'}"]

    def environment(self, name: str) -> dict[str, str]:
        return super().environment(name) | {MARK: OURS}

    def mine(self) -> list[psutil.Process]:
        """The cluster stays for the next round."""
        return [each for role in ("supervisor", "server", "run") for each in self.processes(role)]

    def orders_to(self, draw: random.Random) -> Any:
        return self.folder / DRIVER / "runs"

    def judge_end(self, name: str, machine: Any) -> None:
        told = ("it died 3 times", "signal", "Stopped")  # of all nodes
        if any(text in machine.output for text in told):
            self.codes[name] |= {1, 130}
        super().judge_end(name, machine)


def actor_killed(round: Round, draw: random.Random) -> None:
    actor = round.pick(draw, "supervisor").parent()
    if actor is None or "ray::" not in " ".join(actor.cmdline()):
        raise NoTarget
    send(actor, faults.KILL)


def node_gone(round: Round, draw: random.Random) -> None:
    """A node dies with all that it runs; another one joins some faults later."""
    nodes = cluster().list_all_nodes()[1:]
    cluster().remove_node(one_of(draw, nodes), allow_graceful=False)
    faults.lasts(round, draw, lambda: cluster().add_node(**NODE), at_most=2)


def driver_sent(number: signal.Signals, *codes: int) -> faults.Fault:
    def fault(round: Round, _draw: random.Random) -> None:
        round.codes[DRIVER] |= set(codes)
        with suppress(psutil.NoSuchProcess):
            psutil.Process(round.machines[DRIVER].process.pid).send_signal(number)

    return fault


KINDS: dict[str, faults.Fault] = {
    **faults.KINDS,
    "actor killed": actor_killed,
    "node gone": node_gone,
    "driver: Ctrl-C": driver_sent(signal.SIGINT, 130, -signal.SIGINT),
    "driver terminated": driver_sent(signal.SIGTERM, 130, -signal.SIGTERM),
    "driver killed": driver_sent(signal.SIGKILL, -signal.SIGKILL),
    "clock jumped": faults.clock_jump,
}
