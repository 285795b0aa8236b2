"""`study.py extend-vocab`: a base with new tokens, made in a process of its own and placed whole or not at all."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from search.errors import UserError
from search.files import whole_folder
from search.preparation.parentage import Init
from search.workers.launcher import Failed, Launcher
from search.workers.session import told

TARGET = "search.tools.extend_vocabulary:run"
TOKENS = 1000  # new tokens by merges


@dataclass(frozen=True)
class Request:
    """What is to be made."""

    settings: str  # JSON of the Settings that name data and base, and the random seed
    output: str  # the new folder
    tokens: int  # new tokens by merges, beside letters and tag
    vocabulary: str | None  # a file extended elsewhere, instead of merges learned here
    init: Init  # of new rows
    any_letters: bool  # merges may join letters that the base has
    folder: str = ""  # the folder's name until it is whole


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
            if not self.changes:  # no merge joins two tokens that the base has
                found += " with a new letter"
            lines.append(f"{found} occurs twice in the texts")
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


def extend(request: Request, progress: Callable[[str], None]) -> Made:
    """Writes the base of the request, extended, to its new folder, whole or not at all. Raises UserError."""
    output, given = Path(request.output).absolute(), request.vocabulary
    refuse_output(output, request.output)
    if given is not None and not Path(given).is_file():
        raise UserError(f"--vocabulary is {given}, which is not a file; give a vocab.json")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(output) as folder:
            progress("loading torch and TTS")
            sent = asdict(replace(request, folder=str(folder)))
            return Made(**Launcher().call(TARGET, {"request": sent}, told(progress)))
    except Failed as error:
        raise UserError(f"extending the vocabulary failed: {error}") from error
    except OSError as error:
        raise UserError(
            f"--output {request.output} cannot be written ({error.strerror or error}); name another folder"
        ) from error


def refuse_output(output: Path, given: str) -> None:
    """Raises UserError unless `output` can become a new folder."""
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() or output.is_symlink():
        what = "is a folder with files in it" if output.is_dir() else "exists and is not a folder"
        raise UserError(f"--output {given} {what}; nothing is overwritten: name a new folder")
