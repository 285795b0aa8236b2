"""Ends of a search without a result: the exit code is never 0, and one line names the cause and the next step."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.settings.settings import Settings
from search.study import divergence
from search.study.findings import Findings, read
from search.trial import StopReason
from tests.studies import FLAT, PREPARED, miniature, new_study, run
from tests.test_confirm_command import STUDY, machine
from tests.test_noise import Search

FINITE = PREPARED.base_evaluation
NAN = dict.fromkeys(FINITE, math.nan) | {"step": 0}


def diverging(settings: Settings, *rates: float, prepared: Any = PREPARED) -> Findings:
    """A search whose trials had these learning rates; each diverged after its first evaluation."""
    study = new_study(settings, prepared)
    for lr in rates:
        run(study, {**FLAT, "lr": lr}, [4.9], StopReason.DIVERGED)
    return read(study)


@pytest.mark.parametrize(
    ("rates", "precision", "base", "words"),
    [
        (
            (9e-3, 4e-3),
            "bf16",
            PREPARED.base_evaluation,
            "the range of the learning rate: the trials had 0.004 to 0.009",
        ),
        ((9e-3, 1e-3), "bf16", FINITE, "training.precision, 'bf16', since a learning rate of 0.001"),
        ((9e-3, 1e-3), "fp32", FINITE, "even a learning rate of 0.001 diverged"),
        ((9e-3, 1e-3), "fp32", NAN, "the base, whose own evaluation is nan; take another base.path"),
    ],
)
def test_the_likely_cause_is_named(
    tmp_path: Path, rates: tuple[float, ...], precision: str, base: dict[str, float], words: str
) -> None:
    settings = miniature(tmp_path, {"training.precision": precision})
    findings = diverging(settings, *rates, prepared=replace(PREPARED, base_evaluation=base))
    assert words in divergence.cause(findings, settings)


def test_no_further_trial_starts_after_six_diverged_ones_unless_one_that_runs_completes(tmp_path: Path) -> None:
    search = Search(miniature(tmp_path))
    running = search.begin()
    for _ in range(divergence.ENOUGH):
        search.end(search.begin(), None, StopReason.DIVERGED)
    claim = search.work.claim(search.leases)
    assert (claim.trial_id, claim.finished, search.work.is_done(claim)) == (None, divergence.ENOUGH, False)
    search.end(running, 3.0)
    search.end(search.begin(), None, StopReason.DIVERGED)
    assert not divergence.is_hopeless(search.study.trials)
    search.database.engine.dispose()


def test_hopeless_learning_rates_end_the_search_on_all_machines_and_the_same_command_again(
    database: str, tmp_path: Path
) -> None:
    """Each of two machines may have claimed a trial when the sixth diverges."""
    given = ["--storage", database, "--workers", "1"]
    for name in "ab":
        (tmp_path / name / "miniature").mkdir(parents=True)
        (tmp_path / name / "study.toml").write_text(STUDY)
        (tmp_path / name / "miniature" / "truth.json").write_text(json.dumps({"diverges": 0}))
    both = [machine(tmp_path / name, *given, "--trials", "20", seconds=0) for name in "ab"]
    for one in both:
        one.wait(code=1)
    again = machine(tmp_path / "a", *given, "--trials", "30", seconds=0)
    again.wait(code=1)
    assert "  started  " not in again.output
    for one in (*both, again):
        said = [line for line in one.output.splitlines() if line.startswith("study.py: ")]
        start = r"study.py: [67] trials diverged and none completed, so nothing is exported; no further trial is run; "
        assert len(said) == 1 and re.match(start, said[0]) and said[0] == one.output.splitlines()[-1]
