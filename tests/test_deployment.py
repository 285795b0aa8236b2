"""Every service's very command, run natively: PostgreSQL, workers, dashboard, TensorBoard."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.workers.following import SAVED_AFTER
from search.workers.launcher import KILL_AFTER
from search.workers.supervisor import LEAVE_AFTER, STORED_AFTER
from tests.deployment import DASHBOARD_PASSWORD, Deployment, needs_compose, page
from tests.postgres import ESCAPED, PASSWORD, PATIENCE, Server


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


@needs_compose
def test_every_command_does_its_work(deployment: Deployment) -> None:
    """PostgreSQL turns healthy, a worker finishes a study, another one is stopped, both pages show it, all end."""
    postgres, settings = deployment.start("postgres")
    assert settings["healthcheck"]["test"][0] == "CMD"
    check, environment = settings["healthcheck"]["test"][1:], deployment.environment("postgres", settings)
    deployment.until(lambda: subprocess.run(check, env=environment, capture_output=True).returncode == 0, postgres)

    worker, _ = deployment.start("worker-cpu", STUDY_ARGS="--trials 1")
    assert worker.wait(PATIENCE) == 0, deployment.output
    assert '"commit": "1f2e3d"' in (deployment.study / "runs" / "miniature" / "best_config.json").read_text()
    assert not (deployment.study / "runs" / "miniature" / "study.db").exists()

    stopped, service = deployment.start("worker-cpu", STUDY_ARGS="--trials 50")
    trials = deployment.study / "runs" / "miniature" / "trials"
    deployment.until(lambda: any(trials.glob("[1-9]*/evaluations.csv")), stopped)
    dashboard, viewed = deployment.start("dashboard")
    studies = f"http://127.0.0.1:{deployment.port}/api/studies"
    deployment.until(lambda: '"miniature"' in page(studies, DASHBOARD_PASSWORD), dashboard)
    assert page(studies) == ""
    for process in (postgres, stopped, dashboard):
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert not any(password.encode() in command for password in (PASSWORD, DASHBOARD_PASSWORD))
    assert deployment.stop(stopped, service) == 130, deployment.output
    # By when a search has left, whatever hangs.
    longest = LEAVE_AFTER - KILL_AFTER + SAVED_AFTER + STORED_AFTER  # with a state that is saved
    assert int(service["stop_grace_period"].removesuffix("s")) > longest
    deployment.stop(dashboard, viewed)

    tensorboard, viewed = deployment.start("tensorboard")
    deployment.until(lambda: "trials/0" in page(f"http://127.0.0.1:{deployment.port}/data/runs"), tensorboard)
    deployment.stop(tensorboard, viewed)
    assert deployment.stop(postgres, settings) == 0

    written = [deployment.output, deployment.server.log.read_text()]
    written += [f.read_text(errors="replace") for f in deployment.study.rglob("*") if f.is_file()]
    for password in (PASSWORD, ESCAPED, DASHBOARD_PASSWORD):
        assert not any(password in text for text in written)
