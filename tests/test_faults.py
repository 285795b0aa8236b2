"""Whatever dies, stops or falls silent: every trial counts once. Supervisors as real processes on one PostgreSQL.

No test relies on the speed of the machine: runs are held where a test wants them, and what is waited for is a state.
"""

import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
from optuna.trial import TrialState

from tests.conftest import wait_until
from tests.machines import PATIENCE, Study, outage
from tests.postgres import Server

BEAT, GRACE = 1.0, 3.0  # seconds; what `search.settings.settings` asks for at least
NEVER = 3600.0  # seconds of grace: what is taken sooner was not waited for, and a late heartbeat costs no trial
LAST = 9  # evaluations of a run that waits for its last one


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def wait_for_successors(study: Study, numbers: list[int]) -> list[datetime]:
    """When the trials that run in place of these were started."""
    return [wait_until(lambda n=n: study.successor_of(n), PATIENCE, f"trial {n} runs again") for n in numbers]


# The database


def test_runs_go_on_while_the_database_is_away(server: Server, database: str, tmp_path: Path) -> None:
    """From their first evaluation to their end, for less than the grace period, and for longer.

    Leases age only while somebody sees the database.
    """
    grace, outages = 6.0, (0.0, 9.0)  # seconds; the first is as short as it takes
    with Study(database, tmp_path, trials=10) as study:
        machines = [study.start(name, held=0, slots=2, seconds=0.05, grace=grace) for name in "ab"]
        for count, length in enumerate(outages, 1):
            for machine in machines:
                wait_until(lambda m=machine: len(m.children()) == 2, PATIENCE, "two runs of each")
                machine.wait_for(" started ", count=2 * count)
            with outage(server):
                began = time.monotonic()
                for machine in machines:
                    machine.release()
                for machine in machines:
                    wait_until(lambda m=machine: not m.children(), PATIENCE, "runs end while the database is away")
                    machine.wait_for("the database does not answer", count=count)
                    machine.hold(0)  # the next ones
                time.sleep(max(0.0, began + length - time.monotonic()))
            for machine in machines:
                machine.wait_for("the database answers again", count=count)
        for machine in machines:
            machine.release()
        for machine in machines:
            machine.wait()
            said = [line for line in machine.output.splitlines() if "the database " in line]
            # One line at the beginning and one at the end, whatever the number of threads and tries.
            assert ["answers again" in line for line in said] == [False, True] * (len(said) // 2), said
        trials = study.assert_exact()
        assert not [t.number for t in trials if t.state == TrialState.FAIL]


def test_ctrl_c_during_an_outage_ends_the_search_with_one_line(server: Server, database: str, tmp_path: Path) -> None:
    """While each slot has something to report; long before the five minutes for which a search waits."""
    with Study(database, tmp_path, trials=4) as study:
        machine = study.start(None, held=1, slots=2)
        machine.wait_for("step", count=2)
        with outage(server):
            machine.release()
            machine.wait_for("the database does not answer")
            machine.send(signal.SIGINT)
            began = time.monotonic()
            machine.wait(code=75)
            seconds = time.monotonic() - began
        assert machine.output.splitlines()[-1].startswith("study.py: study.storage postgresql")
        assert machine.output.count("study.py: ") == 1
        again = study.start(None, slots=2, seconds=0.05)
        again.wait()
        trials = study.assert_exact()
        assert [t.number for t in trials if t.state == TrialState.FAIL] == [0, 1]
        print(f"\nended {seconds:.1f} s after Ctrl-C")


# A supervisor


def test_the_trials_of_a_killed_supervisor_run_again_after_its_grace(database: str, tmp_path: Path) -> None:
    """Within grace + 2 heartbeats where its processes are not seen; counted in heartbeats of the peer, which trains.

    On a slow machine those come late like all else that it does. Three times as many are no failure.
    """
    with Study(database, tmp_path, trials=3) as study:
        victim = study.start("a", held=LAST, slots=2, heartbeat=BEAT, grace=GRACE)
        victim.wait_for("step", count=2 * LAST)
        victim.kill()
        peer = study.start("b", held=LAST, slots=3, heartbeat=BEAT, grace=NEVER)
        peer.wait_for("step", count=LAST)
        began = now()
        beats = set()

        def is_taken() -> bool:
            beats.add(study.heartbeat_of(2))
            return all(study.successor_of(number) for number in (0, 1))

        wait_until(is_taken, PATIENCE, "trials 0 and 1 run again")
        seconds = [(start - began).total_seconds() for start in wait_for_successors(study, [0, 1])]
        peer.release()
        peer.wait()
        trials = study.assert_exact()
        assert [t.number for t in trials if t.state == TrialState.FAIL] == [0, 1]
        assert len(beats) <= 3 * (GRACE / BEAT + 2)
        print(f"\nrun again {seconds} s and {len(beats)} heartbeats after the peer's start; grace {GRACE} s")


def test_sigterm_hands_the_trials_to_the_peer_at_once(database: str, tmp_path: Path) -> None:
    with Study(database, tmp_path, trials=3) as study:
        leaving = study.start("a", held=LAST, slots=2, grace=NEVER)
        leaving.wait_for("step", count=2 * LAST)
        peer = study.start("b", held=LAST, slots=3, grace=NEVER)
        peer.wait_for("step", count=LAST)
        leaving.send(signal.SIGTERM)
        told = now()
        leaving.wait()
        seconds = [(start - told).total_seconds() for start in wait_for_successors(study, [0, 1])]
        peer.release()
        peer.wait()
        trials = study.assert_exact()
        failed = {t.number: t.user_attrs["stop_reason"] for t in trials if t.state == TrialState.FAIL}
        assert failed == {0: "stopped_by_user", 1: "stopped_by_user"}
        print(f"\nrun again {seconds} s after SIGTERM")


def test_a_supervisor_that_was_stopped_drops_what_was_taken(database: str, tmp_path: Path) -> None:
    """A run that came to its end meanwhile, and one that goes on; then it takes other trials."""
    with Study(database, tmp_path, trials=3) as study:
        late = study.start("a", held=LAST, slots=2, heartbeat=BEAT, grace=GRACE)
        late.wait_for("step", count=2 * LAST)
        children = late.children()
        late.send(signal.SIGSTOP)
        began = now()
        peer = study.start("b", held=LAST, slots=3, heartbeat=BEAT, grace=NEVER)
        late.release(0)
        seconds = [(start - began).total_seconds() for start in wait_for_successors(study, [0, 1])]
        wait_until(lambda: sum(c.is_running() for c in children) == 1, PATIENCE, "the end of the run of trial 0")
        late.send(signal.SIGCONT)
        for number in (0, 1):
            late.wait_for(f"trial {number}  preempted  taken by another search meanwhile")
        assert not psutil.wait_procs(children, timeout=PATIENCE)[1]
        peer.wait_for("step", count=3 * LAST)
        peer.send(signal.SIGTERM)
        peer.wait()
        late.wait_for(" started ", count=4)  # two of the peer's
        late.release()
        late.wait()
        trials = study.assert_exact()
        failed = {t.number: t.user_attrs["stop_reason"] for t in trials if t.state == TrialState.FAIL}
        assert failed == {**dict.fromkeys((0, 1), "preempted"), **dict.fromkeys((2, 3, 4), "stopped_by_user")}
        print(f"\nrun again {seconds} s after SIGSTOP; heartbeat {BEAT} s, grace {GRACE} s")


def test_a_stopped_process_keeps_the_lock_on_the_study_for_seconds_only(database: str, tmp_path: Path) -> None:
    """In the middle of a claim: peers wait for the server's limit on idle transactions, here 2 s, and go on.

    Its grace period has passed by then, and both peers are about to take the same trials.
    """
    idle, grace = 2.0, 5.0
    with Study(database, tmp_path, trials=3) as study:
        late = study.start("a", held=0, slots=4, heartbeat=BEAT, grace=grace, idle=idle)  # one slot keeps asking
        late.wait_for(" started ", count=3)
        peers = [study.start(name, slots=2, heartbeat=BEAT, grace=NEVER) for name in "bc"]
        searches = "SELECT value_json FROM study_user_attributes WHERE key = 'searches'"
        wait_until(lambda: study.sql(searches) == [("3",)], PATIENCE, "the peers have opened the study")
        waiting = "SELECT client_port, pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with psycopg.connect(database) as other:
            other.execute("SELECT * FROM studies FOR UPDATE")
            ports = {c.laddr.port for c in psutil.Process(late.process.pid).net_connections() if c.raddr}
            wait_until(lambda: ports & dict(study.sql(waiting)).keys(), PATIENCE, "a claim waits")
            late.send(signal.SIGSTOP)
            (claim,) = (pid for port, pid in study.sql(waiting) if port in ports)
            # Of each peer a claim and the reaper.
            wait_until(lambda: len(study.sql(waiting)) == 5, PATIENCE, "the peers find its trials expired")
        began = time.monotonic()
        connected = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: not study.sql(connected, claim), PATIENCE, "the server ends its transaction")
        seconds = time.monotonic() - began
        wait_until(lambda: study.finished() == 3, PATIENCE, "the peers finish the study")
        late.send(signal.SIGCONT)
        for machine in (late, *peers):
            machine.wait()
        trials = study.assert_exact()
        assert [t.number for t in trials if t.state == TrialState.FAIL] == [0, 1, 2]
        print(f"\na stopped process kept the study's lock for {seconds:.1f} s; limit {idle} s")
