"""A study ends by its caps: which runs start, which are cut, and what is said. Runs do not train."""

import json
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest

from search.commands.news import News
from search.commands.notify import Post
from search.errors import BUDGET_SPENT
from search.pages import material
from search.pages.notes import search_note
from search.settings.moment import moment
from search.settings.sections import CONFIRMATION
from search.settings.settings import Settings
from search.study import spending, storage
from search.study.findings import Findings, read
from search.study.leases import Leases
from search.study.ledger import Ledger
from search.trial import StopReason
from search.workers.budget import Budget, search_budget, share
from search.workers.cost import Cost, pace
from search.workers.events import Standing, View
from search.workers.outlook import expected, expected_share, forecast, to_come
from search.workers.scoreboard import Board
from tests.in_process import in_process
from tests.ledgers import OWNER
from tests.machines import Study
from tests.stub_study import stub
from tests.studies import FLAT, PREPARED, miniature, new_study, run, set_document

WHOLE = 40.0  # seconds of a slot for a whole run of the studies below
PARTS = [Cost("search", 4, 800, 40, 4), Cost("race", 2, 2000, 40, 2)]


class Told(View):
    """What a budget has told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.standings: list[Standing] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def budget(self, standing: Standing) -> None:
        self.standings.append(standing)


def measured(tmp_path: Path, gpus: float = 0.0, runs: int = 1, **given: Any) -> tuple[Settings, optuna.Study]:
    """A study of which so many runs have told that a whole one takes 40 s: 1 of set-up, 30, 6, and 3 besides."""
    settings = miniature(tmp_path, {f"study.{name}": value for name, value in given.items()})
    study = new_study(settings)
    owner = {**OWNER, "gpus": gpus}
    for _ in range(runs):
        run(study, FLAT, [4.0] * 10, attributes={"slot_seconds": WHOLE, "owner": owner})
    return settings, study


def opened(
    settings: Settings, gpus: float = 0.0, costs: list[Cost] | None = None, view: View | None = None
) -> tuple[Budget, Leases]:
    """The budget of a machine with one slot, on a CPU or on a GPU."""
    database = storage.open_storage(settings.storage_url)
    ledger = Ledger(database, database.get_study_id_from_name(settings.study.name))
    devices = ["GPU-1"] if gpus else [None]
    budget = search_budget(settings, database, PREPARED, devices, costs or [], view or View())
    assert budget
    return budget, Leases(ledger, settings.service, 0, print, gpus)


def capped(seconds: float) -> dict[str, float]:
    return {"gpu_hours": seconds / 3600}


@pytest.mark.parametrize(
    ("runs", "cap", "started"),
    [
        (1, 79.9, 0),
        (1, 80.1, 1),  # what was spent and a whole run
        (1, 119.9, 1),
        (1, 121.0, 2),  # the running one counts as a whole
        (3, 121.0, 0),
        (0, 0.1, 1),  # nothing is measured: one at a time
        (0, 1e6, 1),
    ],
)
def test_runs_start_as_long_as_they_can_end_within_the_cap(runs: int, cap: float, started: int, tmp_path: Path) -> None:
    settings, _ = measured(tmp_path, runs=runs, **capped(cap))
    budget, leases = opened(settings)
    claims = [budget.claim(leases, 40) for _ in range(started + 1)]
    assert [claim.trial_id is not None for claim in claims] == [True] * started + [False]
    assert budget.refused and budget.is_over == (started == 0)
    assert {claim.finished for claim in claims} == {runs}


def test_only_what_was_asked_for_is_missing(tmp_path: Path) -> None:
    """A search that has its number was not ended by its budget."""
    settings, _ = measured(tmp_path, **capped(1))
    budget, leases = opened(settings)
    assert budget.claim(leases, 1).trial_id is None and budget.refused is None and not budget.is_over


def test_gpus_and_slots_of_cpus_are_not_added(tmp_path: Path) -> None:
    settings, _ = measured(tmp_path, gpus=1.0, runs=2, **capped(81))
    assert opened(settings, gpus=1.0)[0].claim(opened(settings, gpus=1.0)[1], 40).trial_id is None
    budget, leases = opened(settings)
    assert budget.claim(leases, 40).trial_id is not None, "no slot of a CPU has been used yet"


def test_a_share_is_kept_for_the_confirmation(tmp_path: Path) -> None:
    """At its most: 2,000 steps at 0.15 s, 40 evaluations at 0.6 s, two set-ups of 4 s."""
    kept = 300 + 24 + 8
    settings, _ = measured(tmp_path, **capped(2 * WHOLE + kept - 1))
    budget, leases = opened(settings, costs=PARTS)
    assert budget.claim(leases, 40).trial_id is None
    assert budget.refused == (
        "the budget is spent: 0.0111 of 0.114 slot h; a trial takes 0.0111, 0.0922 are kept for the confirmation;"
        " finished trials: 1; the same command with more --gpu-hours goes on"
    )
    assert opened(settings)[0].claim(leases, 40).trial_id is not None, "without a confirmation there is room"


def test_a_share_that_was_spent_is_not_kept_again(tmp_path: Path) -> None:
    """Of a search that goes on after a part of its confirmation has run."""
    settings, _ = measured(tmp_path, **capped(WHOLE + 332 + 39))
    assert opened(settings, costs=PARTS)[0].is_spent is False
    budget, leases = opened(settings, costs=PARTS)
    assert budget.claim(leases, 40).trial_id is None, "a whole run does not fit"
    name = settings.study.name + CONFIRMATION
    full = optuna.create_study(study_name=name, storage=storage.open_storage(settings.storage_url))
    for seconds, reason in ((100.0, "finished"), (2.0, "crashed")):  # what was wasted is still to be paid
        trial = full.ask()
        for key, value in {"slot_seconds": seconds, "stop_reason": reason}.items():
            trial.set_user_attr(key, value)
        set_document(trial, "owner", {**OWNER, "gpus": 0.0})
        full.tell(trial, 1.0)
    assert budget.claim(leases, 40).trial_id is None, "nor with what was wasted"
    assert budget.refused and "0.0108 of" not in budget.refused and "0.0644 are kept for the" in budget.refused
    settings = settings.model_copy(
        update={"study": settings.study.model_copy(update={"gpu_hours": (2 * WHOLE + 335) / 3600})}
    )
    assert opened(settings, costs=PARTS)[0].claim(leases, 40).trial_id is not None


def test_where_a_budget_stands_is_told_when_it_changes(tmp_path: Path) -> None:
    """Not with each look at it, once a second."""
    settings, _ = measured(tmp_path, **capped(2 * WHOLE + 5))
    view = Told()
    budget, leases = opened(settings, view=view)
    for _ in range(4):
        budget.claim(leases, 40)
    start, refused = view.notes
    assert start == "budget: 0.0111 of 0.0236 slot h are spent"
    assert refused.startswith("no further trial starts now: the budget is spent: ")
    assert [(each.spent, each.cap, each.unit) for each in view.standings[:1]] == [(40 / 3600, 85 / 3600, "slot h")]
    assert [each.refused is not None for each in view.standings] == [False, False, True]


@pytest.mark.parametrize(("seconds", "starts"), [(-1, False), (WHOLE - 5, False), (WHOLE + 60, True)])
def test_a_run_starts_that_ends_in_time(seconds: float, starts: bool, tmp_path: Path) -> None:
    until = (datetime.now() + timedelta(seconds=seconds)).isoformat()
    settings, _ = measured(tmp_path, until=until)
    budget, leases = opened(settings)
    assert (budget.claim(leases, 40).trial_id is not None) == starts
    assert budget.is_spent == (seconds < 0)
    assert starts or (budget.refused or "").startswith("the time is over: a trial takes 40 s, and study.until is 20")


def test_a_cap_that_is_reached_ends_runs(tmp_path: Path) -> None:
    assert not opened(measured(tmp_path, **capped(WHOLE + 5))[0])[0].is_spent
    (tmp_path / "less").mkdir()
    assert opened(measured(tmp_path / "less", **capped(WHOLE - 5))[0])[0].is_spent


def test_two_machines_do_not_take_the_last_room_both(tmp_path: Path) -> None:
    """A claim that was decided on before a peer's is not granted."""
    settings, _ = measured(tmp_path, **capped(2 * WHOLE + 1))
    (budget, leases), (other, others) = opened(settings), opened(settings)
    asked = leases.claim

    def late(total: int | None, known: int | None = None) -> Any:
        if other.claim(others, total).trial_id is None:
            assert other.refused
        return asked(total, known)

    leases.claim = late  # type: ignore[method-assign]
    assert budget.claim(leases, 40).trial_id is None
    assert sum(t.state == optuna.trial.TrialState.RUNNING for t in storage.load_study(settings).get_trials()) == 1


