"""The work of `study.py extend-vocab`: letters and merges of the corpus, or a given vocabulary, and a base of them."""

import hashlib
import json
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search.check.base import wrong_language
from search.check.judgement import few
from search.errors import UserError, named_full_disk
from search.preparation import base_check, extension, tables, vocabulary
from search.preparation.cache import make_cache_directory
from search.preparation.parentage import NAME
from search.preparation.places import Progress, locate
from search.preparation.recordings import file_digest
from search.preparation.surveying import in_the_bases_words
from search.preparation.vocabulary import Vocabulary
from search.settings.settings import Settings
from search.sources import commit
from search.tools import merges
from search.tools.extend import Request
from search.training import base
from search.training.tokenizer import (
    Tokenizer,
    extended_vocabulary,
    language_tag,
    missing_tokens,
    preprocessed,
    tagged_languages,
)
from search.trial import Caller

FIELD = "--vocabulary"
COPIED = ("dvae.pth", "mel_stats.pth", *base.COMPANIONS)

NOTHING = (
    "data: nothing would be added: the base has a token for every letter of the texts, and no pair of tokens that may"
    " be merged occurs twice; --any-letters joins letters that it has, but then texts in its other languages may be cut"
    " differently"
)


def run(caller: Caller, request: Request) -> list[str]:
    """`work` in a process of its own, which says "progress"."""
    return work(request, lambda text: caller.say("progress", text=text))


def work(request: Request, progress: Progress) -> list[str]:
    """Writes the extended base into the empty folder `request.folder`; returns what to tell the user.

    Raises UserError.
    """
    settings = Settings.model_validate_json(request.settings)
    root, directory = locate(settings, make_cache_directory(), progress)
    base_check.check(directory)
    progress("reading the texts")
    data = in_the_bases_words(settings.data, directory)
    if wrong := wrong_language(data.language, tagged_languages(directory / "vocab.json")):
        raise UserError("; ".join(wrong))
    rows = tables.read_rows(data, root, settings.study.seed)
    step = "nothing of it is left: make room, then run the same command again"
    with named_full_disk(f"--output {request.output} cannot be written", step):
        extension_of = _Extension(request, settings.model_copy(update={"data": data}), directory, progress)
        return extension_of.write(
            *([str(row["text"]) for row in part if row["text"] is not None] for part in rows.parts)
        )


