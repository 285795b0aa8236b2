"""The kinds of faults. Each happens to a round, from a draw of its own; what lasts has its end in `round.undone`."""

import random
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress

import psutil
from optuna import delete_study
from optuna.exceptions import StorageInternalError

from tests.chaos import runs
from tests.chaos.rounds import FAKETIME, NoTarget, Round, can_mount, one_of, send
from tests.conftest import wait_until
from tests.machines import PATIENCE, Machine

Fault = Callable[[Round, random.Random], None]
KILL, TERM, INT, STOP, CONT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP, signal.SIGCONT


def lasts(round: Round, draw: random.Random, end: Callable[[], object], at_most: int = 3) -> None:
    """For 0 to `at_most` further faults."""
    round.undone.append((draw.randint(0, at_most), end))


# Processes


def signalled(role: str, number: signal.Signals, *codes: int) -> Fault:
    """A signal to a process of this role; a supervisor may end with one of `codes` then."""

    def fault(round: Round, draw: random.Random) -> None:
        process = round.pick(draw, role)
        name = round.name_of(process)
        if number == INT and name and not round.machines[name].output:
            raise NoTarget  # Python itself tells of an interrupt before the program has begun
        round.allow(process, *codes)
        send(process, number)

    return fault


def stopped(role: str) -> Fault:
    def fault(round: Round, draw: random.Random) -> None:
        process = round.pick(draw, role)

        def go_on() -> None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(CONT)

        send(process, STOP)
        lasts(round, draw, go_on)

    return fault


def power_loss(round: Round, draw: random.Random) -> None:
    """All processes of a machine at once."""
    supervisor = round.pick(draw, "supervisor")
    round.allow(supervisor, -KILL)
    for process in (supervisor, *supervisor.children(recursive=True)):
        with suppress(NoTarget):
            send(process, KILL)


# Database and network


def restart(number: signal.Signals) -> Fault:
    """PostgreSQL stops, and starts again after some further faults."""

    def fault(round: Round, draw: random.Random) -> None:
        if round.server.is_down:
            raise NoTarget
        round.server.stop(number)
        lasts(round, draw, round.server.start)

    return fault


def terminated_backends(round: Round, _draw: random.Random) -> None:
    if round.server.is_down:
        raise NoTarget
    round.server.end_connections()


def slow_network(round: Round, draw: random.Random) -> None:
    round.proxy.delay = draw.choice([0.005, 0.02, 0.1])  # seconds
    lasts(round, draw, lambda: setattr(round.proxy, "delay", 0.0))


def silent_network(round: Round, draw: random.Random) -> None:
    """Nothing passes for a while; then it does, or the connections are reset."""
    round.proxy.is_silent = True

    def end() -> None:
        round.proxy.is_silent = False
        if draw.random() < 0.5:
            round.proxy.cut()

    lasts(round, draw, end, at_most=1)


def cut_network(round: Round, _draw: random.Random) -> None:
    round.proxy.cut()


def lost_answer(round: Round, _draw: random.Random) -> None:
    round.proxy.lose_answer()


def half_closed(round: Round, draw: random.Random) -> None:
    round.proxy.half_close(draw.randint(0, 1))


# Disk, clock, runs, people


def full_disk(round: Round, draw: random.Random) -> None:
    """Under the folder of the study: logs, specs, settings and export."""
    disk = one_of(draw, [round.folder / name / "runs" for name in round.names if name in "ac"])
    filler = disk / "filler"
    room = shutil.disk_usage(disk).free
    with open(filler, "ab") as file, suppress(OSError):
        file.write(b"\0" * room)
        file.flush()
    lasts(round, draw, lambda: filler.unlink(missing_ok=True))


def clock_jump(round: Round, draw: random.Random) -> None:
    """The server's, by which heartbeats are told: forwards or backwards, and back again."""
    clock = round.server.clock
    clock.write_text(f"{draw.choice([-1, 1]) * draw.choice([2, 90, 86_400, 10**8]):+d}")
    lasts(round, draw, lambda: clock.write_text("+0"), at_most=6)


