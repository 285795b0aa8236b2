"""The report as a file: what it may not do, hostile text, its numbers, its size, its command and its refusals."""

import json
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.commands import report
from search.errors import UserError
from search.pages import material, search_figures
from search.settings.settings import Settings
from tests import shown
from tests.conftest import ROOT
from tests.reported import RACE, founded, full_runs, material_of, searched, written
from tests.studies import FLAT, PREPARED, miniature, new_study, run

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Fails for tags that do not close; collects what could act, lead outside, or remain unread."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Of SVG, where a slash closes."""
        assert "svg" in self.open, tag
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, tag


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    """A study of 130 trials with hostile texts and sound, and its page, which draws 80 curves."""
    settings = shown.study(tmp_path_factory.mktemp("large"), trials=130, evaluations=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_figures, "CURVES", 80)
        return settings, report.write(settings, None, "--study 'a <b>'").read_text(encoding="utf-8")


def test_the_page_acts_on_nothing_and_leads_nowhere(large: tuple[Settings, str]) -> None:
    text = large[1]
    page = Page(text)
    assert page.open == []
    assert all(given.get("aria-label") for tag, given in page.tags if tag in ("audio", "section"))
    assert not {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "object", "form", "base"}
    leading = ("src", "href", "xlink:href", "data", "srcset")
    addresses = [given[name] or "" for _, given in page.tags for name in leading if name in given]
    assert all(address.startswith(("#", "data:audio/wav;base64,", "data:image/png;base64,")) for address in addresses)
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]
    referred = [address[1:] for address in addresses if address.startswith("#")]
    ids = {given["id"] for _, given in page.tags if "id" in given}
    assert {*referred, *re.findall(r"url\(#([^)]*)\)", text)} <= ids
    assert re.findall(r"url\((?!#)[^)]*\)|@import", text) == []


def test_hostile_text_is_text_and_what_no_screen_shows_is_a_code(large: tuple[Settings, str], tmp_path: Path) -> None:
    text = large[1]
    assert "<script" not in text and "<img" not in text
    assert text.count("&lt;script&gt;document.title") >= 3  # a sentence, a warning, a file
    assert "--study &#39;a &lt;b&gt;&#39;" in text
    settings = miniature(tmp_path)
    odd = written(material_of(settings, founded(settings, replace(PREPARED, warnings=["a\x1b[31m\udcff\u202eb"]))))
    assert "a\\x1b[31m\\xdcff\\x202eb" in odd
    assert not [sign for sign in text + odd if not sign.isprintable() and sign != "\n"]
    study = founded(settings)
    searched(study)
    formula = written(material_of(settings, study, full_runs({"V0": RACE["V0"], "$x^2$ <b>&amp;": RACE["trial 1"]})))
    assert "$x^2$ &lt;b&gt;&amp;amp; (exported)</text>" in formula, "names of configs are no mathematics"


def test_the_numbers_are_those_of_the_database(large: tuple[Settings, str]) -> None:
    """Counted again from the rows of the tables."""
    settings, page = large
    rows = sqlite3.connect(settings.directory / "study.db")
    states = dict(rows.execute("SELECT number, state FROM trials"))
    found: dict[int, dict[str, Any]] = {number: {} for number in states}
    for kind in ("user", "system"):
        query = f"SELECT number, key, value_json FROM trials JOIN trial_{kind}_attributes USING (trial_id)"
        for number, key, value in rows.execute(query):
            found[number][key] = json.loads(value)
    values = dict(rows.execute("SELECT number, value FROM trials JOIN trial_values USING (trial_id)"))
    rows.close()
    text = unescape(page)

    judged = [n for n, state in states.items() if state in ("COMPLETE", "PRUNED")]
    cut = sum(state == "FAIL" for state in states.values())
    assert f"{len(judged)} finished trials: " in text and f"{cut} cut short: {cut} preempted." in text
    competing = [n for n in judged if states[n] == "COMPLETE" and not found[n].get("repeat")]
    best = min(competing, key=values.__getitem__)
    assert f"The best config so far is trial {best}: {values[best]:.4f} nats" in text
    assert f">{5 - values[best]:.4f} below<" in text and f">{values[0] - values[best]:.4f} below<" in text
    assert f">best so far, {values[best]:.4f}<" in text and f">stock recipe (V0), {values[0]:.4f}<" in text

    trained = {n: found[n]["run"]["record"]["steps"] for n in judged}
    saved = {n: 0 if found[n]["stop_reason"] == "diverged" else 200 - steps for n, steps in trained.items()}
    unpruned = sum(trained.values()) + sum(saved.values())
    assert f"Optimizer steps: {sum(trained.values()):,} trained, {unpruned:,} without pruning" in text
    deviation = abs(values[0] - values[3]) / 2**0.5  # of the stock recipe and its repeat
    close = sum(values[n] - values[best] <= 2 * deviation for n in competing)
    assert f"differ by {deviation:.4f} (standard deviation); {close} trial" in text


def test_many_trials_are_thinned_but_never_the_best(large: tuple[Settings, str]) -> None:
    settings, text = large
    assert re.search(r"80 of 1\d\d trials are drawn, the best among them", text)
    (table,) = re.findall(r"The best 50 of \d\d completed trials<.*?</table>", text, re.DOTALL)
    assert table.count("<tr>") == 51
    assert len(re.sub(r'src="data:[^"]*"', "", text)) < 1_300_000  # 2,000 trials add little but points of the history
    rows = material.read(settings).judged
    few = search_figures.thinned(rows, 100)
    best = sorted((r for r in rows if material.completed(r)), key=lambda r: r.trial.value or 9)[:60]
    assert len(few) == 100 and {r.trial.number for r in best} <= {r.trial.number for r in few}
    assert few == search_figures.thinned(rows, 100)


# The command


def test_the_command_writes_the_page_and_says_where(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    study = new_study(settings)
    run(study, FLAT, [4.5, 4.0])
    code = "import sys, study\ntry: study.main()\nfinally: assert 'torch' not in sys.modules"
    result = subprocess.run(
        [sys.executable, "-c", code, "report", "--set", f"study.directory={tmp_path}"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"Report: miniature/report.html \(0\.\d MB\)\n", result.stdout), result.stdout
    text = (tmp_path / "miniature" / "report.html").read_text(encoding="utf-8")
    assert f"python study.py confirm --set study.directory={tmp_path}<" in text


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    run(new_study(settings), FLAT, [4.0])
    with pytest.raises(UserError, match=r"nowhere/page\.html cannot be written .*--output"):
        report.write(settings, tmp_path / "nowhere" / "page.html", "")


def test_what_is_no_study_of_ours_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    settings.directory.rmdir()
    with pytest.raises(UserError, match="study 'miniature' does not exist"):
        report.write(settings, None, "")
    assert not settings.directory.exists()
    settings.directory.mkdir()
    optuna.create_study(study_name="miniature", storage=settings.storage_url)
    with pytest.raises(UserError, match="was not made by xtts-study"):
        report.write(settings, None, "")
