"""The report as a file: what it may not do, hostile text, its size, its command and its refusals."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest

from search import study_report
from search.errors import UserError
from search.settings import Settings
from search.study_report import canvas, confirmation_figures, material
from tests import shown
from tests.conftest import ROOT
from tests.studies import FLAT, PREPARED, miniature, new_study, run
from tests.test_study_report import RACE, confirm, searched

VOID = {"meta", "br", "path", "use", "rect"}


class Page(HTMLParser):
    """Fails for tags that do not close; collects what could act, lead outside, or remain unread."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.acting: list[str] = []
        self.addresses: list[str] = []
        self.images: list[str | None] = []
        self.headers: list[str | None] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.append(tag)
        self.acting += [name for name in given if name.startswith("on")]
        self.addresses += [
            given[name] or "" for name in ("src", "href", "xlink:href", "data", "srcset") if name in given
        ]
        if given.get("role") == "img":
            self.images.append(given.get("aria-label"))
        if tag == "th":
            self.headers.append(given.get("scope"))
        if "id" in given and tag in ("h2", "section"):
            self.ids.append(given["id"] or "")
        if tag not in VOID:
            self.open.append(tag)

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
    assert {address[1:] for address in page.addresses if address.startswith("#") and address[1:] in page.ids} == {
        *re.findall(r'<a href="#([^"]*)"', text)
    }
    assert re.findall(r"url\((?!#)[^)]*\)|@import", text) == []
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in text
    assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]


def test_hostile_text_is_text(large: tuple[Settings, str]) -> None:
    text = large[1]
    assert "<script" not in text and "<img" not in text and "javascript:" in text
    assert text.count("&lt;script&gt;document.title") >= 3  # a sentence, a warning, a file
    assert "--study &#39;a &lt;b&gt;&#39;" in text


def test_signs_that_no_screen_shows_are_codes(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    new_study(settings, replace(PREPARED, warnings=["a\x1b[31m\udcff\u202eb"]))
    text = study_report.write(settings, None, "").read_text(encoding="utf-8")
    assert "a\\x1b[31m\\xdcff\\x202eb" in text
    assert not [sign for sign in text if not sign.isprintable() and sign != "\n"]


def test_everything_drawn_has_words_units_and_the_page_s_colours(large: tuple[Settings, str]) -> None:
    text = large[1]
    page = Page(text)
    assert len(page.images) == 9 and all(page.images)  # history, curves, importance, five slices, map
    assert page.headers and all(scope in ("col", "row") for scope in page.headers)
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
    for style in ("screen and (prefers-color-scheme: dark)", "@media print", "break-inside: avoid"):
        assert style in text


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


def test_names_of_configs_are_no_mathematics(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    searched(new_study(settings))
    confirm(settings, {**RACE, "$x^2$ <b>&amp;": [2.57, 2.60, 2.565]})
    made = material.read(settings)
    assert made.confirmation and made.runs
    drawn = confirmation_figures.runs(made.confirmation, made.runs.race().fit, "V0")
    assert "$x^2$ &lt;b&gt;&amp;amp;</text>" in drawn.svg


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
