"""One tokenizer for training and inference: coqui's where coqui has one, and the same normalisation everywhere else."""

import importlib.util
import json
import string
import unicodedata
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

from search.errors import UserError
from search.full_run import speak
from search.training import tokenizer
from search.training.tokenizer import LISTED, TextError, Tokenizer, extended_vocabulary, missing_tokens, normalise

PACKAGES = {"ja": "cutlet", "zh": "pypinyin", "ko": "hangul_romanize"}  # that coqui's cleaners need
HERE = sorted(lang for lang in LISTED if importlib.util.find_spec(PACKAGES.get(lang, "re")))
LETTERS = "aàéçñßøčřğışИйم نहिंди12,.$€!?'\"፣።፲ \t\n\u00a0\u200b\u200c\ufeff"


@pytest.fixture(scope="module")
def vocabulary(miniature: Path) -> Path:
    """The miniature's vocab.json."""
    return miniature / "vocab.json"


@pytest.fixture(scope="module")
def ours(vocabulary: Path) -> Tokenizer:
    return Tokenizer(vocabulary)


@pytest.fixture(scope="module")
def stock(vocabulary: Path) -> VoiceBpeTokenizer:
    return VoiceBpeTokenizer(vocabulary)


def test_the_list_is_coquis(stock: VoiceBpeTokenizer) -> None:
    """Every code of two letters: coqui cleans those of the list, or lacks a package for it, and refuses the others."""

    def cleans(lang: str) -> bool:
        try:
            stock.preprocess_text("a", lang)
        except NotImplementedError:
            return False
        except ImportError:
            return True
        return True

    codes = {a + b for a in string.ascii_lowercase for b in string.ascii_lowercase}
    assert {lang for lang in codes if cleans(lang)} == LISTED


@pytest.fixture(scope="module")
def speaking(vocabulary: Path) -> speak.Tokenizer:
    """As the script beside a trained model makes it."""
    return speak.Tokenizer(vocabulary)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(HERE), st.text(st.one_of(st.sampled_from(LETTERS), st.characters(codec="utf-8")), max_size=30))
@example("hi", "12")
@example("ru", "9" * 80)
@example("en", "Mr. Fox ran 12 miles for $3.50")
def test_listed_languages_are_coquis(
    ours: Tokenizer, speaking: speak.Tokenizer, stock: VoiceBpeTokenizer, lang: str, text: str
) -> None:
    """The same tokens; and where coqui fails, which its dataset takes for a bad clip, ours says so."""
    expected = None
    with suppress(Exception):
        expected = stock.encode(text, lang)
    if expected is None:
        with pytest.raises(TextError, match=lang):
            ours.encode(text, lang)
    else:
        assert ours.encode(text, lang) == speaking.encode(text, lang) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Wáre\u0301 Ὀ ፲፪፣  ω\u0301 ", "wáré ὀ ፲፪፣ ώ"),
        ("\ufeffሰላም\u200b።\r\nልጅ\u00a0\u3000ቤት\u2028", "ሰላም። ልጅ ቤት"),
        ("ሀ። ለ፣ ሐ፤ መ፥ ሠ፦ ረ፧ ሰ፨ ፩፪፫፬፭፮፯፰፱፲፳፴፵፶፷፸፹፺፻፼", "ሀ። ለ፣ ሐ፤ መ፥ ሠ፦ ረ፧ ሰ፨ ፩፪፫፬፭፮፯፰፱፲፳፴፵፶፷፸፹፺፻፼"),
        ("e\u200b\u0301", "é"),  # what was parted by an invisible sign is composed
        ("می\u200cخواهم", "می\u200cخواهم"),  # the joiner is part of the word
        ("a\x00b\u00adc\u202ed\x85e", "abcd e"),
        ("ΣΟΦΟΣ İ", "σοφο\u03c2 i\u0307"),  # a sigma at a word's end
    ],
)
def test_other_languages_are_normalised(text: str, expected: str) -> None:
    assert normalise(text) == speak.normalise(text) == expected


@settings(max_examples=150, deadline=None)
@given(st.text(st.one_of(st.sampled_from(LETTERS + "፡\u0301\u1ea0Σİ"), st.characters(codec="utf-8")), max_size=20))
def test_normalising_settles_and_the_speaking_script_agrees(speaking: speak.Tokenizer, text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == " ".join(once.split())
    assert not tokenizer.INVISIBLE.search(once)
    assert speaking.preprocess_text(text, "am") == once


def test_what_texts_lack(ours: Tokenizer) -> None:
    """A region means its language; a text that coqui fails on has no letters."""
    assert missing_tokens(ours, ["ሀ"], "am-et") == ["[am]", "ሀ"]
    assert missing_tokens(ours, ["hello"], "en-us") == []
    assert missing_tokens(ours, [], "zh-cn") == ["[zh-cn]"]
    assert missing_tokens(ours, ["12 ह", "ह"], "hi") == ["[hi]", "ह"]


def test_a_language_without_its_package_is_refused(ours: Tokenizer) -> None:
    absent = next((lang for lang in PACKAGES if lang not in HERE), None)
    if absent is None:
        pytest.skip("every package is installed")
    with pytest.raises(UserError, match=rf"data.language is '{absent}', .*make study EXTRAS={absent} "):
        ours.preprocess_text("a", absent)


def test_merges_come_after_the_vocabularys_own(vocabulary: Path, tmp_path: Path) -> None:
    """In the notation of the file: pairs, or strings as older versions write them."""
    for in_pairs in (True, False):
        content = json.loads(vocabulary.read_text(encoding="utf-8"))
        old = [tuple(pair) for pair in content["model"]["merges"]]
        if not in_pairs:
            content["model"]["merges"] = [" ".join(pair) for pair in old]
        path = tmp_path / "vocab.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        made = json.loads(extended_vocabulary(path, ["[am]", "ሰ", "ላ"], [("ሰ", "ላ"), ("e", "r"), ("ሰላ", "ሰላ")]))
        new = [("ሰ", "ላ"), ("e", "r"), ("ሰላ", "ሰላ")]
        assert made["model"]["merges"] == [list(p) if in_pairs else " ".join(p) for p in [*old, *new]]
        known = VoiceBpeTokenizer(vocabulary).tokenizer.get_vocab()
        first = max(known.values()) + 1
        assert [made["model"]["vocab"][t] for t in ("[am]", "ሰ", "ላ", "ሰላ", "ሰላሰላ")] == list(range(first, first + 5))
        assert made["model"]["vocab"]["er"] == known["er"]


def test_tokens_keep_the_ids_that_the_library_gives_them(vocabulary: Path, tmp_path: Path) -> None:
    """Whatever number the file has for a token that only added_tokens names."""
    content = json.loads(vocabulary.read_text(encoding="utf-8"))
    for token in content["added_tokens"]:
        token["id"] += 1000 * (token["content"] == "[START]")
    (tmp_path / "vocab.json").write_text(json.dumps(content), encoding="utf-8")
    known = VoiceBpeTokenizer(tmp_path / "vocab.json").tokenizer.get_vocab()
    (tmp_path / "made.json").write_text(extended_vocabulary(tmp_path / "vocab.json", ["[am]", "ሰ"]), encoding="utf-8")
    made = VoiceBpeTokenizer(tmp_path / "made.json").tokenizer.get_vocab()
    assert {token: made[token] for token in known} == known
    assert (made["[am]"], made["ሰ"]) == (len(known), len(known) + 1)
