"""The pages in a real Chromium: Optuna's dashboard by our command and by its own, on PostgreSQL, and the report."""

import base64
import io
import json
import re
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
from search.study.findings import read
from tests import reported, shown
from tests.browser import (
    Served,
    chromium,
    complaints,
    least_contrast,
    optunas_own,
    play,
    programs,
    quotes_hostile_text,
    requests,
    scheme,
    served_by,
    text,
    unharmed,
    until,
)
from tests.postgres import Server
from tests.studies import miniature

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


@pytest.fixture(scope="module", params=["study.py dashboard", "optuna-dashboard"])
def served(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Served]:
    is_ours = request.param.startswith("study.py")
    rows = {row.trial.number: row for row in read(storage.load_study(settings)).rows}
    with served_by("dashboard", settings) if is_ours else optunas_own(settings) as page:
        yield Served(page, is_ours, rows)


@pytest.fixture
def opened(browser: Any) -> Callable[[str, str], Any]:
    """Opens a page and waits for a text on it."""

    def open_page(url: str, words: str) -> Any:
        browser.get(url)
        return until(browser, lambda b: words in text(b) and b)

    return open_page


# The dashboard


def test_trials_are_listed_with_their_columns(served: Served, opened: Callable[[str, str], Any]) -> None:
    browser = opened(f"{served.page}/trials", "41 Trials")
    assert "Complete" in text(browser) and "Pruned" in text(browser)
    opened(f"{served.page}/smartSelection", "Parallel Coordinate")
    until(browser, lambda b: len(b.find_elements("css selector", "tbody tr")) >= 10)
    names = [head.text.partition("\n")[0].split()[-1] for head in browser.find_elements("css selector", "th")]
    assert {"stop_reason", "at_step", "text_ce", "gap", "clipped_share", "similarity", "cer", "host"} <= set(names)

    def column(name: str) -> list[str]:
        rows = "return [...document.querySelectorAll('tbody tr')].map(r => r.cells[arguments[0]].innerText)"
        return browser.execute_script(rows, names.index(name))  # type: ignore[no-any-return]

    steps = sorted(row.best.step for row in served.rows.values() if row.best)
    head = browser.find_elements("css selector", "th")[names.index("at_step")]
    browser.execute_script("arguments[0].click()", head.find_element("css selector", "[role=button]"))
    until(browser, lambda _: column("at_step") == ["", *map(str, steps)])  # the running trial has none yet


def test_a_trials_note_and_what_it_spoke(served: Served, opened: Callable[[str, str], Any]) -> None:
    row = served.speaker
    assert row.best
    browser = opened(served.trial(row.trial.number), "What the knobs did")
    shown_text = text(browser)
    for words in (f"lr {row.trial.params['lr']:.2e}", "stock recipe", "untouched base", f"{row.best.mel_ce:.4f}"):
        assert words in shown_text, words
    assert quotes_hostile_text(browser), "a sentence that the trial spoke"
    until(browser, lambda b: "sentence 1, model.wav" in text(b))
    players = until(browser, lambda b: b.find_elements("tag name", "audio"))
    assert len(players) == 5  # two sentences, their recordings, and the voice that they share
    assert sorted(round(play(browser, player), 1) for player in players) == [0.8, 0.9, 1.0, 1.0, 1.2]
    assert unharmed(browser)


PLOTS = "return [...document.querySelectorAll('.js-plotly-plot')].map(p => p.textContent)"