def test_a_slot_has_its_part_of_the_gpus() -> None:
    assert [share([None]), share(["a"]), share(["a", "a"]), share(["a", "b", "a"])] == [0, 1, 0.5, 2 / 3]


def test_what_is_to_come_is_told_in_hours_of_gpus_and_of_the_clock(tmp_path: Path) -> None:
    settings, study = measured(tmp_path, gpus=0.5, trials=5)
    found = read(study)
    known = pace(found.rows)
    assert known and (known.set_up, known.step, known.evaluation) == pytest.approx((4, 0.15, 0.6))

    def told(found: Findings) -> str:
        return expected(forecast(settings, PARTS, found, 2, 0.5), "GPU h") or ""

    # Half of a race's most steps, and all of the trials that start before the median rule acts.
    assert told(found) == (
        "expected: search 0.0222 GPU h, 1 m 20 s; race 0.0236 GPU h, 1 m 25 s; 0.0458 GPU h, 2 m 45 s in all"
    )
    [line] = to_come(settings, found, is_confirming=False)
    assert line.startswith("Expected yet: 0.0222 GPU h for the rest of the search, ")
    assert to_come(settings, found, is_confirming=True) == ["Expected yet: 0.0222 GPU h for the rest of the search."]
    note = search_note(material.read(settings))
    assert "* 1 run spent 0.00556 GPU h; by stop reason finished 0.00556 GPU h" in note and f"* {line[:45]}" in note
    run(study, FLAT, [4.0] * 5, StopReason.MEDIAN, attributes={"slot_seconds": 25.0, "owner": {**OWNER, "gpus": 0.5}})
    # 0.225 s a step, 0.9 an evaluation, 2 of set-up.
    assert "search 0.0311 GPU h" in told(read(study))
    for _ in range(5):
        run(study, FLAT, [4.0] * 10)
    # The rule acts: 0.15 s a step, 0.6 an evaluation, 1 of set-up, and 0.55 of the steps of four trials.
    assert f"search {(4 + 0.55 * (120 + 24)) / 7200:.3g} GPU h" in told(read(study))
    for _ in range(6):  # that made a tenth of their steps count as much as the recorded 0.55
        run(study, FLAT, [4.0], StopReason.MEDIAN)
    steps = expected_share(PARTS[0], settings, read(study))
    assert steps == pytest.approx((0.55 + 0.1) / 2)


