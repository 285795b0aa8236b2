"""The deployment in containers, without an engine: the files are checked, and every service's command runs natively."""

import base64
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.postgres import ESCAPED, PASSWORD, Server, free_port

PROGRAMS = Path(sys.executable).parent
SECRET = "/run/secrets/postgres_password"
DASHBOARD_SECRET = "/run/secrets/dashboard_password"
DASHBOARD_PASSWORD = "not-that-of-the-database"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_FILE = re.sub("(^| )#.*", "", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)
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


# The files


def test_the_dockerfile_passes_its_linter() -> None:
    done = subprocess.run([PROGRAMS / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_compose_file_follows_the_specification() -> None:
    command = [
        str(PROGRAMS / "check-jsonschema"),
        "--builtin-schema",
        "vendor.compose-spec",
        str(ROOT / "docker-compose.yml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_has_every_variable_with_its_default() -> None:
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE_FILE))
    assert set(re.findall(r"\$\{?([A-Z_]+)", COMPOSE_FILE)) == set(defaults)
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    described = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert set(described) == set(defaults)
    for name in ("POSTGRES_PASSWORD_FILE", "XTTS_STUDY_DASHBOARD_PASSWORD_FILE"):  # examples: their defaults mean none
        del described[name]
    assert {name: defaults[name] for name in described} == described


def test_images_are_pinned() -> None:
    """By tags with a full version; this project's own by the version that it has."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    images = re.findall(r"image: (\S+)", COMPOSE_FILE)
    assert f"xtts-study:{version}" in images
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    bases = [base for base in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if base not in stages]
    for image in images + bases:
        assert re.fullmatch(r"[a-z-]+:\d+\.\d+(\.\d+)?(-[a-z-]+)?(@sha256:[0-9a-f]{64})?", image)


def test_the_image_holds_the_program_and_nothing_else() -> None:
    """What the Dockerfile copies is what .dockerignore lets through."""
    copied = {word for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    assert all(any(fnmatch(name, pattern) for pattern in allowed) for name in copied)
    assert all(any(fnmatch(name, pattern) for name in copied) for pattern in allowed)
    assert all((ROOT / name).exists() for name in copied)
    assert {"study.py", "search", "space"} <= copied


# What docker-compose makes of them


@needs_compose
def test_the_example_resolves() -> None:
    config = yaml.safe_load(docker_compose(ROOT / ".env.example"))
    assert set(config["services"]) == {"postgres", *OURS}
    assert config["secrets"]["postgres_password"]["file"] == "/dev/null"


@needs_compose
def test_only_loopback_is_published_unless_told_otherwise(tmp_path: Path) -> None:
    services = resolve(tmp_path)["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {
        "postgres": ["127.0.0.1:5432:5432/tcp"],
        "dashboard": ["127.0.0.1:8080:8080/tcp"],
        "tensorboard": ["127.0.0.1:6006:6006/tcp"],
    }
    opened = resolve(tmp_path, DATABASE_BIND="10.0.0.5", DATABASE_PORT="5433")["services"]
    assert opened["postgres"]["ports"] == ["10.0.0.5:5433:5433/tcp"]
    assert opened["dashboard"]["ports"] == published["dashboard"]
    opened = resolve(tmp_path, DASHBOARD_BIND="10.0.0.5", DASHBOARD_PORT="81")["services"]
    assert opened["dashboard"]["ports"] == ["10.0.0.5:81:8080/tcp"]


@needs_compose
def test_the_password_is_where_it_belongs(tmp_path: Path) -> None:
    """With a file it is in no configuration; by the variable it is in the environment of those who need it."""
    file = tmp_path / "secret"
    file.write_text(PASSWORD)
    config = resolve(tmp_path, POSTGRES_PASSWORD_FILE=str(file))
    assert PASSWORD not in yaml.safe_dump(config, width=1000)
    assert config["secrets"]["postgres_password"]["file"] == str(file)

    services = resolve(tmp_path, POSTGRES_PASSWORD=PASSWORD)["services"]
    given = {name for name, s in services.items() if s.get("environment", {}).pop("POSTGRES_PASSWORD", None)}
    assert given == {"postgres", "worker", "worker-cpu", "dashboard"}
    assert PASSWORD not in yaml.safe_dump(services, width=1000)
    for name in given:
        script = "docker/with-password.sh" if name in OURS else "with-password.sh"
        assert services[name]["entrypoint"][0] == "sh"
        assert services[name]["entrypoint"][1].endswith(script)
        assert services[name]["entrypoint"][2] == SECRET
        assert {"source": "postgres_password"} in services[name]["secrets"]


@needs_compose
def test_the_dashboard_has_a_password_of_its_own(tmp_path: Path) -> None:
    """Nobody else gets it, and it is not in the command."""
    file = tmp_path / "secret"
    file.write_text(DASHBOARD_PASSWORD)
    config = resolve(tmp_path, XTTS_STUDY_DASHBOARD_PASSWORD_FILE=str(file))
    assert DASHBOARD_PASSWORD not in yaml.safe_dump(config, width=1000)
    assert config["secrets"]["dashboard_password"]["file"] == str(file)
    assert f"--password-file {DASHBOARD_SECRET}" in config["services"]["dashboard"]["command"]
    given = {name for name, s in config["services"].items() if {"source": "dashboard_password"} in s.get("secrets", [])}
    assert given == {"dashboard"}

    services = resolve(tmp_path, XTTS_STUDY_DASHBOARD_PASSWORD=DASHBOARD_PASSWORD)["services"]
    given = {n for n, s in services.items() if s.get("environment", {}).pop("XTTS_STUDY_DASHBOARD_PASSWORD", None)}
    assert given == {"dashboard"}
    assert DASHBOARD_PASSWORD not in yaml.safe_dump(services, width=1000)


@needs_compose
def test_services_are_started_as_they_should(tmp_path: Path) -> None:
    services = resolve(tmp_path, STUDY_UID="1234", STUDY_GID="5678")["services"]
    worker, on_cpu = services["worker"], services["worker-cpu"]
    devices = worker.pop("deploy")["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert on_cpu.pop("profiles") == ["cpu"]
    assert worker == on_cpu
    for name in OURS:
        assert services[name]["user"] == "1234:5678"
        assert services[name]["cap_drop"] == ["ALL"]
    for name in ("worker", "dashboard"):
        assert services[name]["environment"]["PGHOST"] == "postgres"
        assert services[name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "database:/var/lib/postgresql/data:rw" in services["postgres"]["volumes"]
    assert "cache:/cache:rw" in worker["volumes"]
    assert [volume.rpartition(":")[2] for volume in services["dashboard"]["volumes"]] == ["ro"]
    further = resolve(tmp_path, DATABASE_HOST="10.0.0.5", STUDY_ARGS="--trials 60 --study voice")["services"]
    assert further["worker"]["environment"]["PGHOST"] == "10.0.0.5"
    assert further["worker"]["command"].endswith("--storage postgresql:// --workers 1 --trials 60 --study voice")
    shown = resolve(tmp_path, DASHBOARD_ARGS="--study voice --writable", TENSORBOARD_PORT="6007")["services"][
        "dashboard"
    ]
    assert shown["command"].endswith(" --tensorboard http://127.0.0.1:6007 --study voice --writable")


# The entrypoint


def with_password(secret: Path | str, variable: str | None, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **({} if variable is None else {"POSTGRES_PASSWORD": variable})}
    words = ["sh", str(ROOT / "docker" / "with-password.sh"), str(secret), *command]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("variable", "content"),
    [(PASSWORD, None), (PASSWORD, ""), (None, PASSWORD), ("", PASSWORD + "\n"), (PASSWORD, PASSWORD + "\n")],
)
def test_the_password_comes_from_the_variable_or_the_file(
    variable: str | None, content: str | None, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content)
    done = with_password(secret, variable, "printenv", "PGPASSWORD", "POSTGRES_PASSWORD")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{PASSWORD}\n{PASSWORD}\n", "")
    done = with_password(secret, variable, "sh", "-c", "exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


@pytest.mark.parametrize(
    ("variable", "content", "said"),
    [
        (None, None, "no database password: set POSTGRES_PASSWORD, or POSTGRES_PASSWORD_FILE"),
        ("", "", "no database password"),
        (None, "\n", "no database password"),
        (PASSWORD, "another", "hold different passwords"),
    ],
)
def test_without_one_password_nothing_starts(
    variable: str | None, content: str | None, said: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content)
    done = with_password(secret, variable, "echo", "started")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert PASSWORD not in done.stderr
    assert "another" not in done.stderr


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Here a folder, which not even root can read; /dev/null, the default, reads as empty."""
    done = with_password(tmp_path, None, "echo", "started")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be read by user" in done.stderr.splitlines()[-1]
    assert "no database password" in with_password("/dev/null", None, "echo").stderr


# Every service's very command


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
        """The exit code after the signal and within the time that the engine would give."""
        process.send_signal(signal.Signals[service.get("stop_signal", "SIGTERM")])
        return process.wait(int(service.get("stop_grace_period", "10s").removesuffix("s")))

    @property
    def output(self) -> str:
        """Of all services so far."""
        return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')}" for log in sorted(self.logs.iterdir()))

    def until(self, true: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 60) -> None:
        """Returns once `true`; fails when the process has ended or the time is up."""
        deadline = time.monotonic() + seconds
        while not true():
            assert process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.1)


@pytest.fixture
def deployment(tmp_path: Path, cache: Path) -> Iterator[Deployment]:
    """With an initialised data folder, as PostgreSQL's image makes it: the user and database xtts, no server."""
    server = Server()
    try:
        with server.connect("postgres") as connection:
            connection.execute("CREATE DATABASE xtts")
        server.stop()
        started = Deployment(tmp_path, cache, server)
        try:
            yield started
        finally:
            for process in started.processes:
                process.kill()
                process.wait()
    finally:
        server.remove()


def page(url: str, password: str = "") -> str:
    """Empty while nobody answers."""
    token = base64.b64encode(f"anyone:{password}".encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"} if password else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@needs_compose
def test_a_dashboard_without_a_password_ends_with_a_line(deployment: Deployment) -> None:
    deployment.dashboard_secret.write_text("")  # what /dev/null is to the container
    process, _ = deployment.start("dashboard")
    assert process.wait(60) == 2
    said = f"study.py: the dashboard has no password: --password-file {deployment.dashboard_secret} is empty"
    assert said in deployment.output


@needs_compose
@pytest.mark.timeout(600)
def test_every_command_does_its_work(deployment: Deployment) -> None:
    """PostgreSQL turns healthy, a worker finishes a study, another one is stopped, both pages show it, all end."""
    postgres, settings = deployment.start("postgres")
    assert settings["healthcheck"]["test"][0] == "CMD"
    check, environment = settings["healthcheck"]["test"][1:], deployment.environment("postgres", settings)
    deployment.until(lambda: subprocess.run(check, env=environment, capture_output=True).returncode == 0, postgres)

    worker, _ = deployment.start("worker-cpu", STUDY_ARGS="--trials 1")
    assert worker.wait(240) == 0, deployment.output
    assert '"commit": "1f2e3d"' in (deployment.study / "runs" / "miniature" / "best_config.json").read_text()
    assert not (deployment.study / "runs" / "miniature" / "study.db").exists()

    stopped, service = deployment.start("worker-cpu", STUDY_ARGS="--trials 50")
    trials = deployment.study / "runs" / "miniature" / "trials"
    deployment.until(lambda: any(trials.glob("[1-9]*/evaluations.csv")), stopped, 120)
    dashboard, viewed = deployment.start("dashboard")
    studies = f"http://127.0.0.1:{deployment.port}/api/studies"
    deployment.until(lambda: '"miniature"' in page(studies, DASHBOARD_PASSWORD), dashboard)
    assert page(studies) == ""
    for process in (postgres, stopped, dashboard):
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert not any(password.encode() in command for password in (PASSWORD, DASHBOARD_PASSWORD))
    assert deployment.stop(stopped, service) == 130, deployment.output
    deployment.stop(dashboard, viewed)

    tensorboard, viewed = deployment.start("tensorboard")
    deployment.until(lambda: "trials/0" in page(f"http://127.0.0.1:{deployment.port}/data/runs"), tensorboard)
    deployment.stop(tensorboard, viewed)
    assert deployment.stop(postgres, settings) == 0

    written = [deployment.output, deployment.server.log.read_text()]
    written += [f.read_text(errors="replace") for f in deployment.study.rglob("*") if f.is_file()]
    for password in (PASSWORD, ESCAPED, DASHBOARD_PASSWORD):
        assert not any(password in text for text in written)
