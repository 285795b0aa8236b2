"""A Slurm cluster of one node on loopback: Debian's real daemons, six "GPUs", no munge."""

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.postgres import PATIENCE, free_port

DEVICES = ("null", "zero", "full", "random", "urandom", "ptmx")  # any files of /dev may stand for a GPU
SETTINGS = """ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=100000
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs=6 RealMemory=1000 Gres=gpu:6
PartitionName=main Nodes=one Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """Running daemons; `run` is any of Slurm's commands."""

    def __init__(self, folder: Path) -> None:
        for program in ("slurmctld", "slurmd", "sbatch"):
            if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
                pytest.skip(f"Slurm is not installed ({program} of Debian: slurmctld, slurmd, slurm-client)")
        self._folder = folder
        self._daemons: list[subprocess.Popen[bytes]] = []
        for name in ("state", "spool"):
            (folder / name).mkdir()
        ports = {"port": free_port(), "node_port": free_port()}
        host = socket.gethostname().partition(".")[0]
        settings = folder / "slurm.conf"
        settings.write_text(SETTINGS.format(host=host, user=getpass.getuser(), folder=folder, **ports))
        (folder / "gres.conf").write_text("".join(f"Name=gpu File=/dev/{name}\n" for name in DEVICES))
        self.environment = {"SLURM_CONF": str(settings), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        try:
            for command in (["slurmctld", "-D"], ["slurmd", "-D", "-N", "one"]):
                self._start(command)
            wait_until(lambda: "idle" in self._state(), PATIENCE, "an idle node")
        except BaseException:
            self.stop()
            raise

    def _start(self, command: list[str]) -> None:
        with open(self._folder / f"{command[0]}.txt", "wb") as log:
            self._daemons.append(subprocess.Popen(command, env=os.environ | self.environment, stdout=log, stderr=log))

    def _state(self) -> str:
        ended = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
        assert not ended, [path.read_text()[-2000:] for path in self._folder.glob("slurm*.txt")]
        asked = ["sinfo", "--noheader", "--format=%T"]
        return subprocess.run(
            asked, env=os.environ | self.environment, capture_output=True, text=True, check=False
        ).stdout

    def run(self, *command: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command, cwd=cwd, env=os.environ | self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def submit(self, script: Path) -> str:
        """The number of the array."""
        return re.findall(r"\d+", self.run("sbatch", str(script), cwd=script.parent))[0]

    def jobs(self, array: str) -> dict[str, str]:
        """State by job of the array; without those that have ended."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T", "--jobs", array).splitlines()
        return dict(line.split() for line in lines if "COMPLETING" not in line)

    def wait(self) -> None:
        """Until all jobs have ended."""
        wait_until(lambda: not self.run("squeue", "--noheader"), PATIENCE, "the jobs' end")

    def stop(self) -> None:
        if len(self._daemons) == 2:  # jobs of a test that failed would outlive them
            self.run("scancel", f"--user={getpass.getuser()}")
            wait_until(lambda: not self.run("squeue", "--noheader"), PATIENCE, "the jobs' end")
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(PATIENCE)
