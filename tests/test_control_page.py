"""The page of a writable dashboard that pauses and stops: behind the gate, and in a real Chromium."""

from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState
from werkzeug.test import Client

from search.pages import gate
from search.pages.dashboard import open_pages
from search.settings.settings import Settings
from search.study import storage
from search.study.leases import owner
from search.study.ledger import Ledger
from search.study.optuna_private import study_id
from tests import studies
from tests.browser import chromium, complaints, served_by, text, until
from tests.test_dashboard_gate import PAGE, SECRET, basic


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a study with a finished trial and two that run, the stock recipe's and another; both have evaluations."""
    made = studies.miniature(tmp_path)
    study = studies.new_study(made)
    studies.run(study, studies.FLAT, [4.5, 4.25])
    opened = storage.open_storage(made.storage_url)
    ledger = Ledger(opened, study_id(study))
    study.enqueue_trial(studies.FLAT, user_attrs={"baseline": "V0"})
    for value in (4.4, 4.125):
        found = ledger.claim(9, owner(60)).trial_id
        assert found
        opened.set_trial_intermediate_value(found, 20, value)
    return made


@pytest.fixture
def ask(settings: Settings) -> Callable[..., Client]:
    def call(writable: bool = True, password: str | None = None) -> Client:
        guard = gate.Gate(password, writable)
        _, guard.pages = open_pages(settings, writable, pytest.fail)
        return Client(guard)

    return call


def state(settings: Settings) -> str:
    return storage.control_of(settings).state


def test_the_buttons_pause_stop_and_resume(settings: Settings, ask: Callable[..., Client]) -> None:
    page = ask()
    assert 'href="/control"' in page.get("/dashboard/studies/1").text
    for order, there in (("pause", "paused"), ("stop now", "stopped"), ("resume", "running"), ("stop", "stopped")):
        answer = page.post("/control", data={"order": order}, headers=PAGE)
        assert (answer.status_code, answer.location, state(settings)) == (303, "/control", there)
        assert storage.control_of(settings).cuts == (order == "stop now")
        assert storage.control_of(settings).place.startswith("in the dashboard on ")
    shown = page.get("/control").text
    assert "The study was stopped (in the dashboard on " in shown and "Trials: 1 finished" in shown
    assert page.post("/control", data={"trial": "2"}, headers=PAGE).status_code == 303
    assert len(storage.control_of(settings).ending) == 1
    assert "Stop trial 2" not in page.get("/control").text
    for trial, said in (("1", "the stock recipe"), ("0", "has ended"), ("77", "no trial 77")):
        refused = page.post("/control", data={"trial": trial}, headers=PAGE)
        assert refused.status_code == 409 and said in refused.json["reason"]
    assert page.post("/control", data={"order": "delete"}, headers=PAGE).status_code == 400


def test_only_the_page_itself_changes_something(settings: Settings, ask: Callable[..., Client]) -> None:
    """Not another page of the web, not without the password, and nothing is there where it is read-only."""
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
        assert ask().post("/control", data={"order": "stop"}, headers=headers).status_code == 403
    assert ask().get("/control?order=stop").status_code == 200
    closed = ask(password=SECRET)
    assert closed.post("/control", data={"order": "stop"}, headers=PAGE).status_code == 401
    assert closed.get("/control").status_code == 401
    read_only = ask(writable=False)
    assert read_only.post("/control", data={"order": "stop"}, headers=PAGE).status_code == 403
    assert read_only.get("/control").status_code == 404
    assert "/control" not in read_only.get("/dashboard").text
    assert state(settings) == "running"
    assert closed.post("/control", data={"order": "pause"}, headers={**PAGE, **basic(SECRET)}).status_code == 303
    assert state(settings) == "paused"


def test_it_works_in_a_browser(settings: Settings, tmp_path: Path) -> None:
    """From Optuna's page by the link, with a click on each button."""
    with chromium(tmp_path / "profile") as browser, served_by("dashboard", settings, "--writable") as page:
        browser.get(page)
        until(browser, lambda b: "History" in text(b))
        until(browser, lambda b: b.find_element("link text", "Pause or stop")).click()
        until(browser, lambda b: "Nothing holds the study back." in text(b))

        def press(name: str, words: str) -> None:
            browser.find_element("xpath", f"//button[.='{name}']").click()
            until(browser, lambda b: words in text(b))

        press("Pause", "The study is paused (in the dashboard on ")
        browser.save_screenshot(str(tmp_path / "paused.png"))
        press("Resume", "Nothing holds the study back.")
        press("Stop trial 2", "ends")
        press("Stop now", "The study was stopped at once (in the dashboard on ")
        assert not [line for line in complaints(browser) if "favicon" not in line]
    told = storage.control_of(settings)
    assert (told.state, told.cuts, len(told.ending)) == ("stopped", True, 1)
    assert [t.state for t in storage.load_study(settings).trials].count(TrialState.RUNNING) == 2
