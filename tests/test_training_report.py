"""training_report.html of a full run that nothing trained: what it says, and how it fits a telephone."""

from dataclasses import replace
from pathlib import Path

import pytest

from search.full_run import training_report
from search.full_run.result import FullResult
from search.settings.best_config import BestConfig
from search.trial import StopReason
from tests.browser import chromium
from tests.full_runs import POINT, write_config
from tests.studies import BASE, PREPARED, evaluations, record

STEPS = "step,lr,norm_before\n" + "".join(f"{step},0.0005,{1 + step / 100}\n" for step in range(1, 101))


@pytest.fixture
def best(tmp_path: Path) -> BestConfig:
    path = write_config(tmp_path / "best_config.json", replace(PREPARED, versions={"python": "3.11.7"}), horizon=100)
    found = BestConfig.model_validate_json(path.read_text(encoding="utf-8"))
    # A commit has no place to break at.
    return found.model_copy(update={"provenance": found.provenance.model_copy(update={"commit": 40 * "a"})})


def result_of(best: BestConfig) -> FullResult:
    found = evaluations([4.5, 4.0, 3.5, 3.6, 3.7])
    return FullResult(StopReason.FINISHED, best.stopping, 100, found, BASE, record(100, []), 1)


@pytest.mark.parametrize(
    ("clip_norm", "did"),
    [
        (POINT.clip_norm, "acted in 0 % of the steps; median norm 1 before, 1 after"),
        (None, "no clip; median norm 1"),
    ],
)
def test_a_clip_that_is_off_did_nothing(best: BestConfig, clip_norm: float | None, did: str) -> None:
    point = replace(best.hyperparameters, clip_norm=clip_norm)
    found = training_report.knobs(result_of(best), best.model_copy(update={"hyperparameters": point}))
    assert [text for name, _, text in found if name == "clip_norm"] == [did]


def test_a_telephone_shows_figures_that_can_be_read_and_whole_sentences(best: BestConfig, tmp_path: Path) -> None:
    (tmp_path / "steps.csv").write_text(STEPS, encoding="utf-8")
    page = training_report.write(tmp_path, result_of(best), best, PREPARED)
    with chromium(tmp_path / "profile") as browser:
        size = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.as_uri())
        widths = "return [...document.querySelectorAll('.figure svg')].map(e => e.getBoundingClientRect().width)"
        assert min(browser.execute_script(widths)) > 600  # of 691 that it is drawn for
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
        table = "const w = document.querySelector('.origin').parentElement; return [w.scrollWidth, w.clientWidth]"
        inside, shown = browser.execute_script(table)
        assert inside <= shown