def test_a_telephone_hears_that_a_budget_ended_the_work() -> None:
    """Of a search and of a confirmation, with what was spent and why no run starts; a stop by hand is no news."""
    sent: list[tuple[str, ...]] = []
    news = News(cast(Post, SimpleNamespace(send=lambda *given: sent.append(given))), Board(), "mine")
    ended = {"of": "confirmation", "spent": {"gpu_hours": 39.5, "slot_hours": 0}, "over_budget": "the budget is spent"}
    news.over("stopped", {**ended, "exit_code": BUDGET_SPENT})
    news.over("stopped", {**ended, "exit_code": 130, "over_budget": None})
    [(title, text, _)] = sent
    assert title == "mine: confirmation ended by its budget"
    assert text.startswith("Spent: 39.5 GPU h. Runs are missing: the budget is spent. (")


NOON = datetime(2026, 12, 1, 12)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("18:00", datetime(2026, 12, 1, 18)),
        ("9:30", datetime(2026, 12, 2, 9, 30)),
        ("12:00", datetime(2026, 12, 2, 12)),
        ("+90m", datetime(2026, 12, 1, 13, 30)),
        ("+1.5h", datetime(2026, 12, 1, 13, 30)),
        ("+2d", datetime(2026, 12, 3, 12)),
        ("2026-12-24T18:00", datetime(2026, 12, 24, 18)),
        ("2026-12-24 18:00", datetime(2026, 12, 24, 18)),
    ],
)
def test_a_time_may_be_given_in_many_ways(text: str, meant: datetime) -> None:
    told = moment(text, NOON)
    assert datetime.fromisoformat(told) == meant.astimezone()
    assert moment(told, NOON) == told, "a settings file that was written back means the same"