def ordered(order: str) -> Fault:
    """The next run of a machine to evaluate misbehaves (tests/chaos/runs.py)."""

    def fault(round: Round, draw: random.Random) -> None:
        (round.orders_to(draw) / runs.ORDER).write_text(order)

    return fault


def other_settings(round: Round, _draw: random.Random) -> None:
    """A search with other settings is refused, whatever else happens, and changes nothing."""
    if round.server.is_down or round.proxy.is_silent or round.evaluations() == 0:
        raise NoTarget
    command = [*round.command("other"), "--set=training.batch_size=6"]
    folder = round.folder / f"other-{len(list(round.folder.glob('other-*')))}"
    environment = {**round.environment("other"), "STUB_FOLDER": str(folder), "TMPDIR": str(round.folder)}
    other = round.study.add(Machine(["-m", *command], folder, **environment))
    other.process.wait(120)
    assert "Traceback" not in other.output, other.output
    is_refused = other.process.returncode == 2 and "batch_size: 4 there, 6 here" in other.output
    assert is_refused or other.process.returncode == 75, other.output
    assert not (folder / "runs/miniature/trials").exists() and " started " not in other.output


def study_deleted(round: Round, _draw: random.Random) -> None:
    """Another study of the database, while it is searched. Its search says so; those of the round notice nothing."""
    if round.server.is_down or round.proxy.is_silent:
        raise NoTarget
    folder = round.folder / f"deleted-{len(list(round.folder.glob('deleted-*')))}"
    command = [*round.command("deleted"), "--study", folder.name, "--trials", "10000"]
    environment = {**round.environment("deleted"), "STUB_FOLDER": str(folder), "TMPDIR": str(round.folder)}
    victim = round.study.add(Machine(["-m", *command], folder, **environment))
    wait_until(lambda: " started " in victim.output or victim.process.poll() is not None, PATIENCE, "a trial")

    def is_gone() -> bool:
        """Optuna's own deletion fails where its search adds a row meanwhile."""
        try:
            delete_study(study_name=folder.name, storage=round.study.url)
        except KeyError:
            return True
        except StorageInternalError:
            return False
        return True

    wait_until(is_gone, PATIENCE, "the deletion")
    victim.process.wait(PATIENCE)
    assert "Traceback" not in victim.output, victim.output
    is_told = victim.process.returncode == 2 and "the study was deleted from" in victim.output
    assert is_told or victim.process.returncode == 75, victim.output


KINDS: dict[str, Fault] = {
    "run killed": signalled("run", KILL),
    "run terminated": signalled("run", TERM),
    "run stopped": stopped("run"),
    "fork server killed": signalled("server", KILL),
    "fork server terminated": signalled("server", TERM),
    "fork server stopped": stopped("server"),
    "search killed": signalled("supervisor", KILL, -KILL),
    "search terminated": signalled("supervisor", TERM, 130, -TERM),
    "search stopped": stopped("supervisor"),
    "PostgreSQL restarted, fast": restart(signal.SIGINT),
    "PostgreSQL restarted, immediate": restart(signal.SIGQUIT),
    "connections terminated": terminated_backends,
    "network slow": slow_network,
    "network silent": silent_network,
    "connections cut": cut_network,
    "answer lost": lost_answer,
    "connections half closed": half_closed,
    **{f"run: {name}": ordered(name) for name in runs.ORDERS},
}
PLAIN_KINDS: dict[str, Fault] = {
    "Ctrl-C": signalled("supervisor", INT, 130, -INT),
    "power loss": power_loss,
    "disk full": full_disk,
    "clock jumped": clock_jump,
    "other settings": other_settings,
    "study deleted": study_deleted,
}


def skipped() -> dict[str, str]:
    """Kinds that cannot be tried here, and why."""
    found = {}
    if not can_mount():
        found["disk full"] = "only root can mount a small disk"
    if FAKETIME is None:
        found["clock jumped"] = "libfaketime is not installed"
    return found