class _Extension:
    """The extension of the base in `directory`, into the folder of the request."""

    def __init__(self, request: Request, settings: Settings, directory: Path, progress: Progress) -> None:
        self._request, self._directory, self._progress = request, directory, progress
        self._language, self._seed = settings.data.language, settings.study.seed
        self._folder = request.folder
        self._old = vocabulary.read(directory / "vocab.json", "base.path")

    def write(self, training: list[str], held_out: list[str]) -> list[str]:
        # `letters` is the base's tokenizer with further letters: what new tokens are made of, in its terms.
        old, texts = self._old, [*training, *held_out]
        lacking = missing_tokens(old.tokenizer, texts, self._language)
        clean = (preprocessed(old.tokenizer, text, self._language) for text in training)
        words = merges.count_words(filter(None, clean))
        if self._request.vocabulary is None:
            letters = Tokenizer.of(extended_vocabulary(old.path, lacking))
            new = self._learned(lacking, letters, words)
        else:
            new = self._given(self._request.vocabulary)
            letters = Tokenizer.of(extended_vocabulary(old.path, sorted(new.letters - old.letters)))
        self._progress("writing model.pth")
        rows = extension.layout(old, new, _parts(old, new, letters))
        extension.write_model(self._directory, self._folder, rows, self._language, self._request.init, self._seed)
        for name in COPIED:
            if (self._directory / name).exists():
                shutil.copyfile(self._directory / name, self._folder / name)
        note = self._note(new, rows, training)
        (self._folder / NAME).write_text(json.dumps(note, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        base_check.check(self._folder)
        cut = [merges.tokens_per_word(each, words) for each in (letters.tokenizer, new.tokenizer.tokenizer)]
        lines = self._added(note, vocabulary.changes(old, new))
        if words:
            shorter = f"{cut[0]:.2f} tokens per word with the letters alone, {cut[1]:.2f} now"
            lines.insert(-1, f"training texts: {words.total()} words, {shorter}")
        if left := missing_tokens(new.tokenizer, texts, self._language):
            some = f"{len(left)} tokens that the corpus needs ({few(left)})"
            lines.insert(-1, f"warning: neither vocabulary has {some}; a search adds them")
        return lines

    def _added(self, note: dict[str, Any], changes: list[str]) -> list[str]:
        """How many tokens of which kind are new, and `changes`: why texts of other languages may be cut otherwise."""
        added, tag, asked = note["added"], language_tag(self._language), self._request.tokens
        letters = sum(len(token) == 1 for token in added)
        others = sum(len(token) > 1 and token != tag for token in added)
        parts = [f"the tag {tag}"] if tag in added else []
        parts += [f"{letters} letters"] if letters else []
        parts += [f"{others} {'tokens by merges' if 'learned' in note else 'further tokens'}"]
        before = note["parent"]["tokens"]
        new = f"{note['tokens'] - before} new ones: {', '.join(parts)}"
        lines = [f"vocabulary: {before} rows and {new}; every old token keeps its rows"]
        if "learned" in note and others < asked:
            kind = "" if changes else " with a new letter"  # no merge joins two tokens that the base has
            few_pairs = f"no further pair of tokens{kind} occurs twice in the texts"
            lines.append(f"merges: {others} of the {asked} asked for; {few_pairs}")
        kept = "texts without a new letter are cut into the same tokens as before"
        warning = "warning: texts in the base's other languages may be cut differently than before: "
        return [*lines, warning + "; ".join(changes) if changes else kept]

    def _learned(self, lacking: list[str], letters: Tokenizer, words: Counter[str]) -> Vocabulary:
        """The base's vocabulary with what it lacks and the merges of `words`, as `letters` cuts them."""
        request = self._request
        self._progress(f"learning {request.tokens} merges of {len(words)} different words")
        apart = () if request.any_letters else self._old.ids
        found = merges.learn(letters.tokenizer, words, request.tokens, apart)
        if not lacking and not found.tokens:
            raise UserError(NOTHING)
        text = extended_vocabulary(self._old.path, lacking, found.pairs)
        (self._folder / "vocab.json").write_text(text, encoding="utf-8")
        return vocabulary.read(self._folder / "vocab.json", FIELD)

    def _given(self, path: Path) -> Vocabulary:
        """The vocabulary of `--vocabulary`, checked against the base's and copied as it is."""
        new = vocabulary.read(path, FIELD)
        vocabulary.refuse_lost(self._old, new, FIELD)
        vocabulary.refuse_odd_ids(self._old, new, FIELD)
        if new.ids.keys() == self._old.ids.keys():
            raise UserError(f"{FIELD} {path} has the tokens of base.path and no others; nothing would be added")
        shutil.copyfile(path, self._folder / "vocab.json")
        return new

    def _note(self, new: Vocabulary, rows: extension.Layout, training: list[str]) -> dict[str, Any]:
        request, old = self._request, self._old
        added = sorted(new.ids.keys() - old.ids.keys(), key=new.ids.__getitem__)
        if request.vocabulary:
            source: dict[str, Any] = {"vocabulary": file_digest(request.vocabulary).hex()}
        else:
            source = {"learned": {"asked": request.tokens, "any_letters": request.any_letters}}
        files = {name: file_digest(self._directory / name).hex() for name in base.FILES}
        return {
            "version": 1,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "made_by": commit() or "unknown",
            "parent": {"files": files, "tokens": old.rows},
            "language": self._language,
            "tokens": new.rows,
            "added": {token: new.ids[token] for token in added},
            "new_rows": extension.untrained(self._directory, rows),
            "init": request.init,
            "seed": self._seed,
            **source,
            "texts": len(training),
            "corpus": hashlib.sha256("".join(f"{text}\n" for text in training).encode()).hexdigest(),
        }


def _parts(old: Vocabulary, new: Vocabulary, letters: Tokenizer) -> dict[str, list[str]]:
    """What each new token is made of, in tokens that `letters` has; letters and tags are made of nothing."""
    special = {token.content for token in new.tokenizer.tokenizer.get_added_tokens_decoder().values()}
    made = {}
    for token in new.ids.keys() - old.ids.keys() - special:
        known = [part for part in merges.leaves(letters.tokenizer, token) if part != "[UNK]" and part in new.ids]
        if known != [token]:
            made[token] = known
    return made
