"""Warm start: what earlier studies tell a new one, which counts nothing but its own trials."""

import json
import shutil
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.study import findings, storage, warm_start
from search.study.sampler import make_sampler
from search.study.storage import load_study
from search.trial import StopReason
from space.reader import load_preset
from tests import machines, studies
from tests.in_process import StudyPy, in_process
from tests.stub_study import stub
from tests.studies import FLAT, STEPPED

LIKED = {**FLAT, "lr": 3e-4, "weight_decay": 0.2}


@pytest.fixture
def study_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> StudyPy:
    stub(monkeypatch.setattr)
    return in_process(tmp_path, monkeypatch, capfd)


def earlier_study(folder: Path, overrides: dict[str, str] | None = None) -> optuna.Study:
    """Its best trial is a baseline, then LIKED; a repeat is no trial of its own."""
    settings = studies.miniature(folder, {"study.name": "first", **(overrides or {})})
    study = studies.new_study(settings)
    studies.run(study, FLAT, [4.5, 2.0], baseline="V0")
    studies.run(study, FLAT, [4.5, 1.0], attributes={"repeat": 1})
    studies.run(study, STEPPED, [4.5, 4.0])
    studies.run(study, LIKED, [4.5, 3.0])
    studies.run(study, {**FLAT, "lr": 5e-3}, [4.9, 4.8], StopReason.MEDIAN)
    return study


def test_a_search_repeats_the_best_first_and_counts_its_own_trials_alone(study_py: StudyPy, tmp_path: Path) -> None:
    earlier_study(tmp_path)
    code, out, err = study_py("--study", "second", "--warm-start", "first", "--trials", "6", "--workers", "2")
    assert (code, err) == (0, ""), err
    assert "warm start: the sampler knows 4 finished trials of first; none of them counts here" in out
    assert "from first, trial 3" in out and "6 finished trials" in out
    settings = studies.miniature(tmp_path, {"study.name": "second"})
    found = findings.read(load_study(settings))
    assert [row.trial.number for row in found.rows] == list(range(6)) and found.finished == 6
    assert [row.name for row in found.rows[:5]] == ["V0", "V1", "V2", "from first, trial 3", None]
    assert found.rows[3].trial.params == LIKED
    assert {len(t.params) > 0 for t in load_study(settings).get_trials()} == {True}
    listed = json.loads(study_py("list", "--json", "--study", "second")[1])
    assert [(each["study"], each["finished"], each["asked"]) for each in listed] == [("second", 6, 6)]
    shutil.rmtree(tmp_path / "first")  # a resumed search goes by what was recalled, and needs no flag
    assert "6 finished trials" in study_py("status", "--study", "second")[1]
    code, out, _ = study_py("--study", "second", "--trials", "7", "--workers", "2")
    assert code == 0 and "7 finished trials" in out and "the sampler knows 4 finished trials of first" in out
    assert study_py("--study", "second", "--warm-start", "first", "--trials", "7")[0] == 0
    code, _, err = study_py("--study", "second", "--warm-start", "other", "--trials", "8")
    assert code == 2 and "was founded with a warm start from first, and" in err and "names other; leave it out" in err
    assert study_py("report", "--study", "second")[0] == study_py("export", "--study", "second")[0] == 0
    best = json.loads((settings.directory / "best_config.json").read_text())
    assert best["evidence"]["finished_trials"] == 7


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--warm-start", "gone"), "study 'gone' of --warm-start does not exist in sqlite:///"),
        (("--warm-start", "second"), "warm_start names 'second', the study itself"),
        (("--warm-start", "first.confirm"), "belong to confirmations"),
        (("--warm-start", "postgresql://me:hunter2@host/db"), "it must be the name of a study"),
        (("--warm-start", "empty"), "study 'empty' of --warm-start has no completed trial"),
        (("--warm-start", "foreign"), "study 'foreign' of --warm-start has no search space"),
        (("--warm-start", "first", "--set", "space.file=narrow.toml"), "no completed trial that fits"),
        (("--set", "study.warm_start=first"), "study.warm_start is 'first': it must be a list"),
    ],
)
def test_a_study_that_cannot_help_is_refused_before_any_work(
    flags: tuple[str, ...], said: str, study_py: StudyPy, tmp_path: Path
) -> None:
    earlier_study(tmp_path)
    studies.new_study(studies.miniature(tmp_path, {"study.name": "empty"}))
    url = studies.miniature(tmp_path, {"study.name": "foreign"}).storage_url
    optuna.create_study(study_name="foreign", storage=storage.open_storage(url))
    narrow = "version = 1\nlr = {low = 1e-6, high = 1e-5, log = true}\nweight_decay = {low = 0.01, high = 1}\n"
    (tmp_path / "narrow.toml").write_text(narrow)
    code, _, err = study_py("--study", "second", "--trials", "3", *flags)
    assert code == 2 and said in err and err.count("\n") == 1 and "hunter2" not in err, err
    assert not (tmp_path / "second").exists()


def test_a_study_that_was_founded_cold_stays_so(study_py: StudyPy, tmp_path: Path) -> None:
    earlier_study(tmp_path)
    assert study_py("--study", "second", "--trials", "3", "--workers", "2")[0] == 0
    code, _, err = study_py("--study", "second", "--warm-start", "first", "--trials", "4")
    assert code == 2 and "was founded without a warm start, and" in err


def test_two_machines_found_one_warm_study_and_finish_it_exactly(database: str, tmp_path: Path) -> None:
    study = earlier_study(tmp_path, {"study.storage": database})
    before = study.get_trials()
    with machines.Study(database, tmp_path, trials=12) as shared:
        both = [shared.start(name, seconds=0.01, warm="first") for name in "ab"]
        for machine in both:
            machine.wait()
        trials = shared.assert_exact()
    assert [t.user_attrs["origin"] for t in trials if "origin" in t.user_attrs] == ["first, trial 3"]
    assert study.get_trials() == before


def drawn(memory: warm_start.Memory, value_of_best: float) -> list[float]:
    """The learning rates that a sampler draws after a baseline of 3.0 and the best trial of the earlier study."""
    space = load_preset("miniature")
    study = optuna.create_study(sampler=make_sampler(1, 1, warm_start.known(memory, space)))
    queue = [(FLAT, {"baseline": "V0"})]
    for params, attributes in [*queue, *warm_start.queue(memory, queue)]:
        study.enqueue_trial(params, attributes)
    for value in (3.0, value_of_best):
        trial = study.ask()
        space.suggest(trial)
        study.tell(trial, value)
    found = []
    for _ in range(8):
        trial = study.ask()
        found.append(space.suggest(trial).lr)
        study.tell(trial, 3.5, TrialState.COMPLETE)
    assert len(study.get_trials()) == 10
    return found


def test_the_sampler_knows_earlier_trials_once_their_best_is_better_here_than_the_baselines() -> None:
    """Else it draws what it would draw cold: bit by bit."""
    lrs = [5e-5 * 1.02**i for i in range(30)]
    trials = [
        {"study": "first", "number": i, "params": {**FLAT, "lr": lr}, "rank": (i + 0.5) / 30}
        for i, lr in enumerate(lrs)
    ]
    bad = [{"study": "first", "number": 30 + i, "params": FLAT, "rank": None} for i in range(30)]
    memory = {"studies": ["first"], "left_out": 0, "trials": [*trials, *bad]}
    alone = {"studies": ["first"], "left_out": 0, "trials": trials[:1]}
    warm, unlike, cold = drawn(memory, 2.0), drawn(memory, 3.5), drawn(alone, 3.5)
    assert unlike == cold
    assert max(warm) < 3e-4 < max(cold)
