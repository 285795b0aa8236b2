"""One tokenizer for training and inference: coqui's, extended to languages that it does not list.

`VoiceBpeTokenizer.preprocess_text` raises NotImplementedError for a language outside its list ("am"), which the stock
dataset turns into "every clip dropped". For the languages inside the list nothing changes.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

from search.errors import UserError

UNKNOWN_ID = 1  # [UNK]; XTTSDataset.get_text drops a clip that holds it
STOP_ID = 0  # [STOP]; XTTSDataset.get_text drops a clip that holds it, too

# `VoiceBpeTokenizer.preprocess_text` cleans these; `tests/test_tokenizer.py` compares the list with the installed one.
LISTED = frozenset("ar cs de en es fr hi hu it ja ko nl pl pt ru tr zh".split())

# Signs that are neither seen nor spoken: controls, the byte order mark, zero-width and word-joining spaces, soft
# hyphens, marks of direction. The joiners U+200C and U+200D stay: they tell words of Persian and Sinhala apart.
INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)


class TextError(ValueError):
    """coqui's cleaner for a listed language fails on the text, so the stock dataset drops the clip.

    Seen with numbers: every number in Hindi, and those of more digits than num2words knows in Czech, Polish, Russian.
    """


class Tokenizer(VoiceBpeTokenizer):
    """coqui's tokenizer; texts of languages that it does not list are normalised by `normalise`."""

    @classmethod
    def of(cls, vocabulary: str) -> "Tokenizer":
        """Of the content of a vocab.json."""
        made = cls()
        made.tokenizer = tokenizers.Tokenizer.from_str(vocabulary)
        return made

    def preprocess_text(self, txt: str, lang: str) -> str:
        """The text that is tokenised. Raises TextError, and UserError when a listed language needs a package."""
        if lang not in LISTED:
            return normalise(txt)
        try:
            return str(super().preprocess_text(txt, lang))
        except ImportError as error:
            raise UserError(
                f"data.language is {lang!r}, and coqui's cleaner for it needs further packages ({error});"
                f" make study EXTRAS={lang} installs them"
            ) from error
        except Exception as error:  # 16 small cleaners, each failing in its own way
            raise TextError(f"coqui's cleaner for {lang!r} fails on the text ({error!r})") from error


def normalise(text: str) -> str:
    """`text` in NFC and lower case, without invisible signs, any white space as one space. Idempotent.

    Punctuation and numerals stay, also the Ethiopic ones. As `speak.py`.
    """
    visible = INVISIBLE.sub("", text)
    lower = unicodedata.normalize("NFC", visible).lower()
    return " ".join(unicodedata.normalize("NFC", lower).split())  # lower case of a composed letter may be in two parts


def language_tag(language: str) -> str:
    """The token that `VoiceBpeTokenizer.encode` puts before a text of `language`."""
    language = language.split("-")[0]
    return "[zh-cn]" if language == "zh" else f"[{language}]"


def tagged_languages(vocabulary: Path) -> set[str]:
    """The languages that have a token, like [en]; none where the file is no vocabulary, of which `base_check` tells."""
    try:
        added = json.loads(vocabulary.read_text(encoding="utf-8"))["added_tokens"]
        return {found[1] for token in added if (found := re.fullmatch(r"\[([a-z-]+)\]", token["content"]))}
    except (ValueError, KeyError, TypeError):
        return set()


def missing_tokens(tokenizer: Tokenizer, texts: Iterable[str], language: str) -> list[str]:
    """What `tokenizer` lacks for `texts`: the tag "[am]" first, then letters in code-point order.

    A text that coqui's cleaner fails on counts for nothing: its clip is dropped.
    """
    tag = language_tag(language)
    missing = [] if tokenizer.tokenizer.token_to_id(tag) is not None else [tag]
    letters: set[str] = set()
    for text in texts:
        letters.update(preprocessed(tokenizer, text, language) or "")
    return missing + sorted(c for c in letters - {" "} if UNKNOWN_ID in tokenizer.tokenizer.encode(c).ids)


def preprocessed(tokenizer: Tokenizer, text: str, language: str) -> str | None:
    """The text that is tokenised; None where coqui's cleaner fails on it."""
    try:
        return tokenizer.preprocess_text(text, language.split("-")[0])
    except TextError:
        return None


def extended_vocabulary(vocabulary: Path, added: Sequence[str], merges: Sequence[tuple[str, str]] = ()) -> str:
    """`vocabulary` (a `tokenizers` JSON) with `added`, then the products of `merges`, after its last id.

    Every old id keeps its meaning. Tags in brackets become special tokens, so that they are never split; letters and
    products join the model's vocabulary. A product that has an id keeps it. Merges come after the vocabulary's own.
    """
    content: dict[str, Any] = json.loads(vocabulary.read_text(encoding="utf-8"))
    model = content["model"]["vocab"]
    ids: dict[str, int] = VoiceBpeTokenizer(vocabulary).tokenizer.get_vocab()
    for token in content["added_tokens"]:
        # `tokenizers` numbers an added token that the model does not know after the model's last id, whatever the
        # file says: with a longer model vocabulary [START] would move.
        token["id"] = model.setdefault(token["content"], ids[token["content"]])
    next_id = 1 + max(ids.values())
    for token in added:
        if token.startswith("[") and len(token) > 1:
            plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            content["added_tokens"].append({"id": next_id, "content": token, **plain, "special": True})
        model[token] = next_id
        next_id += 1
    old_merges = content["model"]["merges"]
    in_pairs = not old_merges or isinstance(old_merges[0], list)  # older files write "a b"
    for left, right in merges:
        old_merges.append([left, right] if in_pairs else f"{left} {right}")
        if left + right not in model:
            model[left + right] = next_id
            next_id += 1
    return json.dumps(content, ensure_ascii=False, indent=2)
