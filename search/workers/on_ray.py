"""`--engine ray`: Ray runs the command of a machine on every node of a cluster; the study stays in PostgreSQL.

`ray_node` is what each node runs: what a plain machine runs. So nodes, plain machines and containers share one study,
by the same claims and leases. `ray_cluster` keeps one on every node. This module connects, and reads the result.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from search.errors import TryAgain, UserError
from search.settings.settings import Settings, safe_url
from search.sources import PROJECT, ROOT
from search.study import findings, recorded, storage
from search.study.folder import make_folder, refuse_closed
from search.study.server import wait_for_server
from search.workers.budget import no_room
from search.workers.cost import confirmation_costs
from search.workers.events import View
from search.workers.interruption import Interruption
from search.workers.ray_cluster import Cluster
from search.workers.ray_node import Order
from search.workers.session import Result

LOOK = 1.0  # seconds between two looks at which nodes there are
OBJECT_STORE = 80_000_000  # bytes, about the least that Ray takes: nothing but lines goes through it


def search_on_ray(settings: Settings, view: View, address: str | None) -> Result:
    """As `session.search`, on the nodes of the cluster at `address`. What the time was spent on, each node knows."""
    started = time.monotonic()
    _refuse(settings, view)
    stopped = _run("search", "trials", settings, view, address, settings.study.trials)
    if stopped and not storage.exists(settings):
        raise KeyboardInterrupt  # before a node had made it
    study = storage.load_study(settings)
    halted = storage.control_of(settings).unless_running if stopped else None
    found, seconds = findings.read(study), time.monotonic() - started
    over_budget = None if stopped or found.finished >= settings.study.trials else no_room(settings)
    return Result(found, study.user_attrs, stopped, halted, {}, seconds, 0, over_budget)


def confirm_on_ray(settings: Settings, view: View, address: str | None) -> bool:
    """Runs the confirmation on the nodes of the cluster. Whether somebody stopped it before it was over."""
    _refuse(settings, view)
    prepared = recorded.prepared(findings.read(storage.load_study(settings)).prepared)
    costs = confirmation_costs(settings, prepared) if prepared else []
    return _run("confirm", "confirm", settings, view, address, max((cost.at_once for cost in costs), default=1))


def _run(command: str, runs: str, settings: Settings, view: View, address: str | None, at_once: int) -> bool:
    """Runs a command of study.py, whose runs lie in the folder `runs` of the study's, until all nodes have ended it.

    Whether somebody stopped it before. Raises UserError when no node is left that could go on.
    """
    folder = str((settings.directory / runs).absolute())
    order = Order(
        "search.commands.group:main", [command, "--json"], settings.to_toml(), folder, tuple(settings.study.saving)
    )
    view.status("connecting to Ray")
    with connected(address) as ray:
        make_folder(settings)
        slots, is_mini = settings.study.workers, settings.is_miniature
        on_cpu, grows_by = slots or (2 if is_mini else 1), "CPU" if is_mini else "GPU"
        return drive(Cluster(ray, order, view, slots, on_cpu, at_once, grows_by), view)


def _refuse(settings: Settings, view: View) -> None:
    """Raises UserError for a storage that nodes cannot share, or whose password Ray would get to know.

    And what would be refused on a plain machine before its preparation.
    """
    shown = safe_url(settings.storage_url)
    if settings.is_sqlite:
        raise UserError(
            "--engine ray needs a PostgreSQL database, which all nodes reach; give one with --storage"
            " postgresql://user@host/database (docs/operations.md says how to start it)"
        )
    if "***" in shown:
        raise UserError(
            f"study.storage {shown} has a password, which --engine ray would pass through Ray; leave it out, and give"
            " it to each node as PGPASSWORD, PGPASSFILE or ~/.pgpass (docs/ray.md)"
        )
    refuse_closed(settings)
    wait_for_server(settings.storage_url, 60 * settings.service.start_minutes, view.note)
    storage.refuse_stopped(settings)
    storage.try_out(settings)


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module ray, connected to the cluster at `address`, HOST:PORT, or at RAY_ADDRESS, or to one of this machine.

    Raises UserError in one line.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_SCHEDULER_EVENTS", "0")  # no lines about actors that wait for a GPU
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")  # that of `ray job submit` may have a working_dir, too
    try:
        import ray
    except ImportError as error:
        raise UserError("--engine ray needs the package ray, which is missing; run make study EXTRAS=ray") from error
    where: dict[str, Any] = {"address": "local", "object_store_memory": OBJECT_STORE, "include_dashboard": False}
    if address := address or os.environ.get("RAY_ADDRESS"):
        refuse_silent(address)
        where = {"address": address}
    # In one folder, as here: the digest of the code that a study remembers looks for both below one.
    others = [f"/{place.name}" for place in ROOT.iterdir() if place.name not in PROJECT]
    code = {"working_dir": str(ROOT), "excludes": [*others, "__pycache__"]}
    try:
        ray.init(**where, runtime_env=code, log_to_driver=False, logging_level="ERROR")
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        ray.shutdown()  # it may be half connected
        place = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise UserError(f"{place} cannot be used: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def refuse_silent(address: str) -> None:
    """Raises UserError where nothing listens. Ray itself would wait for minutes, and print a dozen lines."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UserError(
            f"--ray-address or RAY_ADDRESS is {address!r}; give HOST:PORT of the head node, as ray start --head prints"
            " it, and run study.py on a node of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise TryAgain(
            f"no Ray cluster answers at {address} ({error}); see that ray start runs on the head node, and check host"
            " and port"
        ) from error


def drive(cluster: Cluster, view: View) -> bool:
    """Whether somebody stopped the nodes before they had done all."""
    looked, told = 0.0, False
    with Interruption(view.leave) as interruption:
        while not cluster.is_over(interruption.asked):
            if interruption.asked and not told:
                view.note("stopping; the runs of all nodes end at their next batch (Ctrl-C again to leave at once)")
                cluster.stop()
                told = True
            if not interruption.asked and time.monotonic() - looked > LOOK:
                cluster.look()
                looked = time.monotonic()
            cluster.hear(0.2)
            view.refresh()
    return interruption.asked or not cluster.is_done
