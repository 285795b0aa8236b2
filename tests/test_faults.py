"""Whatever dies, stops or falls silent: every trial counts once. Supervisors as real processes on one PostgreSQL."""

import itertools
import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
import pytest
from optuna.trial import TrialState

from tests.conftest import wait_until
from tests.machines import Machine, Study, outage
from tests.postgres import Server

BEAT, GRACE = 1.0, 3.0  # seconds; what `search.settings` asks for at least


def lines(machine: Machine, text: str) -> list[str]:
    return [line for line in machine.output.splitlines() if text in line]


# The database


@pytest.mark.timeout(200)
def test_backends_are_terminated_and_the_server_restarts(server: Server, database: str, tmp_path: Path) -> None:
    """No supervisor ends, no trial is orphaned, lost or doubled, no acknowledged value is missing."""
    with Study(database, tmp_path, trials=80) as study:
        machines = [study.start(name, slots=2, seconds=0.25, grace=10) for name in "abcd"]
        for machine in machines:
            machine.wait_for("step")
        killed, until = 0, time.monotonic() + 12
        while time.monotonic() < until:
            killed += server.end_connections()
            time.sleep(0.2)
        for machine in machines:
            machine.assert_runs()
        after_storm = study.finished()
        with outage(server):  # "fast"
            pass
        wait_until(lambda: study.finished() >= after_storm + 8, 30, "trials finish after a restart")
        with outage(server, signal.SIGQUIT):  # "immediate": a crash
            pass
        assert study.finished() < 72, "too few trials to be disturbed to the end"
        for machine in machines:
            machine.wait(90)
        trials = study.assert_exact()
        assert not [t.number for t in trials if t.state == TrialState.FAIL]
        print(f"\n{killed} connections ended under 8 slots, {after_storm} of 80 trials finished by then")


@pytest.mark.timeout(120)
def test_runs_go_on_while_the_database_is_away(server: Server, database: str, tmp_path: Path) -> None:
    """For less than the grace period, and for longer: leases age only while somebody sees the database."""
    seconds, grace, outages = 0.4, 5.0, (4.0, 7.0)
    with Study(database, tmp_path, trials=12) as study:
        machines = [study.start(name, slots=2, seconds=seconds, grace=grace) for name in "ab"]
        for count, length in enumerate(outages, 1):
            for machine in machines:
                machine.wait_for(" started ", count=2 * count)
            with outage(server):
                time.sleep(length)
            for machine in machines:
                machine.wait_for("the database answers again", count=count)
        for machine in machines:
            machine.wait(60)
            assert len(lines(machine, "the database does not answer")) == len(outages)
            assert len(lines(machine, "the database answers again")) == len(outages)
        trials = study.assert_exact()
        assert not [t.number for t in trials if t.state == TrialState.FAIL]
        waits = []
        for trial in trials:
            measured = [0.0, *(e["seconds"] for e in trial.user_attrs["run"]["evaluations"])]
            # An evaluation lasts up to 2 `seconds`; a run that waited for the database would have one as long as it.
            assert max(b - a for a, b in itertools.pairwise(measured)) < 2 * seconds + 1.5
            assert trial.datetime_start and trial.datetime_complete
            waits.append((trial.datetime_complete - trial.datetime_start).total_seconds() - measured[-1])
        print(f"\nfrom a run's last evaluation to its end at most {max(waits):.1f} s; outages {outages}")
        assert max(waits) < max(outages) + 4


@pytest.mark.timeout(60)
def test_ctrl_c_during_an_outage_ends_the_search_with_one_line(server: Server, database: str, tmp_path: Path) -> None:
    with Study(database, tmp_path, trials=4) as study:
        machine = study.start(None, slots=2, seconds=0.3)
        machine.wait_for("step")
        with outage(server):
            machine.wait_for("the database does not answer")
            machine.send(signal.SIGINT)
            began = time.monotonic()
            machine.wait(20, code=2)
            seconds = time.monotonic() - began
        assert machine.output.splitlines()[-1].startswith("study.py: study.storage postgresql")
        assert machine.output.count("study.py: ") == 1
        assert seconds < 12
        again = study.start(None, slots=2, seconds=0.05)
        again.wait(30)
        trials = study.assert_exact()
        assert len([t for t in trials if t.state == TrialState.FAIL]) == 2
        print(f"\nended {seconds:.1f} s after Ctrl-C")


