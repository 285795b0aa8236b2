"""The pages in a real Chromium: Optuna's dashboard by our command, on PostgreSQL, and the report."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import pytest

from search.commands.report import write
from search.pages.dashboard_notes import Notes
from search.settings.settings import Settings
from search.study import artifacts, storage
from search.study.findings import Row, read
from tests import shown
from tests.browser import (
    chromium,
    complaints,
    play,
    programs,
    quotes_hostile_text,
    requests,
    served_by,
    text,
    unharmed,
    until,
)
from tests.postgres import Server

SECRET = "open sesame"
HARM = b"""<svg xmlns="http://www.w3.org/2000/svg" onload="document.title='harmed'"><title>guest</title>
<script>document.title = 'harmed'; document.cookie = 'harmed'</script></svg>"""


@pytest.fixture(scope="module")
def settings(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a study of 40 trials and its confirmation, with hostile texts wherever data has texts, and its notes."""
    programs()
    made = shown.study(tmp_path_factory.mktemp("study"), overrides={"study.storage": server.empty_database()})
    best = f"trial {read(storage.load_study(made)).completed[0].trial.number}"
    shown.confirmed(made, {"V0": [3.9, 3.95, 3.92], best: [3.4, 3.46, 3.41], f"{best} at 0.5 x lr": [3.0, 3.06, 3.01]})
    for name, mimetype in (("page.html", "text/html"), ("picture.svg", "image/svg+xml")):
        keep(made, shown.HOSTILE + name, mimetype, HARM)
    Notes(made, storage.open_storage(made.storage_url)).refresh()
    return made


def keep(settings: Settings, name: str, mimetype: str, content: bytes) -> None:
    """Makes it an artifact of the last trial."""
    known = artifacts.artifact_id(content + name.encode())
    artifacts.open_store(settings).write(known, io.BytesIO(content))
    study = storage.load_study(settings)
    for key, value in artifacts.described({name: known}, mimetype).items():
        study._storage.set_trial_system_attr(study.trials[-1]._trial_id, key, json.dumps(value))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def page(settings: Settings) -> Iterator[str]:
    """The URL of the study's page in the dashboard that runs."""
    with served_by("dashboard", settings) as page:
        yield page


@pytest.fixture(scope="module")
def speaker(settings: Settings) -> Row:
    """The best trial; it spoke."""
    return read(storage.load_study(settings)).completed[0]


@pytest.fixture
def opened(browser: Any) -> Callable[[str, str], Any]:
    """Opens a page and waits for a text on it."""

    def open_page(url: str, words: str) -> Any:
        browser.get(url)
        return until(browser, lambda b: words in text(b) and b)

    return open_page


# The dashboard


def test_a_trials_note_and_what_it_spoke(page: str, speaker: Row, opened: Callable[[str, str], Any]) -> None:
    browser = opened(f"{page}/trials?numbers={speaker.trial.number}", "What the knobs did")
    for words in (f"lr {speaker.trial.params['lr']:.2e}", "stock recipe", f"{speaker.trial.value:.4f}"):
        assert words in text(browser), words
    assert quotes_hostile_text(browser), "a sentence that the trial spoke"
    until(browser, lambda b: "sentence 1, model.wav" in text(b))
    players = until(browser, lambda b: b.find_elements("tag name", "audio"))
    assert len(players) == 5  # two sentences, their recordings, and the voice that they share
    assert sorted(round(play(browser, player), 1) for player in players) == [0.8, 0.9, 1.0, 1.0, 1.2]
    assert unharmed(browser)


PLOTS = "return [...document.querySelectorAll('.js-plotly-plot')].map(p => p.textContent)"