def test_the_studys_note_and_figures(served: Served, opened: Callable[[str, str], Any]) -> None:
    best = f"trial {served.speaker.trial.number}"
    browser = opened(f"{served.page}/note", "is better than the stock recipe (V0), by 0.8950")
    complaints(browser)  # of pages before
    assert quotes_hostile_text(browser), "the check's warning quotes a file's name"
    assert unharmed(browser)
    opened(served.page, "History")
    browser.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    titles = ("Confirmation: full runs", "Lowest evaluation of each trial", "Learning rate")
    plots = until(
        browser, lambda b: (p := b.execute_script(PLOTS)) and all(any(t in x for x in p) for t in titles) and p
    )
    confirmation = next(plot for plot in plots if titles[0] in plot)
    for words in (f"{best} at 0.5 x lr (exported)", "V0", "mean, 95 % interval", "lowest eval, nats per audio token"):
        assert words in confirmation, words
    assert any("pruned by the median" in plot and "untouched base: 5.0000, above" in plot for plot in plots)
    assert unharmed(browser)
    assert not [line for line in complaints(browser) if "favicon" not in line]


def test_a_confirmations_own_pages(served: Served, opened: Callable[[str, str], Any]) -> None:
    best = f"trial {served.speaker.trial.number}"
    page = served.page.removesuffix("1") + "2"
    browser = opened(f"{page}/note", "Full runs that prove the search miniature.")
    assert f"{best} at 0.5 x lr (exported): mean 3.0300, 3 seeds" in text(browser)
    opened(f"{page}/trials?numbers=6", f"{best} at 0.5 x lr, seed 1, full run: lr 2.00e-04")
    assert "40 of 1000" in text(browser)


def test_an_artifact_runs_no_script_of_its_own(served: Served, opened: Callable[[str, str], Any]) -> None:
    browser = opened(served.trial(40), "page.html")
    assert unharmed(browser)
    if not served.is_ours:
        return  # Optuna's command serves what it is given
    document = browser.execute_async_script(
        "const done = arguments[0]; fetch('/api/studies/1?after=40').then(r => r.json()).then(done)"
    )
    for artifact in document["trials"][0]["artifacts"]:
        browser.get(f"{served.origin}/artifacts/1/{document['trials'][0]['trial_id']}/{artifact['artifact_id']}")
        assert browser.execute_script("return [self.origin, document.title]") in (["null", "guest"], ["null", ""])
    browser.get(f"{served.origin}/api/meta")
    assert browser.execute_script("return document.cookie") == ""


DELETE = """
const done = arguments[0];
fetch('/api/studies/2', {method: 'DELETE', body: '{}', headers: {'Content-Type': 'application/json'}})
  .then(async r => done([r.status, JSON.stringify(await r.json())]));
"""


def test_nothing_is_changed_unless_it_is_writable(settings: Settings, browser: Any) -> None:
    with served_by("dashboard", settings) as page:
        browser.get(page)
        status, answer = browser.execute_async_script(DELETE)
        assert status == 403 and "--writable" in answer
        # And by the page's own buttons.
        browser.get(f"{page.partition('/dashboard')[0]}/dashboard")
        until(browser, lambda b: b.find_elements("css selector", "[aria-label*=elete]"))[0].click()
        [*_, sure] = until(
            browser, lambda b: [e for e in b.find_elements("css selector", "[role=dialog] button") if e.is_displayed()]
        )
        sure.click()
        until(browser, lambda b: "Failed to delete" in text(b))
    assert len(optuna.get_all_study_names(storage.open_storage(settings.storage_url))) == 2


