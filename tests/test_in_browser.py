"""The pages in a real Chromium: the dashboard as a process on PostgreSQL, and the report from disk."""

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from search import storage
from search.report import Row, read
from search.settings import Settings
from search.study_report import write
from tests import shown
from tests.browser import chromium, complaints, least_contrast, play, programs, requests, scheme, text, until
from tests.conftest import ROOT
from tests.postgres import Server

SECRET = "open sesame"


@pytest.fixture(scope="module")
def settings(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a study of 40 trials, with hostile texts wherever data has texts."""
    programs()
    folder = tmp_path_factory.mktemp("study")
    made = shown.study(folder, overrides={"study.storage": server.empty_database()})
    log = made.directory / "trials" / "0" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text(f"process 1 started\n{shown.HOSTILE}\n", encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@dataclass(frozen=True)
class Served:
    """A dashboard that runs."""

    page: str  # URL of the study's page
    rows: dict[int, Row]

    @property
    def origin(self) -> str:
        return self.page[: self.page.index("/dashboard")]

    def trial(self, number: int) -> str:
        return f"{self.page}/trials?numbers={number}"

    @property
    def speaker(self) -> Row:
        """The best trial; it spoke."""
        return min((row for row in self.rows.values() if row.speech), key=lambda row: row.trial.value or 0)


@contextmanager
def dashboard(settings: Settings, *options: str, **environment: str) -> Iterator[str]:
    """The URL of the study's page, of `study.py dashboard` as a process."""
    command = [sys.executable, str(ROOT / "study.py"), "dashboard", "--port", "0", *options]
    command += ["--settings", str(settings.study.directory / "study.toml"), "--storage", settings.storage_url]
    command += ["--set", f"study.directory={settings.study.directory}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert process.stdout
        line = next(line for line in process.stdout if "http://" in line)
        yield line[line.index("http://") :].strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def served(settings: Settings) -> Iterator[Served]:
    rows = {row.trial.number: row for row in read(storage.load_study(settings)).rows}
    with dashboard(settings) as page:
        yield Served(page, rows)


@pytest.fixture
def opened(browser: Any) -> Callable[[str, str], Any]:
    """Opens a page and waits for a text on it."""

    def open_page(url: str, words: str) -> Any:
        browser.get(url)
        return until(browser, lambda b: words in text(b) and b)

    return open_page


def unharmed(browser: Any) -> bool:
    """Whether no text of the data became a part of the page, or sent it elsewhere."""
    made = browser.execute_script(
        'return [document.querySelectorAll(\'img[src="x"], a[href^=javascript], img[src*="203.0.113"]\').length,'
        "[...document.scripts].filter(s => s.textContent.includes('harmed')).length, document.title]"
    )
    assert made[:2] == [0, 0] and "harmed" not in made[2]
    assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:", "file:", "chrome")) for url in requests(browser))
    return True


def quotes_hostile_text(browser: Any) -> bool:
    """Whether the page shows it whole and letter by letter, lines broken as they may be."""
    return shown.HOSTILE in " ".join(text(browser).split())


# The dashboard


def test_the_trials_are_listed(served: Served, opened: Callable[[str, str], Any]) -> None:
    browser = opened(f"{served.page}/trials", "41 Trials")
    for words in ("Trial 0\n", "Complete", "Pruned"):
        assert words in text(browser)
    document = browser.execute_async_script(
        "const done = arguments[0]; fetch('/api/studies/1?after=0').then(r => r.json()).then(done)"
    )
    assert all(a["key"] not in ("run", "owner", "speech") for t in document["trials"] for a in t["user_attrs"])


def test_the_table_of_trials_is_sorted_by_our_columns(served: Served, opened: Callable[[str, str], Any]) -> None:
    browser = opened(f"{served.page}/smartSelection", "Parallel Coordinate")
    until(browser, lambda b: len(b.find_elements("css selector", "tbody tr")) >= 10)
    names = [head.text.partition("\n")[0].split()[-1] for head in browser.find_elements("css selector", "th")]
    ours = ["baseline", "stop_reason", "at_step", "text_ce", "gap", "clipped_share", "similarity", "cer", "host"]
    assert [name for name in names if name in ours] == ours

    def column(name: str) -> list[str]:
        rows = "return [...document.querySelectorAll('tbody tr')].map(r => r.cells[arguments[0]].innerText)"
        return browser.execute_script(rows, names.index(name))  # type: ignore[no-any-return]

    steps = sorted((row.best.step for row in served.rows.values() if row.best), reverse=True)
    for order in (["", *map(str, steps[::-1])], [*map(str, steps), ""]):  # the running trial has none yet
        head = browser.find_elements("css selector", "th")[names.index("at_step")]
        browser.execute_script("arguments[0].click()", head.find_element("css selector", "[role=button]"))
        until(browser, lambda _, order=order: column("at_step") == order)
    assert {"median", "two_increases", "finished"} <= set(column("stop_reason"))


def test_a_note_tells_what_was_tried_and_what_came_of_it(served: Served, opened: Callable[[str, str], Any]) -> None:
    row = served.speaker
    assert row.best
    browser = opened(served.trial(row.trial.number), "What the knobs did")
    shown_text = text(browser)
    assert f"Learning rate {row.trial.params['lr']:.1e}".replace("e-0", "e-") in shown_text
    for words in ("stock recipe", "untouched base", f"{row.best.mel_ce:.4f}", f"{row.best.step} of 200", row.reason):
        assert words in shown_text, words
    table = browser.find_element("css selector", ".MuiCardContent-root table")
    assert len(table.find_elements("css selector", "tbody tr")) >= 3
    figure = browser.find_element("css selector", "img[alt='its evaluations']")
    assert until(browser, lambda b: b.execute_script("return arguments[0].naturalWidth", figure)) > 400
    assert quotes_hostile_text(browser), "a sentence that the trial spoke"
    assert unharmed(browser)


def test_the_links_of_a_note_are_legible_and_lead_to_the_log(served: Served, opened: Callable[[str, str], Any]) -> None:
    browser = opened(served.trial(0), "What the knobs did")
    log = browser.find_element("link text", "Log")
    for name in ("light", "dark"):
        scheme(browser, name)
        until(
            browser,
            lambda b: b.execute_script(
                "return getComputedStyle(arguments[0]).color === getComputedStyle(arguments[0].parentElement).color",
                log,
            ),
        )
    browser.get(log.get_attribute("href"))
    assert "process 1 started" in text(browser) and quotes_hostile_text(browser)
    assert unharmed(browser)


def test_what_a_trial_spoke_is_played_to_its_end(served: Served, opened: Callable[[str, str], Any]) -> None:
    row = served.speaker
    assert row.speech
    browser = opened(served.trial(row.trial.number), "sentence 1, model.wav")
    players = until(browser, lambda b: b.find_elements("tag name", "audio"))
    assert len(players) == 5  # two sentences, their recordings, and the voice that they share
    lengths = sorted(round(play(browser, player), 1) for player in players)
    assert lengths == [0.8, 0.9, 1.0, 1.0, 1.2]
    assert unharmed(browser)


def test_the_study_tells_its_verdict_and_draws_all_evaluations(
    served: Served, opened: Callable[[str, str], Any]
) -> None:
    browser = opened(f"{served.page}/note", "below the untouched base model")
    best = served.speaker.trial
    assert f"Trial {best.number}" in text(browser) and f"{best.value:.4f}" in text(browser)
    assert quotes_hostile_text(browser), "the check's warning quotes a file's name"
    assert unharmed(browser)
    opened(served.page, "History")
    browser.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    drawn = "return [...document.querySelectorAll('.js-plotly-plot')].map(p => p.innerText || p.textContent)"
    plots = until(browser, lambda b: (p := b.execute_script(drawn)) and any("two_increases" in t for t in p) and p)
    figure = next(t for t in plots if "two_increases" in t)
    for words in ("median", "finished", "optimizer step", "nats per audio token"):
        assert words in figure, words
    assert not [line for line in complaints(browser) if "favicon" not in line]


def test_a_delete_is_refused_and_the_page_says_why(
    served: Served, settings: Settings, opened: Callable[[str, str], Any]
) -> None:
    browser = opened(f"{served.origin}/dashboard", "miniature")
    banner = browser.find_element("id", "read-only")
    assert banner.is_displayed() and "--writable" in banner.text
    status, reason = browser.execute_async_script(
        "const done = arguments[0]; fetch('/api/studies/1', {method: 'DELETE', body: '{}'})"
        ".then(async r => done([r.status, (await r.json()).reason]))"
    )
    assert status == 403 and "--writable" in reason
    # And by the page's own buttons.
    browser.find_element("css selector", "[aria-label*=elete]").click()
    until(browser, lambda b: [e for e in b.find_elements("css selector", "[role=dialog] button") if e.is_displayed()])
    [*_, sure] = browser.find_elements("css selector", "[role=dialog] button")
    sure.click()
    until(browser, lambda b: "Failed to delete" in text(b))
    assert len(read(storage.load_study(settings)).rows) == 41


def test_a_wrong_password_is_refused_and_the_right_one_opens_the_page(settings: Settings, browser: Any) -> None:
    with dashboard(settings, XTTS_STUDY_DASHBOARD_PASSWORD=SECRET) as page:

        def typed(password: str, path: str) -> str:
            """As into the browser's question; it keeps what was right."""
            return page.replace("://", f"://me:{quote(password)}@").replace("/dashboard/studies/1", path)

        for refused in (page, typed("open sesam", "/api/studies"), page):
            complaints(browser)
            browser.get(refused)
            assert ["status of 401" in line for line in complaints(browser)] == [True], refused
            assert text(browser) == ""
        browser.get(typed(SECRET, "/api/studies"))
        assert '"study_name":"miniature"' in text(browser)
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
    scheme(browser, "light")
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 15
