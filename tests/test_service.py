"""Several machines search one study on one PostgreSQL: supervisors as real processes, whole and undisturbed."""

import json
import math
import re
import signal
import time
from pathlib import Path

from optuna.trial import TrialState

from tests.conftest import wait_until
from tests.machines import PATIENCE, Machine, Study
from tests.postgres import ESCAPED, PASSWORD, Server
from tests.test_search import SHORT


def test_four_machines_make_exactly_100_trials(database: str, tmp_path: Path) -> None:
    with Study(database, tmp_path, trials=100) as study:
        machines = [study.start(name, held=0, slots=2, seconds=0.005) for name in "abcd"]
        for machine in machines:
            machine.wait_for(" started ", count=2)
        for machine in machines:
            machine.release()
        most = 0
        while any(machine.process.poll() is None for machine in machines):
            most = max(most, study.taken())
            time.sleep(0.1)
        for machine in machines:
            machine.wait()
        assert not [t for t in study.assert_exact() if t.state == TrialState.FAIL]
        assert most <= 100
        assert min(len(re.findall(r"  started  ", machine.output)) for machine in machines) >= 3


def test_two_searches_share_a_study_through_the_command_line(server: Server, tmp_path: Path) -> None:
    """Stub runs on an empty database: an exact total, one best trial, other settings refused, no password."""
    database = server.empty_database()
    command = ["-m", "tests.stub_study", "--storage", database, "--trials", "4", "--workers", "1", *SHORT]
    with Study(database, tmp_path, trials=4) as study:
        machines = [study.add(Machine(command, tmp_path / name, STUB_SECONDS="0.05")) for name in ("one", "two")]
        # Who is ready first is stopped until the other has a trial, too.
        first = wait_until(lambda: next((m for m in machines if " started " in m.output), None), PATIENCE, "a trial")
        first.send(signal.SIGSTOP)
        for machine in machines:
            machine.wait_for(" started ")
        first.send(signal.SIGCONT)
        for machine in machines:
            machine.wait()
        trials = study.trials()
        assert [t.number for t in trials] == list(range(4))
        assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}

        other = study.add(Machine([*command, "--set", "training.batch_size=6", "--seed", "2"], tmp_path / "three"))
        other.wait(code=2)
        refusal = other.output[other.output.index("study.py: ") :].splitlines()
        assert "was made with other settings" in refusal[0]
        assert sorted(line.split(":")[0].strip() for line in refusal[1:]) == ["batch_size", "seed"]
        assert "  batch_size: 4 there, 6 here" in refusal

    best = min((t for t in trials if t.state == TrialState.COMPLETE), key=lambda trial: trial.value or math.inf)
    folders = [tmp_path / name for name in ("one", "two")]
    exports = [json.loads((f / "runs/miniature/best_config.json").read_text()) for f in folders]
    assert {(e["evidence"]["trial"], e["evidence"]["value"]) for e in exports} == {(best.number, best.value)}
    assert sum(len(list(f.glob("runs/miniature/trials/*"))) for f in folders) == 4  # each trial on one of them

    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 10
    for file in (*files, server.log):
        content = file.read_bytes()
        assert PASSWORD.encode() not in content and ESCAPED.encode() not in content, file
