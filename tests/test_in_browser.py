"""The pages in a real Chromium: the dashboard as a process on PostgreSQL, and the report from disk."""

import base64
import io
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from search.commands.report import write
from search.pages.dashboard_content import Content
from search.settings.settings import Settings
from search.study import artifacts, storage
from search.study.findings import read
from tests import dashboards, reported, shown
from tests.browser import (
    Served,
    chromium,
    complaints,
    least_contrast,
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
from tests.conftest import wait_until
from tests.postgres import Server
from tests.studies import FLAT, STEPPED, miniature, run

SECRET = "open sesame"


@pytest.fixture(scope="module")
def settings(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a study of 40 trials and its confirmation, with hostile texts wherever data has texts."""
    programs()
    folder = tmp_path_factory.mktemp("study")
    made = shown.study(folder, overrides={"study.storage": server.empty_database()})
    log = made.directory / "trials" / "0" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text(f"process 1 started\n{shown.HOSTILE}\n", encoding="utf-8")
    best = f"trial {read(storage.load_study(made)).completed[0].trial.number}"
    runs = {"V0": [3.9, 3.95, 3.92], best: [3.4, 3.46, 3.41], f"{best} at 0.5 x lr": [3.0, 3.06, 3.01]}
    shown.confirmed(made, runs, audited={"trial 6": (3.3, 3.45), "trial 8": (3.28, 3.4)})
    for name, mimetype in (("page.html", "text/html"), ("picture.svg", "image/svg+xml")):
        keep(made, shown.HOSTILE + name, mimetype, HARM)
    return made


HARM = b"""<svg xmlns="http://www.w3.org/2000/svg" onload="document.title='harmed'"><title>guest</title>
<script>document.title = 'harmed'; document.cookie = 'harmed'</script></svg>"""


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
def served(settings: Settings) -> Iterator[Served]:
    rows = {row.trial.number: row for row in read(storage.load_study(settings)).rows}
    with served_by("dashboard", settings) as page:
        yield Served(page, rows)


@pytest.fixture
def opened(browser: Any) -> Callable[[str, str], Any]:
    """Opens a page and waits for a text on it."""

    def open_page(url: str, words: str) -> Any:
        browser.get(url)
        return until(browser, lambda b: words in text(b) and b)

    return open_page


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
    best = served.speaker.trial
    browser = opened(f"{served.page}/note", "is better than the stock recipe (V0), by 0.8950")
    assert f"Trial {best.number} is " in text(browser) and f"{best.value:.4f}" in text(browser)
    assert quotes_hostile_text(browser), "the check's warning quotes a file's name"
    assert unharmed(browser)
    opened(served.page, "History")
    browser.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    drawn = "return [...document.querySelectorAll('.js-plotly-plot')].map(p => p.innerText || p.textContent)"
    plots = until(browser, lambda b: (p := b.execute_script(drawn)) and any("two_increases" in t for t in p) and p)
    assert any("weight_decay (chance?)" in t and "lr" in t for t in plots), "the importances are the report's"
    figure = next(t for t in plots if "two_increases" in t)
    for words in ("median", "finished", "optimizer step", "nats per audio token"):
        assert words in figure, words
    assert not [line for line in complaints(browser) if "favicon" not in line]


def test_an_artifact_runs_no_script_of_its_own(served: Served, opened: Callable[[str, str], Any]) -> None:
    browser = opened(served.trial(40), "page.html")
    assert shown.HOSTILE in " ".join(text(browser).split())
    assert unharmed(browser)
    document = browser.execute_async_script(
        "const done = arguments[0]; fetch('/api/studies/1?after=40').then(r => r.json()).then(done)"
    )
    kept = [a for a in document["trials"][0]["artifacts"] if "script" in a["filename"]]
    assert len(kept) == 2
    for artifact in kept:
        browser.get(f"{served.origin}/artifacts/1/{document['trials'][0]['trial_id']}/{artifact['artifact_id']}")
        assert browser.execute_script("return [self.origin, document.title]") in (["null", "guest"], ["null", ""])
    browser.get(f"{served.origin}/api/meta")
    assert browser.execute_script("return document.cookie") == ""


PLOT = """
const plot = [...document.querySelectorAll('.js-plotly-plot')].find(p => p.textContent.includes(arguments[0]));
return plot && [...plot.querySelectorAll('text')].map(t => {
  const box = t.getBoundingClientRect();
  return [t.textContent, box.left, box.top, box.right, box.bottom];
});
"""
CELLS = "return [...document.querySelectorAll('tr')].map(r => [...r.cells].map(c => c.innerText.trim()))"


def test_the_confirmation_is_drawn_with_every_config_named(served: Served, opened: Callable[[str, str], Any]) -> None:
    """In the pages of the search and of the confirmation; no name covers another."""
    best = f"trial {served.speaker.trial.number}"
    for page in (served.page, served.confirmation):
        browser = opened(page, "Best Trial")
        browser.execute_script("window.scrollTo(0, document.body.scrollHeight)")
        drawn = until(browser, lambda b: b.execute_script(PLOT, "Confirmation: full runs"))
        words = {each[0] for each in drawn}
        assert words >= {f"{best} at 0.5 x lr (exported)", best, "V0", "lowest eval, nats per audio token"}
        assert {"a run each", "mean, 95 % interval", "untouched base, 5.0000"} <= words
        drawn = until(browser, lambda b: b.execute_script(PLOT, "Do short runs rank"))
        assert any("Kendall's tau" in each[0] for each in drawn)
        names = [each for each in drawn if each[0] in (best, "V0", "trial 6, pruned", "trial 8, pruned")]
        assert len(names) == 4
        for one, other in combinations(names, 2):
            assert one[3] <= other[1] or other[3] <= one[1] or one[4] <= other[2] or other[4] <= one[2], (one, other)
        assert unharmed(browser)


def test_a_confirmations_own_pages(served: Served, opened: Callable[[str, str], Any]) -> None:
    best = f"trial {served.speaker.trial.number}"
    browser = opened(f"{served.confirmation}/note", "Full runs that prove the search miniature.")
    assert f"{best} at 0.5 x lr is better than the stock recipe".capitalize() in text(browser)
    rows = browser.execute_script(CELLS)
    assert [row[0] for row in rows] == ["config", f"{best} at 0.5 x lr", best, "V0", "untouched base"]
    assert rows[1][1:4] == ["3.0300", "", "3"]
    assert browser.find_element("css selector", "td strong").text == f"{best} at 0.5 x lr"
    assert "Audit of pruning: trial 6 (" in text(browser)
    opened(served.confirmation, "Best Trials")
    opened(f"{served.confirmation}/trials?numbers=6", f"{best} at 0.5 x lr, seed 1, full run: Learning rate 2.0e-4")
    assert "40 of 1000" in text(browser) and "stock recipe, trial 0" in text(browser)
    opened(f"{served.confirmation}/trials?numbers=9", "pruned in the search, run to the trials' end")
    assert "40 of 200" in text(browser)


def test_a_delete_is_refused_and_the_page_says_why(
    served: Served, settings: Settings, opened: Callable[[str, str], Any]
) -> None:
    browser = opened(f"{served.origin}/dashboard", "miniature")
    banner = browser.find_element("id", "read-only")
    assert banner.is_displayed() and "--writable" in banner.text
    size = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert banner.rect["y"] > 700, "it stands over the page's name"
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
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
        assert '"study_name":"miniature"' in text(browser)
        browser.get(page)
        until(browser, lambda b: "miniature (id=1)" in text(b) and "History" in text(b))
        assert SECRET not in browser.page_source


# TensorBoard


def curve(folder: Path, values: list[float]) -> None:
    """The event file of a run with these evaluations."""
    writer = EventFileWriter(str(folder / "tensorboard"))
    for step, value in enumerate(values, 1):
        scalar = Summary(value=[Summary.Value(tag="evaluation/eval (nats)", simple_value=value)])
        writer.add_event(Event(step=20 * step, wall_time=1e9 + step, summary=scalar))
    writer.close()


def asked(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def test_a_notes_link_shows_its_run_in_tensorboard(browser: Any, tmp_path: Path) -> None:
    study, notes = dashboards.small(tmp_path)
    names = {f"{runs}/tensorboard" for runs in ("confirm/1", "trials/0", "trials/1", "trials/10")}
    for number, name in enumerate(sorted(names)):
        curve((notes.settings.directory / name).parent, [4.5, 3.0123 + number / 10])
    run(study, FLAT, [4.5, 3.1])
    run(study, STEPPED, [4.5, 3.2])
    with served_by("tensorboard", notes.settings) as url:
        origin = url.partition("?")[0]
        wait_until(lambda: all(name in asked(f"{origin}data/runs") for name in names))

        def listed(b: Any) -> set[str]:
            return {run for run in text(b).split() if run.endswith("/tensorboard")}

        browser.get(f"{url}#timeseries")
        until(browser, lambda b: listed(b) == names)
        notes.content = Content(notes.settings, notes.storage, origin)
        browser.get(re.findall(r"\[TensorBoard\]\(<(.*)>\)", notes.note(1))[0])
        until(browser, lambda b: "eval (nats)" in text(b) and listed(b) == {"trials/1/tensorboard"})
        until(browser, lambda b: "3.2123" in text(b).split())
        assert "Smoothed" not in text(browser)  # a column beside the value


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