# A supervisor


@pytest.mark.timeout(60)
@pytest.mark.parametrize("visible", [False, True], ids=["another-machine", "this-machine"])
def test_the_trials_of_a_killed_supervisor_run_again(database: str, tmp_path: Path, visible: bool) -> None:
    """Within grace + 2 heartbeats where its processes are not seen, at once where they are; while the peer trains."""
    grace = 60.0 if visible else GRACE
    with Study(database, tmp_path, trials=3) as study:
        victim = study.start(None if visible else "a", "victim", slots=2, seconds=1.0, heartbeat=BEAT, grace=grace)
        victim.wait_for(" started ", count=2)
        peer = study.start(None if visible else "b", "peer", slots=3, seconds=0.5, heartbeat=BEAT, grace=grace)
        peer.wait_for("step")
        victim.wait_for("step", count=2)
        taken = study.running_of(victim)
        victim.kill()
        killed = datetime.now(UTC).replace(tzinfo=None)
        successors = [wait_until(lambda n=n: study.successor_of(n), 20, f"trial {n} runs again") for n in taken]
        seconds = [(s.datetime_start - killed).total_seconds() for s in successors]
        peer.wait(40)
        trials = study.assert_exact()
        assert [t.number for t in trials if t.state == TrialState.FAIL] == taken == [0, 1]
        assert max(seconds) < (BEAT + 1.5 if visible else GRACE + 2 * BEAT), seconds
        print(f"\nrun again {seconds} s after the kill; heartbeat {BEAT} s, grace {grace} s")


@pytest.mark.timeout(60)
def test_sigterm_hands_the_trials_to_the_peer_at_once(database: str, tmp_path: Path) -> None:
    with Study(database, tmp_path, trials=3) as study:
        leaving = study.start("a", slots=2, seconds=1.0, grace=60)
        leaving.wait_for(" started ", count=2)
        peer = study.start("b", slots=3, seconds=0.3, grace=60)
        peer.wait_for("step")
        leaving.wait_for("step", count=2)
        leaving.send(signal.SIGTERM)
        told = datetime.now(UTC).replace(tzinfo=None)
        leaving.wait(10)
        successors = [wait_until(lambda n=n: study.successor_of(n), 10, f"trial {n} runs again") for n in (0, 1)]
        seconds = [(s.datetime_start - told).total_seconds() for s in successors]
        peer.wait(40)
        trials = study.assert_exact()
        failed = {t.number: t.user_attrs["stop_reason"] for t in trials if t.state == TrialState.FAIL}
        assert failed == {0: "stopped_by_user", 1: "stopped_by_user"}
        assert max(seconds) < 4, seconds
        print(f"\nrun again {seconds} s after SIGTERM")


@pytest.mark.timeout(90)
def test_a_supervisor_that_was_stopped_drops_what_was_taken(database: str, tmp_path: Path) -> None:
    with Study(database, tmp_path, trials=14) as study:
        late = study.start("a", slots=1, seconds=0.5, heartbeat=BEAT, grace=GRACE)
        peer = study.start("b", slots=2, seconds=0.2, heartbeat=BEAT, grace=GRACE)
        for machine in (late, peer):
            machine.wait_for("step")
        (number,) = study.running_of(late)
        children = late.children()
        late.send(signal.SIGSTOP)
        began = time.monotonic()
        successor = wait_until(lambda: study.successor_of(number), 30, "the trial runs again")
        seconds = time.monotonic() - began
        late.send(signal.SIGCONT)
        late.wait_for(f"trial {number}  preempted  taken by another search meanwhile")
        assert not psutil.wait_procs(children, timeout=10)[1]
        for machine in (late, peer):
            machine.wait(40)
        trials = study.assert_exact()
        assert [t.number for t in trials if t.state == TrialState.FAIL] == [number]
        assert trials[number].user_attrs["stop_reason"] == "preempted"
        assert trials[successor.number].user_attrs["run"]
        assert " started " in late.output.split("taken by another search")[1], "it goes on with other trials"
        print(f"\nrun again {seconds:.1f} s after SIGSTOP; heartbeat {BEAT} s, grace {GRACE} s")


