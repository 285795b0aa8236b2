"""Pause, resume and stop from another machine: what each search of a study does then. Real processes on PostgreSQL."""

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.errors import BUDGET_SPENT
from search.settings.sections import CONFIRMATION, Service
from search.study import storage
from search.study.control import ATTRIBUTE, NOTHING_SAID, Control, read
from search.study.leases import Leases
from search.study.listing import ASKED, ENDED
from tests import studies
from tests.conftest import wait_until
from tests.in_process import StudyPy, in_process
from tests.ledgers import OWNER, founded, states
from tests.machines import PATIENCE, Machine, Study, assert_whole
from tests.stub_confirm import searched
from tests.stub_study import stub

NEVER = 3600.0  # seconds of grace
HELD = 3  # evaluations after which the runs wait


@pytest.fixture
def study_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> StudyPy:
    """Of the study "miniature", on a machine that searches nothing."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    stub(monkeypatch.setattr)
    return in_process(folder, monkeypatch, capfd)


def told(study_py: StudyPy, *arguments: str) -> str:
    code, out, err = study_py(*arguments)
    assert (code, err) == (0, "")
    return out


def refused(study_py: StudyPy, *arguments: str, code: int = 2) -> str:
    ended, out, err = study_py(*arguments)
    assert (ended, out, err.count("\n")) == (code, "", 1), (out, err)
    return err


def at_work(machine: Machine, runs: int, before: int = 0) -> None:
    """Waits until so many runs have begun since `before` others and each waits after its evaluations."""
    machine.wait_for(" started ", count=before + runs)

    def held() -> bool:
        numbers = re.findall(r"trial (\d+).* started ", machine.output)[before:]
        return all(len(re.findall(rf"trial {n}  step ", machine.output)) == HELD for n in numbers)

    wait_until(held, PATIENCE, "each run waits")


def test_machines_pause_resume_and_stop_together(database: str, tmp_path: Path, study_py: StudyPy) -> None:
    """Paused, runs go on to their ends and no other starts; stopped at once, they are queued again. Nothing is lost."""
    where = ("--storage", database)
    opened = storage.open_storage(database)
    optuna.create_study(study_name="theirs", storage=opened)
    opened.engine.dispose()
    assert "was not made by xtts-study" in refused(study_py, "stop", "--study", "theirs", *where)
    with Study(database, tmp_path, trials=4) as study:
        machines = [study.start(name, held=HELD, slots=1, grace=NEVER) for name in "ab"]
        for machine in machines:
            at_work(machine, 1)
        theirs, ours = json.loads(told(study_py, "list", "--json", *where))
        assert (theirs["state"], theirs["silent_seconds"]) == ("of another tool", None)
        assert (ours["state"], ours["running"], ours["machines"]) == ("running", 2, 2)
        lines = told(study_py, "list", *where).splitlines()
        assert re.match(r"miniature +running +0 +2 +[\d ms]+ ago *$", lines[-1]), lines
        assert "the study is paused (on " in told(study_py, "pause", *where)
        for machine in machines:
            machine.wait_for("the study is paused (on ")
            machine.release()
        wait_until(lambda: study.finished() == 2, PATIENCE, "the runs go on to their ends")

        def waiting() -> bool:
            ours = json.loads(told(study_py, "list", "--json", *where))[1]
            return (ours["state"], ours["running"], ours["machines"]) == ("paused", 0, 2)

        wait_until(waiting, PATIENCE, "both machines wait")
        for machine in machines:
            machine.hold(HELD)
        assert "the study goes on (on " in told(study_py, "resume", *where)
        for machine in machines:
            machine.wait_for("the study goes on")
            at_work(machine, 1, before=1)
            paused, resumed = (machine.output.index(words) for words in ("is paused (", "goes on ("))
            assert " started " not in machine.output[paused:resumed]
            assert machine.output.count("the study is paused (") == 1
        assert "was stopped at once (on " in told(study_py, "stop", "--now", *where)
        for machine in machines:
            machine.wait(code=3)
            machine.release()
        reasons = [t.user_attrs["stop_reason"] for t in study.trials() if t.state == TrialState.FAIL]
        assert reasons == ["stopped_by_user"] * 2
        assert "started again by the same command" in told(study_py, "resume", *where)
        study.start("a", slots=2).wait()
        study.assert_exact()


def test_a_trial_that_is_stopped_by_name_keeps_its_best_evaluation(
    database: str, tmp_path: Path, study_py: StudyPy
) -> None:
    """One that has evaluations, and one that has none yet. Then a stop lets the others run to their ends."""
    where = ("--storage", database)
    with Study(database, tmp_path, trials=6) as study:
        machine = study.start("a", held=HELD, slots=2, grace=NEVER)
        at_work(machine, 2)
        peer = study.start("b", held=0, slots=2, grace=NEVER)
        peer.wait_for(" started ", count=2)
        (stock, known), (new, other) = study.running_of(machine), study.running_of(peer)
        assert "trial 0 runs the stock recipe" in refused(study_py, "stop", str(stock), *where)
        assert "no trial 99" in refused(study_py, "stop", "99", *where)
        assert told(study_py, "stop", str(known), *where).endswith(" ends now, and keeps its best evaluation\n")
        assert "ends after its first evaluation" in told(study_py, "stop", str(new), *where)
        machine.wait_for(f"trial {known}  stopped_by_name  best ")
        peer.release(new)
        peer.wait_for(f"trial {new}  stopped_by_name  best ")
        assert "has ended (stopped_by_name)" in refused(study_py, "stop", str(known), *where)
        at_work(machine, 1, before=2)
        peer.wait_for(" started ", count=3)
        told(study_py, "stop", *where)
        for each in (machine, peer):
            each.wait_for("the study was stopped (")
            each.release()
            each.wait(code=3)
        trials = study.trials()
        assert [t.state for t in trials if t.state not in (TrialState.COMPLETE, TrialState.PRUNED)] == []
        assert len(trials) == 6 and trials[other].user_attrs["stop_reason"] != "stopped_by_name"
        assert len(trials[known].system_attrs["run"]["evaluations"]) == HELD
        for trial in trials:
            assert_whole(trial)


def test_a_confirmation_obeys_what_its_search_is_told(database: str, tmp_path: Path, study_py: StudyPy) -> None:
    (tmp_path / "shared").mkdir()
    settings = searched(studies.miniature(tmp_path / "shared", {"study.storage": database}))
    told(study_py, "pause", "--storage", database)
    (tmp_path / "a").mkdir()
    command = ["-m", "tests.stub_confirm", database, ".", "a"]
    machine = Machine(command, tmp_path / "a")
    try:
        wait_until(lambda: storage.exists(settings, CONFIRMATION), PATIENCE, "a confirmation")
        runs = storage.load_study(settings, CONFIRMATION)
        wait_until(lambda: runs.get_trials(deepcopy=False), PATIENCE, "queued runs")
        told(study_py, "stop", "--storage", database)
        machine.wait()
    finally:
        machine.kill()
    assert machine.output.splitlines()[-1] == "stopped"
    assert {trial.state for trial in runs.get_trials()} == {TrialState.WAITING}
    assert listed(study_py, database) == [("miniature", None, "stopped"), ("miniature.confirm", "miniature", "stopped")]
    code, _, err = study_py("confirm", "--storage", database)
    assert code == 3 and "study.py resume lifts the stop" in err

    told(study_py, "resume", "--storage", database)
    assert listed(study_py, database)[1][2] == "idle"
    again = Machine(command, tmp_path / "a")
    try:
        again.wait()
    finally:
        again.kill()
    assert listed(study_py, database)[1][2] == "done"


def listed(study_py: StudyPy, database: str) -> list[tuple[str, str | None, str]]:
    rows = json.loads(told(study_py, "list", "--json", "--storage", database))
    return [(row["study"], row["confirms"], row["state"]) for row in rows]


def test_no_claim_is_given_once_the_study_is_paused(either: str) -> None:
    """From the commit on, whatever a machine has read before; a look tells it where no trial runs, too."""
    ledger = founded(storage.open_storage(either), [({"lr": 0.1}, {})])
    confirmation = type(ledger)(ledger._storage, founded(ledger._storage, [], "confirm").study_id, ledger.study_id)
    ledger.steer(lambda said: said.told("paused"))
    for each in (ledger, confirmation):
        claim = each.claim(9, OWNER)
        assert (claim.trial_id, claim.control.state) == (None, "paused")
        assert each.look()[0].state == "paused"
    assert states(ledger) == "W" and states(confirmation) == ""
    ledger.steer(lambda said: said.told("running"))
    assert ledger.claim(9, OWNER).trial_id is not None
    assert states(ledger) == "R"


def test_an_older_reading_changes_nothing(either: str) -> None:
    """A claim and the reaper read at the same time."""
    ledger = founded(storage.open_storage(either), [])
    leases = Leases(ledger, Service(), 2, print)
    before, _ = ledger.look()
    ledger.steer(lambda said: said.told("paused"))
    leases.claim(9)
    leases._hear(before)
    assert leases.control.state == "paused"


@pytest.mark.parametrize("words", ["nothing", '"paused"', '{"state": "frozen"}', '{"state": "paused", "cuts": 3}'])
def test_what_another_release_told_is_passed_over(words: str) -> None:
    assert read(words) == NOTHING_SAID
    assert read('{"state": "paused", "until": 3}') == Control("paused")


# Exit codes, and what is shown


def test_what_somebody_wrote_into_the_database_does_nothing_to_a_terminal(study_py: StudyPy, tmp_path: Path) -> None:
    """Nor does it hide the other studies."""
    harmful = "\x1b]0;harmed\x07\x1b[31m[red]<b>{0}%s\n../x\u202e"
    settings = studies.miniature(tmp_path)
    study = studies.new_study(settings)
    studies.run(study, studies.FLAT, [4.5, 4.25])
    trial = study.ask()
    for name in ("baseline", "stop_reason", harmful):
        trial.set_user_attr(name, harmful)
    study.tell(trial, 4.1)
    opened = storage.open_storage(settings.storage_url)
    opened.set_study_system_attr(1, ATTRIBUTE, {"state": "paused", "place": harmful, "at": harmful})
    for number, odd in enumerate([[1], {"confirms": [2]}, {"confirms": "../../x"}]):
        other = optuna.create_study(study_name=f"{harmful}{number}", storage=opened)
        other.set_user_attr("fingerprint", odd)
        for name in (ASKED, ENDED):
            other.set_user_attr(name, odd)
    where = ("--storage", settings.storage_url)
    shown = [told(study_py, "list", *where), told(study_py, "status", *where), refused(study_py, "stop", "1", *where)]
    assert all("\\x1b]0;harmed\\x07\\x1b[31m[red]" in text for text in shown)
    assert all(line.isprintable() for text in shown for line in text.splitlines())
    assert "../x" in refused(study_py, "status", "--study", "../x", *where)


def last_event(out: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(out.splitlines()[-1])
    return event


def test_what_a_search_does_on_a_study_that_was_told_something(study_py: StudyPy, tmp_path: Path) -> None:
    """Exit codes tell whether to try again: 76 after a pause, not 3 before a resume. `list` and `status` say why."""
    assert "study 'miniature' does not exist" in refused(study_py, "pause")
    assert told(study_py, "list") == "The database has no study.\n"
    study = studies.new_study(studies.miniature(tmp_path / "elsewhere"))
    studies.run(study, studies.FLAT, [4.5, 4.25], baseline="V0")

    told(study_py, "pause")
    paused = ("--trials", "3", "--workers", "1", "--set", "service.pause_minutes=0")
    code, out, _ = study_py("--json", *paused)
    assert (code, last_event(out)["event"], last_event(out)["exit_code"]) == (76, "stopped", 76)
    assert '"started"' not in out and "the study is paused (on " in out
    assert " paused " in told(study_py, "list") and "the study is paused (on " in told(study_py, "status")

    told(study_py, "stop")
    code, out, err = study_py("--json", "--trials", "3", "--workers", "1")
    assert (code, last_event(out)) == (3, {**last_event(out), "event": "stopped", "exit_code": 3})
    assert "study.py: the study was stopped (on " in err.splitlines()[-1]
    (row,) = json.loads(told(study_py, "list", "--json"))
    assert (row["state"], row["asked"], row["told"]["now"]) == ("stopped", 3, False)

    told(study_py, "resume")
    assert study_py("--trials", "3", "--workers", "1")[0] == 0
    (row,) = json.loads(told(study_py, "list", "--json"))
    known = {"study": "miniature", "state": "done", "finished": 3, "asked": 3, "machines": 0, "told": None}
    assert known.items() <= row.items() and row["best"]["value"] > 0
    assert study_py("--trials", "9", "--gpu-hours", "1e-9")[0] == BUDGET_SPENT
    assert " budget spent " in told(study_py, "list")
    assert study_py("--trials", "4", "--workers", "1")[0] == 0 and " done " in told(study_py, "list")