@pytest.mark.parametrize("text", ["soon", "25:00", "+6", "+1e9h", "6h", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"18:00.*\+6h.*2026-12-01T18:00"):
        moment(text, NOON)


def test_the_cap_holds_over_machines_of_which_one_dies(database: str, tmp_path: Path) -> None:
    """Runs that take longer than those before told are cut at their next evaluation; a larger cap goes on."""
    cap = 60.0  # slot seconds
    with Study(database, tmp_path, trials=3) as study:
        study.start("a", slots=1, seconds=0.02, cap=cap).wait()
        study.total = 200
        dying = study.start("b", slots=2, seconds=6, cap=cap)  # a run alone takes the cap
        dying.wait_for(" started ")
        dying.kill()
        for machine in [study.start(name, slots=2, seconds=6, cap=cap) for name in "cde"]:
            machine.wait(code=BUDGET_SPENT)
            assert "the budget is spent: " in machine.output.splitlines()[-1]
        trials = study.trials()
        runs = spending.ended(trials)
        dead = [r for r in runs if r.reason == StopReason.PREEMPTED]
        cut = [r.trial for r in runs if r.reason == StopReason.STOPPED_BY_USER]
        assert dead and cut
        longest = max(max(_gaps(trials[r.trial], r.seconds)) for r in runs if r not in dead)
        spent = spending.total(runs).cpu
        assert cap / 2 < spent <= cap + 6 * longest
        assert {t.user_attrs["retry_of"] for t in trials if t.state.name == "WAITING"} >= set(cut[-1:])
        study.total = study.finished() + 2
        more = study.start("f", slots=2, seconds=0.01, cap=2 * cap + 60)
        more.wait()
        assert study.finished() == study.total


def _gaps(trial: optuna.trial.FrozenTrial, seconds: float) -> list[float]:
    """Between the evaluations of a run, its start and its end."""
    told = [e["seconds"] for e in trial.system_attrs["run"]["evaluations"]]
    return [b - a for a, b in pairwise([0.0, *told, seconds])]


def test_commands_say_that_the_budget_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With an exit code of its own, and what there is exported. A larger budget goes on."""
    stub(monkeypatch.setattr)
    study_py = in_process(tmp_path, monkeypatch, capfd)
    code, out, _ = study_py("--trials", "2", "--gpu-hours", "100")
    assert code == 0 and "budget: 0 of 100 slot h are spent; one trial at a time until one has shown" in out
    code, out, err = study_py("--trials", "3", "--gpu-hours", "1e-9")
    assert (code, err) == (BUDGET_SPENT, "")
    assert "Exported (not confirmed" in out and "2 runs spent " in out
    assert "Trials are missing: the budget is spent: " in out and "finished trials: 2" in out
    code, out, _ = study_py("--json", "--trials", "3", "--gpu-hours", "1e-9")
    found = [json.loads(line) for line in out.splitlines()]
    why = found[-1]["over_budget"]
    assert (code, found[-1]["of"]) == (BUDGET_SPENT, "search") and why.startswith("the budget is spent: ")
    assert found[-1]["spent"]["slot_hours"] > 0 == found[-1]["spent"]["gpu_hours"]
    [forecast] = [event for event in found if event["event"] == "forecast"]
    assert [(part["part"], part["runs"]) for part in forecast["parts"]] == [("search", 1)]
    assert forecast["parts"][0]["most"] is None, "stub runs do not tell how long they take"
    first, last = [event for event in found if event["event"] == "budget"]
    assert (first["cap"], first["unit"], first["refused"], last["refused"]) == (1e-9, "slot h", None, why)
    code, out, _ = study_py("confirm", "--until", "2026-01-01")
    assert code == BUDGET_SPENT and "Ended before it is over: the time is over: " in out
    assert "2 runs spent " in study_py("status")[1]
    assert study_py("--trials", "3", "--gpu-hours", "100")[0] == 0
