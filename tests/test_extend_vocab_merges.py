"""Continued byte-pair encoding: new merges shorten the new language and leave the old ones alone."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.preparation import vocabulary
from search.preparation.miniature_texts import AMHARIC, ENGLISH
from search.preparation.vocabulary import Vocabulary
from search.tools.merges import Merges, learn, tokens_per_word
from search.training.tokenizer import UNKNOWN_ID, Tokenizer, extended_vocabulary, missing_tokens

MIXED = "ibaa ipωωε íyεε ofúndá nωωtáá kúbhá pωmωsωε osέi móopωmωsω wεεtε ωdzángε".split()  # Latin and other letters


@pytest.fixture(scope="module")
def old(miniature: Path) -> Vocabulary:
    """The miniature's: lower-case Latin letters and 61 merges of English."""
    return vocabulary.read(miniature / "vocab.json", "base.path")


@pytest.fixture(scope="module")
def lengthen(old: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tokenizer]:
    """A tokenizer of `old` with the letters of `words` and the merges given."""
    folder = tmp_path_factory.mktemp("vocabularies")

    def make(words: list[str], pairs: list[tuple[str, str]] | None = None) -> Tokenizer:
        letters = missing_tokens(old.tokenizer, words, "am")
        (folder / "vocab.json").write_text(extended_vocabulary(old.path, letters, pairs or []), encoding="utf-8")
        return Tokenizer(folder / "vocab.json")

    return make


@pytest.fixture(scope="module")
def extended(old: Vocabulary, lengthen: Callable[..., Tokenizer]) -> Tokenizer:
    """With 400 merges of Amharic, English and mixed words."""
    words = [*AMHARIC, *MIXED, *ENGLISH]
    found = learn(lengthen(words).tokenizer, Counter(words * 3), 400, old.ids)
    assert len(found.tokens) > 100
    assert all(set(left + right) - old.letters for left, right in found.pairs)  # each has a new letter
    assert any(set(token) & old.letters for token in found.tokens)  # old and new letters are joined
    return lengthen(words, found.pairs)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.sampled_from(ENGLISH), st.text("abcdefghijklmnopqrstuvwxyz'-.,!?0[]é ", min_size=1, max_size=8)),
        max_size=12,
    )
)
def test_texts_without_a_new_letter_keep_their_tokens(old: Vocabulary, extended: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    if "é" in text or "0" in text:  # known to neither
        assert UNKNOWN_ID in extended.tokenizer.encode(text).ids
    assert extended.tokenizer.encode(text).ids == old.tokenizer.tokenizer.encode(text).ids


def test_frequent_words_become_one_token(old: Vocabulary, lengthen: Callable[..., Tokenizer]) -> None:
    words = Counter({"ሰላም": 5, "ልጅ": 3, "ቤት": 1})
    letters = lengthen(list(words))
    found = learn(letters.tokenizer, words, 10, old.ids)
    assert sorted(found.tokens) == sorted({found.tokens[0], "ሰላም", "ልጅ"})  # "ቤት", which occurs once, is left in letters
    assert found.tokens[0] in ("ሰላ", "ላም")  # the most frequent pair first
    after = lengthen(list(words), found.pairs)
    assert [len(after.tokenizer.encode(word).ids) for word in words] == [1, 1, 2]
    assert tokens_per_word(letters.tokenizer, words) == pytest.approx((5 * 3 + 3 * 2 + 2) / 9)
    assert tokens_per_word(after.tokenizer, words) == pytest.approx((5 + 3 + 2) / 9)


def test_no_more_tokens_than_asked_for(old: Vocabulary, lengthen: Callable[..., Tokenizer]) -> None:
    """The first of them, whatever the number."""
    letters, words = lengthen(AMHARIC).tokenizer, Counter(AMHARIC * 2)
    more = learn(letters, words, 60, old.ids)
    for count in (0, 1, 50):
        found = learn(letters, words, count, old.ids)
        assert len(found.tokens) == len(found.pairs) == count
        assert found.tokens == more.tokens[:count]
        assert learn(letters, Counter(AMHARIC[::-1] * 2), count, old.ids) == found  # in any order of the texts
    assert learn(letters, Counter({"ሰ": 9}), 50, old.ids) == Merges([], [])  # a word of one token


def test_nothing_is_merged_across_pieces_or_with_special_tokens(
    old: Vocabulary, lengthen: Callable[..., Tokenizer]
) -> None:
    words = ["ሰላም።፲፪", "[SPACE]ሰ", "ሰ[am]ላ"]
    found = learn(lengthen(words).tokenizer, Counter(words * 9), 100, old.ids)
    assert found.tokens
    for token in found.tokens:
        assert not set(token) & set("[]") and not (set(token) & set("።፲፪") and set(token) & set("ሰላም")), token
