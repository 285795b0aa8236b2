"""The `export` command, as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from search.commands import export as handover
from search.settings import best_config
from search.settings.best_config import Confirmation
from search.settings.settings import Settings
from search.trial import StopReason
from tests.in_process import in_process
from tests.studies import FLAT, STEPPED, new_study, run, three_trials
from tests.test_export import STOCK, confirmation_of

Export = Callable[..., tuple[int, list[str], list[str]]]
Found = tuple[optuna.Study, Settings]
UNPROVEN = "is one run with one seed, of 200 of the 1000 optimizer steps."


@pytest.fixture
def found(tmp_path: Path) -> Found:
    """Trial 2 is the best, trial 0 the stock recipe, trial 1 was pruned."""
    return three_trials(tmp_path)


@pytest.fixture
def run_export(found: Found, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Export:
    """`study.py export` in the folder of the study's settings: (exit code, lines printed, lines of errors)."""
    study_py = in_process(found[1].study.directory, monkeypatch, capfd)

    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        code, out, err = study_py("export", *arguments)
        return code, out.splitlines(), err.splitlines()

    return call


@pytest.fixture
def confirmed(found: Found, monkeypatch: pytest.MonkeyPatch) -> Confirmation:
    """A confirmation of the study, which recommends its best trial."""
    point = found[1].search_space().from_params(STEPPED)
    made = confirmation_of(("trial 2", 2, point), ("stock", None, STOCK))
    monkeypatch.setattr(handover, "load_confirmation", lambda *_: made)
    return made


@pytest.mark.parametrize(
    ("arguments", "trial", "path"),
    [([], 2, "miniature/best_config.json"), (["--trial", "0", "--output", "other.json"], 0, "other.json")],
)
def test_the_best_or_any_completed_trial_is_exported(
    run_export: Export, tmp_path: Path, arguments: list[str], trial: int, path: str
) -> None:
    lines = [f"Exported (not confirmed): {path}", f"Not confirmed: trial {trial} {UNPROVEN}"]
    assert run_export(*arguments) == (0, lines, [])
    best = best_config.read(tmp_path / path)
    assert best.evidence and best.evidence.trial == trial
    assert (best.hyperparameters == STOCK) == (trial == 0)
    assert (tmp_path / "miniature" / "best_config.json").exists() == (trial == 2)


def test_a_dash_prints_the_file_alone(run_export: Export, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*.json"))
    code, lines, errors = run_export("--output", "-")
    assert (code, json.loads("\n".join(lines))["evidence"]["trial"]) == (0, 2)
    assert errors[0].startswith("Not confirmed: trial 2")
    assert sorted(tmp_path.rglob("*.json")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--trial 1", "--trial is 1, which ended as median; only a completed trial can be exported; the best are 2, 0"),
        ("--trial 3", "--trial is 3, which has not ended; only a completed trial can be exported; the best are 2, 0"),
        ("--trial 9", "--trial is 9, which study 'miniature' does not have; only a completed trial can be exported"),
        ("--study young", "study 'young' has no completed trial yet; run study.py until one is"),
        ("--output notes.json", "is left alone"),
        ("--format coqui --output notes.json", "is left alone"),
        ("--format coqui --output nowhere/x.json", "cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    run_export: Export, found: Found, tmp_path: Path, arguments: str, words: str
) -> None:
    found[0].ask()  # trial 3 runs
    young = found[1].model_copy(update={"study": found[1].study.model_copy(update={"name": "young"})})
    young.directory.mkdir()
    run(new_study(young), FLAT, [4.9], StopReason.MEDIAN)
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    code, lines, errors = run_export(*arguments.split())
    assert (code, lines, len(errors)) == (2, [], 1)
    assert words in errors[0]
    assert (tmp_path / "notes.json").read_text() == '{"mine": 1}'


# With a confirmation


@pytest.mark.usefixtures("confirmed")
def test_the_confirmed_config_is_the_default_and_is_not_replaced_unasked(run_export: Export, tmp_path: Path) -> None:
    file = "miniature/best_config.json"
    assert run_export()[:2] == (0, [f"Exported (confirmed): {file}", "The winner's mean is lower."])
    best = best_config.read(tmp_path / file)
    assert best.confirmed and best.evidence and best.evidence.trial == 2
    code, _, errors = run_export("--trial", "0")
    assert code == 2
    assert errors[0].endswith("best_config.json is confirmed, and this export is not; name another file with --output")
    said = "Not confirmed: the study's confirmation recommends trial 2, not trial 0."
    assert run_export("--trial", "0", "--output", file)[:2] == (0, [f"Exported (not confirmed): {file}", said])
