"""Continued byte-pair encoding: merges learned on top of those that a vocabulary has.

A text is cut by the vocabulary's own merges first, and its tokens are the letters that new merges are learned of: each
token becomes one private-use character, and the trainer of `tokenizers` does the rest.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import tokenizers
from tokenizers import models, trainers

FIRST_SIGN = 0xF0000  # private-use planes 15 and 16
SIGNS = 131_072  # code points in them
RAREST = 2  # a pair seen once says nothing about the language


@dataclass(frozen=True)
class Merges:
    """Pairs of tokens in the order in which they are merged, and the new tokens among their products."""

    pairs: list[tuple[str, str]]
    tokens: list[str]


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word, parted by white space, stands in `texts`."""
    words: Counter[str] = Counter()
    for text in texts:
        words.update(text.split())
    return words


def tokens_per_word(tokenizer: tokenizers.Tokenizer, words: Counter[str]) -> float:
    """Mean over all words, a repeated one counted each time; NaN without words."""
    encoded = tokenizer.encode_batch(list(words), add_special_tokens=False)
    tokens = sum(len(e.ids) * n for e, n in zip(encoded, words.values(), strict=True))
    return tokens / words.total() if words else float("nan")


def learn(tokenizer: tokenizers.Tokenizer, words: Counter[str], count: int, kept_apart: Collection[str]) -> Merges:
    """At most `count` new tokens by merges; fewer where pairs are rarer than `RAREST` or make known tokens.

    Args:
        tokenizer: Knows every letter of `words`.
        words: With how often each occurs.
        kept_apart: Tokens of which no two are ever merged with each other: a product holds at least one token that is
            none of these. Texts that hold these tokens alone are then cut as before.
    """
    segments: Counter[tuple[str, ...]] = Counter()
    apart = frozenset(kept_apart)
    for word, times in words.items():
        for segment in _segments(tokenizer, word, apart):
            segments[segment] += times
    known = tokenizer.get_vocab()
    pairs = _trained(segments, count)
    return Merges(pairs, list(dict.fromkeys(left + right for left, right in pairs if left + right not in known)))


def leaves(tokenizer: tokenizers.Tokenizer, token: str) -> list[str]:
    """The tokens that `tokenizer` cuts `token` into."""
    return list(tokenizer.encode(token, add_special_tokens=False).tokens)


def _segments(tokenizer: tokenizers.Tokenizer, word: str, kept_apart: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """Runs of two or more tokens of `word` that may be merged: within one piece of the pre-tokenizer, which a
    special token is by itself, and no two of `kept_apart` side by side.
    """
    encoding = tokenizer.encode(word, add_special_tokens=False)
    run: list[str] = []
    before: int | None = None
    for token, piece in zip(encoding.tokens, encoding.word_ids, strict=True):
        if piece != before or (token in kept_apart and run[-1] in kept_apart):
            if len(run) > 1:
                yield tuple(run)
            run = []
        run.append(token)
        before = piece
    if len(run) > 1:
        yield tuple(run)


def _trained(segments: Counter[tuple[str, ...]], count: int) -> list[tuple[str, str]]:
    """At most `count` merges of the tokens in `segments`, the most frequent pair first."""
    alphabet = sorted({token for segment in segments for token in segment})
    if not alphabet or not count:
        return []
    assert len(alphabet) <= SIGNS, f"{len(alphabet)} different tokens, more than private-use characters"
    sign_of = {token: chr(FIRST_SIGN + i) for i, token in enumerate(alphabet)}
    token_of = {sign: token for token, sign in sign_of.items()}
    model = tokenizers.Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=len(alphabet) + count, min_frequency=RAREST, show_progress=False)
    model.train_from_iterator(
        ("".join(map(sign_of.__getitem__, segment)) for segment, n in segments.items() for _ in range(n)), trainer
    )
    merges = json.loads(model.to_str())["model"]["merges"]
    return [tuple("".join(token_of[sign] for sign in part) for part in pair) for pair in merges]  # type: ignore[misc]