@pytest.mark.timeout(90)
def test_a_supervisor_that_was_stopped_while_it_asked_goes_on(database: str, tmp_path: Path) -> None:
    """Between the claim and the parameters: sampling takes time in a large study."""
    with Study(database, tmp_path, trials=6) as study:
        late = study.start("a", slots=1, seconds=0.1, heartbeat=BEAT, grace=GRACE, think=1.5)
        wait_until(lambda: study.running_of(late), 20, "the first claim")
        late.send(signal.SIGSTOP)
        peer = study.start("b", slots=1, seconds=0.2, heartbeat=BEAT, grace=GRACE)
        wait_until(lambda: study.successor_of(0), 30, "the trial runs again")
        late.send(signal.SIGCONT)
        for machine in (late, peer):
            machine.wait(40)
        study.assert_exact()


@pytest.mark.timeout(90)
def test_a_stopped_process_keeps_the_lock_on_the_study_for_seconds_only(database: str, tmp_path: Path) -> None:
    """In the middle of a claim: peers wait for the server's limit on idle transactions, here 6 s, and go on.

    By then the grace period has passed, and both peers are about to take the same trials.
    """
    idle = 6.0
    with Study(database, tmp_path, trials=3) as study:
        options = {"heartbeat": BEAT, "grace": GRACE, "idle": idle}
        late = study.start("a", slots=4, seconds=30.0, **options)  # one slot keeps asking; no run ends by itself
        late.wait_for(" started ", count=3)
        peers = [study.start(name, slots=2, seconds=0.1, **options) for name in "bc"]
        searches = "SELECT value_json FROM study_user_attributes WHERE key = 'searches'"
        wait_until(lambda: study.sql(searches) == [("3",)], 20, "the peers have opened the study")
        mine = "SELECT count(*) FROM pg_stat_activity WHERE client_port = ANY(%s)"
        with psycopg.connect(database) as other:
            other.execute("SELECT * FROM studies FOR UPDATE")
            ports = [c.laddr.port for c in psutil.Process(late.process.pid).net_connections() if c.raddr]
            wait_until(lambda: study.sql(f"{mine} AND wait_event_type = 'Lock'", ports) != [(0,)], 10, "a claim waits")
            late.send(signal.SIGSTOP)
        held = f"{mine} AND state = 'idle in transaction'"
        wait_until(lambda: study.sql(held, ports) != [(0,)], 5, "it has the lock")
        began = time.monotonic()
        wait_until(lambda: study.sql(held, ports) == [(0,)], 20, "the lock is free")
        seconds = time.monotonic() - began
        wait_until(lambda: study.finished() == 3, 30, "the peers finish the study")
        late.send(signal.SIGCONT)
        for machine in (late, *peers):
            machine.wait(30)
        trials = study.assert_exact()
        assert [t.number for t in trials if t.state == TrialState.FAIL] == [0, 1, 2]
        assert seconds < idle + 2
        print(f"\na stopped process kept the study's lock for {seconds:.1f} s; limit {idle} s")


@pytest.mark.timeout(200)
def test_supervisors_are_killed_at_random(database: str, tmp_path: Path) -> None:
    """Also while they take the trials of those killed before. Each is started again at once."""
    draw = random.Random(5)
    options = {"slots": 2, "seconds": 0.05, "heartbeat": 0.3, "grace": 1.0}
    with Study(database, tmp_path, trials=30, retries=1) as study:
        machines = {name: study.start(name, **options) for name in "abc"}
        machines["a"].wait_for("step")
        kills, until = 0, time.monotonic() + 15
        while time.monotonic() < until:
            time.sleep(draw.uniform(0, 0.7))
            name = draw.choice("abc")
            if " started " not in machines[name].output and draw.random() < 0.8:
                continue  # most are killed at work, some while they start
            if machines[name].process.poll() is None:
                machines[name].kill()
                kills += 1
            machines[name] = study.start(name, **options)
        machines["a"].wait(90)
        for name in "bc":
            machines[name].wait(30)
        trials = study.assert_exact(baselines=None)
        failed = [t for t in trials if t.state == TrialState.FAIL]
        assert failed
        attempts = max(t.user_attrs.get("attempt", 0) for t in trials)
        print(f"\n{kills} kills survived, {len(failed)} trials failed by them, at most {attempts} attempts a trial")
