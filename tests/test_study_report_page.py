"""The report as a file: what it may not do, hostile text, its size, its command and its refusals."""

import json
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.commands import report as study_report
from search.errors import UserError
from search.pages import canvas, confirmation_figures, dimensions, material
from search.settings.settings import Settings
from tests import shown
from tests.conftest import ROOT
from tests.reported import RACE, founded, full_runs, material_of, searched, written
from tests.studies import FLAT, PREPARED, miniature, new_study, run

VOID = {"meta", "br"}
KNOWN = {
    *VOID, "html", "head", "title", "style", "body", "main", "section", "nav", "h1", "h2", "h3", "p", "strong", "ul",
    "li", "pre", "code", "a", "bdi", "span", "div", "details", "summary", "table", "caption", "thead", "tbody", "tr",
    "th", "td", "figure", "figcaption", "audio", "svg", "g", "defs", "clippath", "path", "use", "rect", "text", "tspan",
}  # fmt: skip


class Page(HTMLParser):
    """Fails for tags that do not close or are unknown; collects what could act, lead outside, or remain unread."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.acting: list[str] = []
        self.addresses: list[str] = []
        self.images: list[str | None] = []
        self.headers: list[str | None] = []
        self.headings: list[int] = []
        self.players: list[dict[str, str | None]] = []
        self.named: list[bool] = []  # of each table: whether it has a name
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        assert tag in KNOWN and len(given) == len(attributes), tag
        self.tags.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "audio":
            self.players.append(given)
        if tag == "table":
            self.named.append("aria-label" in given)
        if tag == "caption":
            self.named[-1] = True
        self.acting += [name for name in given if name.startswith("on")]
        self.addresses += [
            given[name] or "" for name in ("src", "href", "xlink:href", "data", "srcset") if name in given
        ]
        if given.get("role") == "img":
            self.images.append(given.get("aria-label"))
        if tag == "th":
            self.headers.append(given.get("scope"))
        if "id" in given:
            self.ids.append(given["id"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Of SVG, where a slash closes."""
        assert "svg" in self.open, tag
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, tag


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    """A study of 330 trials with hostile texts and sound, and its page."""
    settings = shown.study(tmp_path_factory.mktemp("large"), trials=330, evaluations=5)
    return settings, study_report.write(settings, None, "--study 'a <b>'").read_text(encoding="utf-8")


def test_the_page_acts_on_nothing_and_leads_nowhere(large: tuple[Settings, str]) -> None:
    text = large[1]
    page = Page(text)
    assert page.open == [] and page.acting == []
    assert not set(page.tags) & {"script", "img", "link", "iframe", "object", "form", "base"}
    assert all(address.startswith(("#", "data:audio/wav;base64,")) for address in page.addresses)
    referred = [address[1:] for address in page.addresses if address.startswith("#")]
    assert {*referred, *re.findall(r"url\(#([^)]*)\)", text)} <= set(page.ids)
    assert re.findall(r"url\((?!#)[^)]*\)|@import", text) == []
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in text
    assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]


def test_the_page_can_be_read_by_those_who_do_not_see_it(large: tuple[Settings, str]) -> None:
    page = Page(large[1])
    assert len(page.ids) == len(set(page.ids)) > 20
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(page.headings))
    assert len(page.players) == 18 and all("controls" in each and each["aria-label"] for each in page.players)
    assert page.named and all(page.named)
    assert page.headers and all(scope in ("col", "row") for scope in page.headers)
    assert "lang" in dict(re.findall(r'<html (\w+)="([^"]*)"', large[1]))


def test_hostile_text_is_text(large: tuple[Settings, str]) -> None:
    text = large[1]
    assert "<script" not in text and "<img" not in text and "javascript:" in text
    assert text.count("&lt;script&gt;document.title") >= 3  # a sentence, a warning, a file
    assert "--study &#39;a &lt;b&gt;&#39;" in text


def test_signs_that_no_screen_shows_are_codes(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    text = written(material_of(settings, founded(settings, replace(PREPARED, warnings=["a\x1b[31m\udcff\u202eb"]))))
    assert "a\\x1b[31m\\xdcff\\x202eb" in text
    assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]


def test_everything_drawn_has_words_units_and_the_page_s_colours(large: tuple[Settings, str]) -> None:
    text = large[1]
    page = Page(text)
    assert len(page.images) == 9 and all(page.images)  # history, curves, importance, five slices, map
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    for colour in canvas.COLOURS.values():
        assert colour not in drawn, colour
    for label in (
        "trial number",
        "optimizer steps",
        "nats per audio token",
        "learning rate, of AdamW",
        "clip norm, bou",
    ):
        assert label in drawn, label
    assert "font-family" not in drawn  # it is the page's
    assert not re.search(r' d="[^"]*\.\d{3}', drawn)  # a hundredth of a point is enough
    sound_is_not_printed = "@media print { nav, .sentence { display: none; }"
    for style in ("screen and (prefers-color-scheme: dark)", sound_is_not_printed, "break-inside: avoid"):
        assert style in text


