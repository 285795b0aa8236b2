"""`study.py enqueue`: points that somebody asks for, in the words of a space."""

import re
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.study import storage
from search.study.storage import load_study
from space.hyperparameters import Hyperparameters
from space.reader import load_points
from tests import studies
from tests.in_process import StudyPy, in_process
from tests.stub_study import stub

FLAT = "lr = 5e-4\nweight_decay = 0.01\n"
STEPPED = "lr = 2e-4\nweight_decay = 0.02\nmilestones = [0.25, 0.5]\ngamma = 0.5\nclip_norm = 2.0\n"


@pytest.fixture
def study_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> StudyPy:
    stub(monkeypatch.setattr)
    return in_process(tmp_path, monkeypatch, capfd)


def test_the_next_free_slots_run_the_points_and_they_count(study_py: StudyPy, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(FLAT)
    (tmp_path / "two.toml").write_text(f"[[points]]\n{STEPPED}[[points]]\n{FLAT}")
    assert "does not exist" in study_py("enqueue", "one.toml")[2]
    settings = studies.miniature(tmp_path)
    studies.new_study(settings).set_user_attr("asked", 2)
    code, out, err = study_py("enqueue", "one.toml")
    assert (code, out, err) == (0, "queued as trial 0 of miniature; the next free slots run what is queued\n", "")
    out = study_py("enqueue", "two.toml")[1]
    assert "queued as trials 1, 2 of miniature;" in out and "one with --trials 3 runs all" in out
    assert study_py("--trials", "4", "--workers", "2")[0] == 0
    trials = load_study(settings).get_trials()
    assert len(trials) == 4 and {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    points = [settings.search_space().from_params(trial.params) for trial in trials[:3]]
    assert points[0] == points[2] == Hyperparameters(lr=5e-4, weight_decay=0.01)
    assert points[1].milestones == pytest.approx((0.25, 0.5))
    assert (points[1].gamma, points[1].clip_norm, points[1].lr) == (0.5, 2.0, 2e-4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FLAT.replace("weight_decay", "wd"), "unknown key wd; allowed are lr, weight_decay, milestones"),
        ("lr = 5e-4\n", "weight_decay is missing"),
        (FLAT.replace("5e-4", "-1"), "lr is -1: it must be greater than 0"),
        (f"[[points]]\n{FLAT}[[points]]\n{FLAT}gamma = 0.5\n", "point 2: gamma is 0.5, and milestones are []"),
        ("points = []\n", "give the keys of one point"),
        (f"lr = 1\n[[points]]\n{FLAT}", "give the keys of one point"),
    ],
)
def test_what_is_no_point_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "points.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        load_points(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (
            FLAT.replace("5e-4", "0.5"),
            (),
            "point 1 of 1 is outside the study's space, and would be changed: lr 0.5 -> 0.01",
        ),
        (f"[[points]]\n{FLAT}[[points]]\n{FLAT}clip_norm = 99\n", (), "point 2 of 2 is outside"),
        (FLAT, ("--set", "space.preset=xtts-v2"), "was made with another space"),
        (None, (), "points.toml cannot be read (No such file or directory)"),
    ],
)
def test_a_point_outside_the_studys_space_is_refused(
    text: str | None, options: tuple[str, ...], said: str, study_py: StudyPy, tmp_path: Path
) -> None:
    """In one line, and nothing is queued, not even the points that would fit."""
    settings = studies.miniature(tmp_path)
    studies.new_study(settings)
    if text is not None:
        (tmp_path / "points.toml").write_text(text)
    code, out, err = study_py("enqueue", "points.toml", *options)
    assert (code, out) == (2, "") and said in err.splitlines()[0], err
    assert storage.load_study(settings).get_trials() == []
