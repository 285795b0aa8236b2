"""The deployment in containers, without an engine: the files, what docker-compose makes of them, and the entrypoint."""

import os
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.deployment import (
    DASHBOARD_PASSWORD,
    DOCKERFILE,
    OURS,
    PROGRAMS,
    docker_compose,
    needs_compose,
    resolve,
)
from tests.postgres import PASSWORD

COMPOSE_FILE = re.sub("(^| )#.*", "", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)


# The files


def test_the_dockerfile_passes_its_linter() -> None:
    done = subprocess.run([PROGRAMS / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_compose_file_follows_the_specification() -> None:
    program, schema = PROGRAMS / "check-jsonschema", ("--builtin-schema", "vendor.compose-spec")
    done = subprocess.run([program, *schema, ROOT / "docker-compose.yml"], capture_output=True, text=True, check=False)
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


@needs_compose
@pytest.mark.parametrize(
    ("variable", "source", "secret", "users"),
    [
        ("POSTGRES_PASSWORD", "postgres_password", PASSWORD, {"postgres", "worker", "worker-cpu", "dashboard"}),
        ("XTTS_STUDY_DASHBOARD_PASSWORD", "dashboard_password", DASHBOARD_PASSWORD, {"dashboard"}),
    ],
)
def test_a_password_is_where_it_belongs(
    tmp_path: Path, variable: str, source: str, secret: str, users: set[str]
) -> None:
    """With a file it is in no configuration; by the variable it is in the environment of those who need it."""
    file = tmp_path / "secret"
    file.write_text(secret)
    config = resolve(tmp_path, **{f"{variable}_FILE": str(file)})
    assert secret not in yaml.safe_dump(config, width=1000)
    assert config["secrets"][source]["file"] == str(file)
    assert {n for n, service in config["services"].items() if {"source": source} in service.get("secrets", [])} == users

    services = resolve(tmp_path, **{variable: secret})["services"]
    assert {name for name, s in services.items() if s.get("environment", {}).pop(variable, None)} == users
    assert secret not in yaml.safe_dump(services, width=1000)


@needs_compose
def test_services_are_started_as_they_should(tmp_path: Path) -> None:
    services = resolve(tmp_path, STUDY_UID="1234", STUDY_GID="5678")["services"]
    worker, on_cpu = services["worker"], services["worker-cpu"]
    devices = worker.pop("deploy")["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert on_cpu.pop("profiles") == ["cpu"]
    assert worker == on_cpu
    for name, service in services.items():
        assert service["user"] == ("postgres" if name == "postgres" else "1234:5678")
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
        assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "userns_mode"}
    read_only = {name: service["tmpfs"] for name, service in services.items() if service.get("read_only")}
    assert read_only == {"postgres": ["/tmp", "/run/postgresql"], "dashboard": ["/tmp"], "tensorboard": ["/tmp"]}
    assert services["postgres"]["group_add"] == ["5678"]  # of the file with the password
    for name in ("worker", "dashboard"):
        assert services[name]["environment"]["PGHOST"] == "postgres"
        assert services[name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "database:/var/lib/postgresql/data:rw" in services["postgres"]["volumes"]
    assert services["postgres"]["environment"]["POSTGRES_INITDB_ARGS"] == "--auth-host=scram-sha-256"
    assert "cache:/cache:rw" in worker["volumes"]
    assert [volume.rpartition(":")[2] for volume in services["dashboard"]["volumes"]] == ["ro"]
    further = resolve(tmp_path, DATABASE_HOST="10.0.0.5", STUDY_ARGS="--trials 60 --study voice")["services"]
    assert further["worker"]["environment"]["PGHOST"] == "10.0.0.5"
    assert further["worker"]["command"].endswith("--storage postgresql:// --workers 1 --trials 60 --study voice")
    shown = resolve(tmp_path, DASHBOARD_ARGS="--study voice --writable")["services"]["dashboard"]
    assert shown["command"].endswith("/dashboard_password --study voice --writable")


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
    """Here a folder, which not even root can read."""
    done = with_password(tmp_path, None, "echo", "started")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be read by user" in done.stderr.splitlines()[-1]
