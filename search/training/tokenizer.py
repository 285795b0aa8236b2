"""coqui's tokenizer for languages that it does not list, and a vocabulary that grows.

`VoiceBpeTokenizer.preprocess_text` raises NotImplementedError for a language outside its list ("am"), which the stock
dataset turns into "every clip dropped". For the languages inside the list nothing changes.
"""

import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

UNKNOWN_ID = 1  # [UNK]; XTTSDataset.get_text drops a clip that holds it


class Tokenizer(VoiceBpeTokenizer):
    """Normalises other languages by NFC, lower case and single spaces; leaves punctuation and numerals as they are."""

    def preprocess_text(self, txt: str, lang: str) -> str:
        try:
            return str(super().preprocess_text(txt, lang))
        except NotImplementedError:
            return " ".join(unicodedata.normalize("NFC", txt).lower().split())


def missing_tokens(tokenizer: Tokenizer, texts: Iterable[str], language: str) -> list[str]:
    """What `tokenizer` lacks for `texts`: the tag "[am]" first, then letters in code-point order."""
    language = language.split("-")[0]
    tag = "[zh-cn]" if language == "zh" else f"[{language}]"
    missing = [] if tokenizer.tokenizer.token_to_id(tag) is not None else [tag]
    letters = {letter for text in texts for letter in tokenizer.preprocess_text(text, language)} - {" "}
    return missing + sorted(c for c in letters if UNKNOWN_ID in tokenizer.tokenizer.encode(c).ids)


def extended_vocabulary(vocabulary: Path, added: list[str]) -> str:
    """`vocabulary` (a `tokenizers` JSON) with `added` after its last id; every old id keeps its meaning.

    Tags in brackets become special tokens, so that they are never split; letters join the model's vocabulary.
    """
    content = json.loads(vocabulary.read_text(encoding="utf-8"))
    model = content["model"]["vocab"]
    for token in content["added_tokens"]:
        # `tokenizers` numbers an added token that the model does not know after the model's last id, whatever the
        # file says: with a longer model vocabulary [START] would move.
        model.setdefault(token["content"], token["id"])
    next_id = 1 + max([*model.values(), *(token["id"] for token in content["added_tokens"])])
    for i, token in enumerate(added):
        if token.startswith("[") and len(token) > 1:
            content["added_tokens"].append(
                {
                    "id": next_id + i,
                    "content": token,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
            )
        model[token] = next_id + i
    return json.dumps(content, ensure_ascii=False, indent=2)
