"""training_report.html of a full run that nothing trained."""

from dataclasses import replace
from pathlib import Path

import pytest

from search.full_run import training_report
from search.full_run.result import FullResult
from search.settings.best_config import BestConfig
from search.trial import StopReason
from tests.full_runs import POINT, write_config
from tests.studies import BASE, PREPARED, evaluations, record

STEPS = "step,lr,norm_before\n" + "".join(f"{step},0.0005,{1 + step / 100}\n" for step in range(1, 101))


@pytest.fixture
def best(tmp_path: Path) -> BestConfig:
    path = write_config(tmp_path / "best_config.json", replace(PREPARED, versions={"python": "3.11.7"}), horizon=100)
    return BestConfig.model_validate_json(path.read_text(encoding="utf-8"))


def result_of(best: BestConfig) -> FullResult:
    found = evaluations([4.5, 4.0, 3.5, 3.6, 3.7])
    return FullResult(StopReason.FINISHED, best.stopping, 100, found, BASE, record(100, []), 1)


@pytest.mark.parametrize(
    ("clip_norm", "did"),
    [
        (POINT.clip_norm, "acted in 0 % of the steps; median norm 1 before it, 1 after"),
        (None, "off; median norm 1"),
    ],
)
def test_the_page_says_what_the_knobs_did(best: BestConfig, clip_norm: float | None, did: str, tmp_path: Path) -> None:
    (tmp_path / "steps.csv").write_text(STEPS, encoding="utf-8")
    point = replace(best.hyperparameters, clip_norm=clip_norm)
    changed = best.model_copy(update={"hyperparameters": point})
    page = training_report.write(tmp_path, result_of(best), changed, PREPARED).read_text(encoding="utf-8")
    assert f">{did}<" in page and page.count("<svg") == 3