def test_the_numbers_are_those_of_the_database(large: tuple[Settings, str]) -> None:
    """Counted again from the rows of the tables."""
    settings, page = large
    rows = sqlite3.connect(settings.directory / "study.db")
    states = dict(rows.execute("SELECT number, state FROM trials"))
    found: dict[int, dict[str, Any]] = {number: {} for number in states}
    query = "SELECT number, key, value_json FROM trials JOIN trial_user_attributes USING (trial_id)"
    for number, key, value in rows.execute(query):
        found[number][key] = json.loads(value)
    values = dict(rows.execute("SELECT number, value FROM trials JOIN trial_values USING (trial_id)"))
    rows.close()
    text = unescape(page)

    judged = [n for n, state in states.items() if state in ("COMPLETE", "PRUNED")]
    completed = [n for n in judged if states[n] == "COMPLETE"]
    cut = sum(state == "FAIL" for state in states.values())
    pruned = len(judged) - len(completed)
    assert f"Trials: {len(judged)} finished ({len(completed)} completed, {pruned} pruned), 1 running." in text
    assert f" {cut} more were cut short ({cut} preempted)." in text

    competing = [n for n in completed if not found[n].get("repeat")]
    best = min(competing, key=values.__getitem__)
    assert f"The best config so far is trial {best}: {values[best]:.4f} nats" in text
    assert f">{5 - values[best]:.4f} below<" in text and f">{values[0] - values[best]:.4f} below<" in text
    assert f">best so far, {values[best]:.4f}<" in text and f">stock recipe (V0), {values[0]:.4f}<" in text
    assert f"Trial {best} is the best; {sum(n > best for n in judged)} trials have finished since." in text

    losses = {n: {e["step"]: e["mel_ce"] for e in found[n]["run"]["evaluations"]} for n in judged}
    steps = sum(found[n]["run"]["record"]["steps"] for n in judged)
    diverged = [n for n in judged if found[n]["stop_reason"] == "diverged"]  # which pruning did not shorten
    without = 200 * (len(judged) - len(diverged)) + sum(found[n]["run"]["record"]["steps"] for n in diverged)
    assert f"{steps:,} optimizer steps were trained, of {without:,} without pruning: {1 - steps / without:.0%}" in text
    for reason, label in (("median", "pruned by the median"), ("two_increases", "two increases")):
        stopped = [n for n in judged if found[n]["stop_reason"] == reason]
        trained = sum(found[n]["run"]["record"]["steps"] for n in stopped)
        cells = [label, str(len(stopped)), f"{trained:,}", f"{200 * len(stopped) - trained:,}"]
        assert re.search("<tr><td>" + r"</td><td[^>]*>".join(cells) + "<", page), cells

    at = {step: sorted(each[step] for each in losses.values() if step in each) for step in (20, 100)}
    middle = {step: (each[len(each) // 2] + each[(len(each) - 1) // 2]) / 2 for step, each in at.items()}
    assert f"Their median goes from {middle[20]:.4f} at step 20 to {middle[100]:.4f} at step 100." in text
    ended = [n for n in judged if found[n]["stop_reason"] == "finished"]
    falling = sum(min(losses[n], key=losses[n].__getitem__) == max(losses[n]) for n in ended)
    assert f"{falling} of {len(ended)} trials that ran to their end were lowest there" in text

    deviation = abs(values[0] - values[3]) / 2**0.5  # of the stock recipe and its repeat
    close = sum(values[n] - values[best] <= 2 * deviation for n in competing)
    assert f"2 short runs of the stock recipe differ by {deviation:.4f} nats per audio token" in text
    assert f" {close} trials, the best included, lie within twice that of the best" in text


@pytest.mark.parametrize("template", sorted((ROOT / "search").rglob("*.html.j2")), ids=lambda path: path.parent.name)
def test_the_header_cells_of_every_page_have_a_scope_and_nothing_is_fetched(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert re.findall(r"<th\b", text) and not re.findall(r"<th\b(?! scope=)", text)
    assert """content="default-src 'none'; style-src 'unsafe-inline';""" in text


def test_many_trials_are_thinned_and_it_is_said(large: tuple[Settings, str]) -> None:
    text = large[1]
    assert re.search(r"240 of 3\d\d trials are drawn, the best among them; the median is of all", text)
    assert "Of more than 300 trials a part is drawn" in text
    (table,) = re.findall(r'<table class="lines" aria-label="The best trials">.*?</table>', text, re.DOTALL)
    assert table.count("<tr>") == 51 and re.search(r"The best 50 of 1\d\d completed trials", text)
    without_sound = re.sub(r'src="data:[^"]*"', "", text)
    assert len(without_sound) < 1_300_000  # 2,000 trials add little but the points of the history


def test_the_best_are_never_thinned_away(large: tuple[Settings, str]) -> None:
    rows = material.read(large[0]).judged
    few = canvas.thinned(rows, 100)
    best = sorted((r for r in rows if material.completed(r.trial)), key=lambda r: r.trial.value or 9)[:60]
    assert len(few) == 100 and {r.trial.number for r in best} <= {r.trial.number for r in few}
    assert few == canvas.thinned(rows, 100)


def test_a_few_high_values_do_not_flatten_the_rest() -> None:
    bottom, top = canvas.limits([2.5 + i / 100 for i in range(20)] + [40.0], [5.0])
    assert bottom < 2.5 and 2.7 < top < 3.2
    assert canvas.limits([2.5, 2.6], [2.7])[1] > 2.7
    assert canvas.limits([2.5])[0] < 2.5 < canvas.limits([2.5])[1]


def test_one_trial_stands_beside_the_base_and_the_stock_recipe() -> None:
    bottom, top = canvas.limits([2.6056, 2.6056], [2.9105, 2.6])
    assert bottom < 2.6 and top > 2.9105


@pytest.mark.parametrize("losses", [(2.5, 2.9), (2.606, 2.616), (2.606, 2.6086), (12.1, 12.13)], ids=str)
@pytest.mark.parametrize(("size", "left"), [(canvas.WIDE, 0.72), (canvas.SMALL, 0.66)])
def test_labels_have_room_beside_ticks_of_any_number_of_digits(
    losses: tuple[float, float], size: tuple[float, float], left: float
) -> None:
    for name in dimensions.NAMES:
        with canvas.figure(size, left=left) as (made, axes, svg):
            axes.set_ylim(*losses)
            axes.set_ylabel(canvas.LOSS)
            axes.set_xlabel(dimensions.Dimension(name, 0, 1).label)
            svg()
            made.draw_without_rendering()
            across, up = axes.xaxis.label.get_window_extent(), axes.yaxis.label.get_window_extent()
            assert up.x0 >= 0 and across.x0 >= 0 and across.x1 <= made.bbox.x1, name


def test_names_of_configs_are_no_mathematics(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    study = founded(settings)
    searched(study)
    made = material_of(settings, study, full_runs({**RACE, "$x^2$ <b>&amp;": [2.57, 2.60, 2.565]}))
    assert made.confirmation and made.runs
    drawn = confirmation_figures.runs(made.confirmation, made.runs.race().fit, "V0")
    assert drawn is not None and "$x^2$ &lt;b&gt;&amp;amp;</text>" in drawn.svg


# The command


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`study.py report` in `folder`, which fails where it imported torch."""
    code = "import sys, study\ntry: study.main()\nfinally: assert 'torch' not in sys.modules"
    return subprocess.run(
        [sys.executable, "-c", code, "report", "--set", f"study.directory={folder}", *arguments],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_writes_the_page_and_says_where(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    study = new_study(settings)
    run(study, FLAT, [4.5, 4.0])
    result = command(tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"Report: miniature/report.html \(0\.\d MB\)\n", result.stdout), result.stdout
    assert result.stderr == ""
    text = (tmp_path / "miniature" / "report.html").read_text(encoding="utf-8")
    assert f"python study.py confirm --set study.directory={tmp_path}<" in text


def test_a_study_that_does_not_exist_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    settings.directory.rmdir()
    with pytest.raises(UserError, match="study 'miniature' does not exist"):
        study_report.write(settings, None, "")
    assert not settings.directory.exists()


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    run(new_study(settings), FLAT, [4.0])
    with pytest.raises(UserError, match=r"nowhere/page\.html cannot be written .*--output"):
        study_report.write(settings, tmp_path / "nowhere" / "page.html", "")
    (tmp_path / "page.html").write_text("before")
    before = (tmp_path / "page.html").stat().st_ino
    study_report.write(settings, tmp_path / "page.html", "")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "page.html").stat().st_ino != before  # another file took its place, whole
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_study_of_another_tool_is_refused(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    optuna.create_study(study_name="miniature", storage=settings.storage_url)
    with pytest.raises(UserError, match="was not made by xtts-study"):
        study_report.write(settings, None, "")
