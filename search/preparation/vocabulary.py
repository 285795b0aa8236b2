"""Vocabularies: read and checked, and two of them compared."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.check.judgement import few
from search.errors import UserError
from search.training.file_kinds import WrongKind, read_json
from search.training.tokenizer import STOP_ID, UNKNOWN_ID, Tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """A vocab.json as `tokenizers` understands it."""

    path: Path
    tokenizer: Tokenizer
    ids: dict[str, int]  # as `tokenizers` numbers them, which need not be what the file says
    content: dict[str, Any]

    @property
    def merges(self) -> list[tuple[str, str]]:
        pairs = self.content["model"].get("merges", [])
        return [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in pairs]

    @property
    def rows(self) -> int:
        """Rows that a model needs for it."""
        return 1 + max(self.ids.values())

    @property
    def holes(self) -> set[int]:
        """Ids that no token has."""
        return set(range(self.rows)) - set(self.ids.values())

    @property
    def letters(self) -> set[str]:
        """Single characters that have a token."""
        return {token for token in self.ids if len(token) == 1}


def read(path: Path, field: str) -> Vocabulary:
    """The vocabulary at `path`. Raises UserError, naming `field`, unless it is a BPE vocabulary with XTTS's tokens."""
    try:
        content = read_json(path)
        model = content["model"]
        kind = model.get("type", "BPE")
        affixes = [key for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout") if model.get(key)]
        tokenizer = Tokenizer(path)
        ids = dict(tokenizer.tokenizer.get_vocab())
    except WrongKind as error:
        raise UserError(f"{field} {path} {error}") from error
    except Exception as error:  # tokenizers raises plain Exception for a file that it cannot use
        raise UserError(f"{field} {path} is not a vocabulary of tokenizers; give a vocab.json") from error
    if kind != "BPE" or affixes:
        raise UserError(f"{field} {path} is no plain BPE vocabulary, which XTTS has: {' '.join([kind, *affixes])}")
    missing = [token for token in ("[STOP]", "[UNK]", "[SPACE]", "[START]") if token not in ids]
    if missing:
        raise UserError(f"{field} {path} has no {' '.join(missing)}; it is not an XTTS vocabulary")
    return Vocabulary(path, tokenizer, ids, content)


def refuse_odd_ids(base: Vocabulary, other: Vocabulary, field: str) -> None:
    """Raises UserError for two tokens with one id, and for an id without a token that is not `base`'s own hole."""
    ids, path = other.ids, other.path
    by_id: dict[int, str] = {}
    for token, index in sorted(ids.items()):
        if (first := by_id.setdefault(index, token)) != token:
            both = f"both {first!r} and {token!r}"
            raise UserError(f"{field} {path} gives id {index} to {both}; give one of them an id of its own")
    holes = sorted(set(range(other.rows)) - by_id.keys() - base.holes)
    if holes:
        missing = few(map(str, holes))
        raise UserError(
            f"{field} {path} has no token for id {missing} of {other.rows}; number the tokens without holes"
        )
    if (ids["[STOP]"], ids["[UNK]"]) != (STOP_ID, UNKNOWN_ID):
        raise UserError(
            f"{field} {path} has [STOP] at {ids['[STOP]']} and [UNK] at {ids['[UNK]']}; coqui's training counts on"
            f" {STOP_ID} and {UNKNOWN_ID}"
        )


def refuse_lost(base: Vocabulary, other: Vocabulary, field: str) -> None:
    """Raises UserError unless `other` has every token of `base`."""
    lost = [token for token in sorted(base.ids, key=base.ids.__getitem__) if token not in other.ids]
    if lost:
        raise UserError(
            f"{field} {other.path} lacks {len(lost)} of the {len(base.ids)} tokens of base.path ({few(lost)}): it was"
            " not made from that base; name the base that it extends"
        )


def changes(base: Vocabulary, other: Vocabulary) -> list[str]:
    """Why `other` may cut texts of the base's languages differently from `base`, in words; [] when it cannot.

    Without reasons a text of letters that `base` has is cut into the same tokens: `other` has the merges of `base`
    first, and each further one makes a token with a letter that `base` lacks.
    """
    parts = ("normalizer", "pre_tokenizer")
    reasons = [f"its {key} is not the base's" for key in parts if base.content.get(key) != other.content.get(key)]
    merges, old, letters = other.merges, base.merges, base.letters
    if merges[: len(old)] != old:
        missing = len(set(old) - set(merges))
        reasons.append(
            f"it lacks {missing} of the base's {len(old)} merges" if missing else "the base's merges do not come first"
        )
    further = set(merges) - set(old)
    joining = sorted(pair for pair in merges if pair in further and set("".join(pair)) <= letters)
    if joining:
        shown = few("".join(pair) for pair in joining)
        reasons.append(f"{len(joining)} merges join letters that the base has ({shown})")
    added = {token["content"] for token in other.content["added_tokens"]} - base.ids.keys()
    whole = sorted(t for t in added if set(t) <= letters and not (t.startswith("[") and t.endswith("]")))
    if whole:
        reasons.append(f"{len(whole)} added tokens are found in any text ({few(whole)})")
    return reasons
