"""docker-compose.yml as docker-compose reads it, and its services as native processes: no engine is needed."""

import base64
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.postgres import PASSWORD, PATIENCE, Server, free_port

PROGRAMS = Path(sys.executable).parent
SECRET = "/run/secrets/postgres_password"
DASHBOARD_SECRET = "/run/secrets/dashboard_password"
DASHBOARD_PASSWORD = "not-that-of-the-database"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
OURS = {"worker", "worker-cpu", "dashboard", "tensorboard"}  # services of this project's image

STUDY = "[training]\nsteps = 40\ntruncation = 0.5\nevaluations = 5\n"  # some 3 s of training


def find_compose() -> str | None:
    """docker-compose 1.29, the older reader of the file: what it prints is laid out otherwise than by Compose 2."""
    found = shutil.which("docker-compose")
    if found is None:
        return None
    version = subprocess.run([found, "version", "--short"], capture_output=True, text=True, check=False).stdout
    return found if version.startswith("1.") else None


COMPOSE = find_compose()
needs_compose = pytest.mark.skipif(
    COMPOSE is None, reason="docker-compose 1.29 is not installed; Debian 12 has it, and it needs no engine here"
)


def resolve(tmp_path: Path, **variables: str) -> dict[str, Any]:
    """The configuration that docker-compose makes of the file with these variables in .env, and nothing else."""
    file = tmp_path / "variables.env"
    file.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()), encoding="utf-8")
    return yaml.safe_load(docker_compose(file))  # type: ignore[no-any-return]


def docker_compose(variables: Path) -> str:
    """Not the checkout's own .env: one may lie there."""
    assert COMPOSE
    command = [COMPOSE, "--env-file", str(variables), "--file", str(ROOT / "docker-compose.yml"), "config"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Deployment:
    """The services of the resolved file as native processes: places of the containers become places of this machine."""

    def __init__(self, tmp_path: Path, cache: Path, server: Server) -> None:
        self.server, self.tmp_path = server, tmp_path
        self.study = tmp_path / "study"
        self.study.mkdir()
        (self.study / "study.toml").write_text(STUDY)
        self.port = free_port()
        self._secret = server.directory / "secret"  # in a folder that the server's user can enter
        self._secret.write_text(PASSWORD + "\n")
        self._secret.chmod(0o644)
        self.dashboard_secret = tmp_path / "dashboard-secret"
        self.dashboard_secret.write_text(DASHBOARD_PASSWORD + "\n")
        script = server.directory / "with-password.sh"
        shutil.copy(ROOT / "docker" / "with-password.sh", script)
        self._places = {
            SECRET: self._secret,
            DASHBOARD_SECRET: self.dashboard_secret,
            "/opt/xtts-study": ROOT,
            "/opt/venv": PROGRAMS.parent,
            "/study": self.study,
            "/cache": cache,
            "/tmp": tmp_path,
            "/with-password.sh": script,
            "/var/lib/postgresql/data": server.data,
            "0.0.0.0": "127.0.0.1",  # all interfaces of a container are none of this machine's but loopback
            "8080": self.port,
            "6006": self.port,
        }
        self.logs = tmp_path / "logs"
        self.logs.mkdir()
        self.processes: list[subprocess.Popen[bytes]] = []

    def service(self, name: str, **variables: str) -> dict[str, Any]:
        given = {"POSTGRES_PASSWORD_FILE": str(self._secret), "DATABASE_HOST": "127.0.0.1"}
        config = resolve(self.tmp_path, DATABASE_PORT=str(self.server.port), **given, **variables)
        return config["services"][name]  # type: ignore[no-any-return]

    def local(self, text: str) -> str:
        """`text`, a word or a search path, with each place of a container replaced."""
        parts = []
        for part in text.split(":"):
            for place, here in self._places.items():
                if part == place or part.startswith(place + "/"):
                    part = str(here) + part.removeprefix(place)
                    break
            parts.append(part)
        return ":".join(parts)

    def environment(self, name: str, service: dict[str, Any]) -> dict[str, str]:
        """What the container would have: the image's variables, and the service's over them."""
        image = {"PATH": "$PATH", "PGDATA": "/var/lib/postgresql/data"}
        if name in OURS:
            final = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :].replace("\\\n", "").replace("$COMMIT", "1f2e3d")
            settings = " ".join(re.findall(r"^ENV (.*)$", final, re.MULTILINE)).split()
            image = dict(setting.split("=", 1) for setting in settings)
        path = f"{self.server.programs}:{os.environ['PATH']}"
        values = {**image, **service.get("environment", {})}
        return {name: self.local(str(value)).replace("$PATH", path) for name, value in values.items()}

    def start(self, name: str, **variables: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        """The service's entrypoint and command. `docker-entrypoint.sh` is the image's; its work is done already."""
        service = self.service(name, **variables)
        words = [word for word in service.get("entrypoint", []) if word != "docker-entrypoint.sh"]
        command = service["command"]
        words += command if isinstance(command, list) else shlex.split(command)
        place: dict[str, Any] = {"cwd": self.study} if name in OURS else self.server.as_user()
        with open(self.logs / f"{len(self.processes)}-{name}.txt", "wb") as log:
            process = subprocess.Popen(
                [self.local(word) for word in words],
                env=self.environment(name, service),
                stdout=log,
                stderr=log,
                **place,
            )
        self.processes.append(process)
        return process, service

    def stop(self, process: subprocess.Popen[bytes], service: dict[str, Any]) -> int:
        """The exit code after the signal that the engine would send."""
        process.send_signal(signal.Signals[service.get("stop_signal", "SIGTERM")])
        return process.wait(PATIENCE)

    @property
    def output(self) -> str:
        """Of all services so far."""
        return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')}" for log in sorted(self.logs.iterdir()))

    def until(self, true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        """Returns once `true`; fails when the process has ended or the time is up."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.1)


def page(url: str, password: str = "") -> str:
    """Empty while nobody answers."""
    token = base64.b64encode(f"anyone:{password}".encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"} if password else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
