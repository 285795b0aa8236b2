"""What `extend-vocab` asks its process for, and what that made: plain data, without torch."""

import math
from dataclasses import dataclass, field

from search.preparation.parentage import Init


@dataclass(frozen=True)
class Request:
    """What the process is to make."""

    settings: str  # JSON of the Settings that name data and base
    folder: str  # empty; takes the files
    output: str  # the folder's later name, for messages
    tokens: int  # new tokens by merges, beside letters and tag
    vocabulary: str | None  # a file extended elsewhere, instead of merges learned here
    init: Init  # of new rows
    seed: int
    any_letters: bool  # merges may join letters that the base has
    cache: str
    commit: str


@dataclass(frozen=True)
class Made:
    """What was added, and what it does to the training texts."""

    tokens_before: int  # rows of the base
    tokens_after: int
    tag: str | None  # of the language, when the base lacks it
    letters: str  # that the base lacks
    others: int  # further new tokens: merges
    words: int  # in the training texts
    tokens_per_word_before: float  # by the base's merges and the new letters
    tokens_per_word_after: float
    still_lacking: list[str] = field(default_factory=list)  # of the corpus in a vocabulary that was given
    changes: list[str] = field(default_factory=list)  # why texts of other languages may be cut otherwise

    def lines(self, asked: int | None) -> list[str]:
        """For a terminal; `asked` merges, None where the vocabulary was given."""
        parts = [f"the tag {self.tag}"] if self.tag else []
        parts += [f"{len(self.letters)} letters"] if self.letters else []
        parts += [f"{self.others} {'further tokens' if asked is None else 'tokens by merges'}"]
        lines = [
            f"vocabulary: {self.tokens_before} rows and {self.tokens_after - self.tokens_before} new ones:"
            f" {', '.join(parts)}; every old token keeps its rows"
        ]
        if asked is not None and self.others < asked:
            found = f"merges: {self.others} of the {asked} asked for; no further pair of tokens"
            if self.changes:
                lines.append(f"{found} occurs twice in the texts")
            else:  # no merge joins two tokens that the base has
                lines.append(
                    f"{found} with a new letter occurs twice in the texts; --any-letters merges other pairs, too, and"
                    " changes how other languages are cut"
                )
        if not math.isnan(self.tokens_per_word_after):
            lines.append(
                f"training texts: {self.words} words, {self.tokens_per_word_before:.2f} tokens per word with the"
                f" letters alone, {self.tokens_per_word_after:.2f} now"
            )
        if self.still_lacking:
            some = " ".join(self.still_lacking[:12]) + (" …" if len(self.still_lacking) > 12 else "")
            lines.append(
                f"warning: neither vocabulary has {len(self.still_lacking)} tokens that the corpus needs ({some}); a"
                " search adds them"
            )
        if self.changes:
            reasons = "; ".join(self.changes)
            lines.append(f"warning: texts in the base's other languages may be cut differently than before: {reasons}")
        else:
            lines.append("texts without a new letter are cut into the same tokens as before")
        return lines