def test_the_studys_note_and_figures(page: str, speaker: Row, opened: Callable[[str, str], Any]) -> None:
    best = f"trial {speaker.trial.number}"
    browser = opened(f"{page}/note", f"Use {best} at 0.5 x lr: it is better than the stock recipe.")
    complaints(browser)  # of pages before
    assert quotes_hostile_text(browser), "the check's warning quotes a file's name"
    assert unharmed(browser)
    opened(page, "History")
    browser.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    titles = ("Race: full runs", "Lowest evaluation of each trial", "Learning rate")
    plots = until(
        browser, lambda b: (p := b.execute_script(PLOTS)) and all(any(t in x for x in p) for t in titles) and p
    )
    confirmation = next(plot for plot in plots if titles[0] in plot)
    for words in (f"{best} at 0.5 x lr (exported)", "V0", "mean", "lowest evaluation, nats per audio token"):
        assert words in confirmation, words
    assert any("pruned by the median" in plot and "untouched base, 5.0000 (above)" in plot for plot in plots)
    assert unharmed(browser)
    assert not [line for line in complaints(browser) if "favicon" not in line]


def test_an_artifact_runs_no_script_of_its_own(page: str, opened: Callable[[str, str], Any]) -> None:
    browser, origin = opened(f"{page}/trials?numbers=40", "page.html"), page.partition("/dashboard")[0]
    assert unharmed(browser)
    document = browser.execute_async_script(
        "const done = arguments[0]; fetch('/api/studies/1?after=40').then(r => r.json()).then(done)"
    )
    for artifact in document["trials"][0]["artifacts"]:
        browser.get(f"{origin}/artifacts/1/{document['trials'][0]['trial_id']}/{artifact['artifact_id']}")
        assert browser.execute_script("return [self.origin, document.title]") in (["null", "guest"], ["null", ""])
    browser.get(f"{origin}/api/meta")
    assert browser.execute_script("return document.cookie") == ""


DELETE = """
const done = arguments[0];
fetch('/api/studies/1', {method: 'DELETE', body: '{}', headers: {'Content-Type': 'application/json'}})
  .then(async r => done([r.status, JSON.stringify(await r.json())]));
"""


def test_the_page_changes_something_only_if_it_is_writable_and_opens_with_the_password_alone(
    page: str, tmp_path: Path, browser: Any
) -> None:
    browser.get(page)
    status, answer = browser.execute_async_script(DELETE)
    assert status == 403 and "--writable" in answer
    made = shown.study(tmp_path, 1)
    with served_by("dashboard", made, "--writable", XTTS_STUDY_DASHBOARD_PASSWORD=SECRET) as writable:

        def typed(password: str, path: str) -> str:
            """As into the browser's question; it keeps what was right."""
            return writable.replace("://", f"://me:{quote(password)}@").replace("/dashboard/studies/1", path)

        complaints(browser)
        browser.get(typed("open sesam", "/api/studies"))
        assert ["status of 401" in line for line in complaints(browser)] == [True] and text(browser) == ""
        browser.get(typed(SECRET, "/api/studies"))
        assert '"study_name": "miniature"' in text(browser)
        browser.get(writable)
        until(browser, lambda b: "miniature (id=1)" in text(b) and "History" in text(b))
        assert SECRET not in browser.page_source
        assert browser.execute_async_script(DELETE)[0] == 200
    assert optuna.get_all_study_names(storage.open_storage(made.storage_url)) == []


# The report


@pytest.fixture(scope="module")
def report(settings: Settings) -> Path:
    return write(settings, None, "")


def test_the_report_asks_for_nothing_quotes_hostile_texts_and_plays(report: Path, browser: Any) -> None:
    requests(browser), complaints(browser)
    browser.get(report.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert [url for url in requests(browser) if not url.startswith("data:")] == [report.as_uri()]
    assert complaints(browser) == []
    assert browser.execute_script("return document.scripts.length") == 0
    assert quotes_hostile_text(browser)
    recorded, reference, *spoken = browser.find_element("class name", "sentence").find_elements("tag name", "audio")
    assert [round(play(browser, player), 1) for player in (recorded, reference, spoken[0])] == [1.0, 1.0, 1.2]
    assert unharmed(browser)
