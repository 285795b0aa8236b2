"""Codes of languages: which are refused, which mean a language of the base, and which are new languages."""

from dataclasses import replace
from pathlib import Path

import pytest

from search.check.base import AREA
from search.errors import UserError
from search.preparation.prepare import prepare
from search.preparation.surveying import make_survey
from search.settings.languages import resolved
from search.settings.settings import load
from tests.shown import tone
from tests.surveys import BASE, healthy, report

# Of XTTS-v2.
KNOWN = tuple("en es fr de it pt pl tr ru nl cs ar zh-cn hu ko ja hi".split())
LISTED = {each.partition("-")[0] for each in KNOWN}  # by coqui's tokenizer
NEW = "its own training code would silently drop every clip"

CODES: list[tuple[str, str, str, list[str]]] = [  # as given, as trained, level, words of the finding
    ("en", "en", "", []),
    ("zh-cn", "zh-cn", "", []),
    # No code of a language.
    ("jp", "jp", "error", ["'jp' is not a language code", "did you mean 'ja' (Japanese)?"]),
    ("kz", "kz", "error", ["did you mean 'kk' (Kazakh) or 'ru' (Russian)?"]),
    ("ge", "ge", "error", ["did you mean 'ka' (Georgian) or 'de' (German)?"]),
    ("xx", "xx", "error", ["set the ISO 639 code of the language; the base knows"]),
    # Other codes of the base's languages.
    ("en-us", "en", "info", ["'en-us' (English) is trained as 'en'"]),
    ("en_US", "en", "info", ["'en-us' (English) is trained as 'en'"]),
    ("EN", "en", "", []),
    ("zh", "zh-cn", "info", ["'zh' (Chinese) is trained as 'zh-cn'"]),
    ("cmn", "zh-cn", "info", ["'cmn' (Mandarin Chinese) is trained as 'zh-cn'"]),
    ("eng", "en", "info", ["'eng' (English) is trained as 'en'"]),
    ("es-419", "es", "info", ["is trained as 'es'"]),
    # Languages that the base does not know; old codes become today's.
    ("am", "am", "info", ["no rules for 'am' (Amharic)", NEW]),
    ("mdw", "mdw", "info", ["no rules for 'mdw' (Mbosi)", NEW]),
    ("qaa", "qaa", "info", ["no rules for 'qaa'", NEW]),
    ("iw", "he", "info", ["'iw' (Hebrew) is trained as 'he'"]),
    ("am-et", "am", "info", ["is trained as 'am'"]),
    # A language that is seldom meant where the country of the same code speaks a language of the base.
    ("kr", "kr", "warning", ["'kr' (Kanuri) is not the code of Korean", "set data.language to 'ko'"]),
    ("in", "id", "warning", ["'in' (Indonesian) is not the code of Hindi", "'hi'"]),
]


@pytest.mark.parametrize(("given", "trained", "level", "words"), CODES, ids=[code for code, *_ in CODES])
def test_a_code_is_refused_or_named_or_as_the_base_has_it(
    given: str, trained: str, level: str, words: list[str]
) -> None:
    code = load(None, {"data.language": given}).data.language
    assert resolved(code, KNOWN) == trained
    facts = replace(BASE, languages=KNOWN, language=trained, language_tag=trained in KNOWN)
    facts = replace(facts, language_listed=trained.partition("-")[0] in LISTED)
    found = [f for f in report(healthy(), base=facts, data__language=code).findings if f.area == AREA]
    said = [f"{f.message}; {f.next_step}" for f in found if f.level == level]
    assert all(any(word in line for line in said) for word in words), found
    assert level == "error" or not [f for f in found if f.level == "error"]
    assert level or not found


@pytest.mark.parametrize(("given", "hint"), [("english", "'en' (English)"), ("Amharic", "'am' (Amharic)"), ("12", "")])
def test_what_is_no_code_at_all_is_refused_with_the_settings(given: str, hint: str) -> None:
    with pytest.raises(UserError, match="it must be a language code") as refused:
        load(None, {"data.language": given})
    assert str(refused.value).endswith(f"; did you mean {hint}?" if hint else '"zh-cn"')


def test_a_base_may_have_a_tag_of_its_own() -> None:
    """Of a code that is out of use, or none at all: whoever made it knows."""
    assert [resolved(code, {"en", "iw", "jp", "tl"}) for code in ("iw", "he", "jp", "fil")] == ["iw", "iw", "jp", "tl"]
    facts = replace(BASE, languages=("en", "jp"), language="jp", language_tag=True)
    assert not report(healthy(), base=facts, data__language="jp").of("error")


def test_clips_are_prepared_in_the_base_s_language_and_a_wrong_code_ends_the_preparation(
    tmp_path: Path, cache: Path
) -> None:
    """By the base's files: the miniature knows English."""
    names = [f"{number}.wav" for number in range(10)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(tone(1.0, 200 + number))
    rows = [f"{name}|a few words of text|anna" for name in names]
    (tmp_path / "train.csv").write_text("\n".join(["audio_file|text|speaker_name", *rows]))
    given = {"study.name": "x", "study.directory": str(tmp_path), "data.path": str(tmp_path), "training.epochs": 100}
    said: list[str] = []
    survey = make_survey(load(None, {**given, "data.language": "en_US"}), cache, said.append)
    assert {row.language for row in survey.rows} == {"en"} and survey.missing == []
    assert "data.language 'en-us' is trained as 'en'" in said
    with pytest.raises(UserError, match="'jp' is not a language code; did you mean 'ja'"):
        prepare(load(None, {**given, "data.language": "jp"}), cache, said.append)