def test_a_note_and_a_deletion_by_a_writable_page(tmp_path: Path, server: Server, browser: Any) -> None:
    made = shown.study(tmp_path, 2, overrides={"study.storage": server.empty_database()})
    with served_by("dashboard", made, "--writable") as page:
        browser.get(f"{page}/note")
        until(browser, lambda b: "Next:" in text(b))
        browser.execute_script(
            "document.querySelector('[data-testid=EditIcon], [data-testid=CreateIcon]').parentElement.click()"
        )
        area = until(browser, lambda b: b.find_elements("css selector", "textarea"))[0]
        area.send_keys("written by hand")
        until(browser, lambda b: [e for e in b.find_elements("css selector", "button") if e.text == "SAVE"])[0].click()
        until(browser, lambda b: not b.find_elements("css selector", "textarea"))
        assert "Failed" not in text(browser)
        Notes(made, storage.open_storage(made.storage_url)).refresh()
        browser.get(f"{page}/note")
        until(browser, lambda b: "written by hand" in text(b))
        browser.get(f"{page.partition('/dashboard')[0]}/dashboard")
        until(browser, lambda b: b.find_elements("css selector", "[aria-label*=elete]"))[0].click()
        [*_, sure] = until(
            browser, lambda b: [e for e in b.find_elements("css selector", "[role=dialog] button") if e.is_displayed()]
        )
        sure.click()
        until(browser, lambda b: "Success to delete" in text(b))
    assert optuna.get_all_study_names(storage.open_storage(made.storage_url)) == []


def test_a_wrong_password_is_refused_and_the_right_one_opens_the_page(settings: Settings, browser: Any) -> None:
    with served_by("dashboard", settings, XTTS_STUDY_DASHBOARD_PASSWORD=SECRET) as page:

        def typed(password: str, path: str) -> str:
            """As into the browser's question; it keeps what was right."""
            return page.replace("://", f"://me:{quote(password)}@").replace("/dashboard/studies/1", path)

        for refused in (page, typed("open sesam", "/api/studies"), page):
            complaints(browser)
            browser.get(refused)
            assert ["status of 401" in line for line in complaints(browser)] == [True], refused
            assert text(browser) == ""
        browser.get(typed(SECRET, "/api/studies"))
        assert '"study_name": "miniature"' in text(browser)
        browser.get(page)
        until(browser, lambda b: "miniature (id=1)" in text(b) and "History" in text(b))
        assert SECRET not in browser.page_source


# The report


@pytest.fixture(scope="module")
def report(settings: Settings) -> Path:
    return write(settings, None, "")


@pytest.mark.parametrize("name", ["light", "dark"])
def test_the_report_can_be_read_in_both_schemes(report: Path, browser: Any, name: str) -> None:
    scheme(browser, name)
    requests(browser), complaints(browser)
    browser.get(report.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    contrast, words = least_contrast(browser, dark=name == "dark")
    assert contrast >= 4.5, words
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", back)[0])
    assert red > 200 if name == "light" else red < 60
    assert [url for url in requests(browser) if not url.startswith("data:")] == [report.as_uri()]
    assert complaints(browser) == []
    assert browser.execute_script("return document.scripts.length") == 0
    assert unharmed(browser)


def test_the_report_says_hostile_texts_letter_by_letter_and_plays(report: Path, browser: Any) -> None:
    browser.get(report.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert quotes_hostile_text(browser)
    recorded, reference, *spoken = browser.find_element("class name", "sentence").find_elements("tag name", "audio")
    assert [round(play(browser, player), 1) for player in (recorded, reference, spoken[0])] == [1.0, 1.0, 1.2]
    assert unharmed(browser)


def test_the_report_fits_any_width_and_prints(report: Path, browser: Any) -> None:
    browser.get(report.as_uri())
    for width in (420, 1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    scheme(browser, "dark", "print")  # paper is white all the same
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert least_contrast(browser, dark=False)[0] >= 4.5
    scheme(browser, "light", "")  # the printer's own medium, with the rules for paper
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 15


def test_the_table_of_a_confirmation_is_whole_on_a_desktop(tmp_path: Path, browser: Any) -> None:
    settings = miniature(tmp_path)
    study = reported.founded(settings)
    reported.searched(study)
    made = reported.material_of(settings, study, reported.full_runs(reported.LOWER))
    (tmp_path / "report.html").write_text(reported.written(made), encoding="utf-8")
    browser.get((tmp_path / "report.html").as_uri())
    table = browser.find_element("css selector", "table[aria-label=Confirmation]")
    assert table.rect["width"] <= browser.find_element("tag name", "main").rect["width"]
