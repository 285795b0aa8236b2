"""What an extension of the vocabulary does to losses: the figures of docs/vocabulary.md.

`python -m tests.extension_figures [FOLDER]` prints them for the miniature, or for the base in FOLDER.
"""

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from search.preparation import extension, vocabulary
from search.preparation.miniature_texts import ENGLISH, sentences
from search.preparation.parentage import Init
from search.preparation.places import locate
from search.settings.settings import load
from search.tools import merges
from search.training import base, corpus
from search.training.corpus import Corpus
from search.training.evaluation import Evaluator, evaluation_sets
from search.training.tokenizer import Tokenizer, extended_vocabulary, missing_tokens, preprocessed

SECONDS = (0.5, 1.0)  # of conditioning
CLIPS = 20


@dataclass(frozen=True)
class Figures:
    """Losses in nats per token, of one base."""

    english_tokens: list[list[int]]
    english_mel: float
    english_text: float
    english_text_old: float  # the softmax over the base's own tokens alone
    amharic_mel: float
    amharic_text: float


def english(clips: Corpus, tokenizer: Tokenizer, count: int = CLIPS) -> Corpus:
    """Eval clips with English sentences for texts."""
    texts = sentences(ENGLISH, count, seed=5)
    return _retold([replace(c, text=t) for c, t in zip(clips.train, texts, strict=False)], clips, tokenizer, "en")


def amharic(clips: Corpus, tokenizer: Tokenizer, count: int = CLIPS) -> Corpus:
    return _retold(clips.eval[:count], clips, tokenizer, "am")


def _retold(chosen: Sequence[corpus.Clip], clips: Corpus, tokenizer: Tokenizer, language: str) -> Corpus:
    """`chosen` as the eval set, their texts in tokens of `tokenizer`, and the first of them as the training set."""
    tokens: list[int] = []
    made = []
    for clip in chosen:
        ids = tokenizer.encode(clip.text, language)
        made.append(replace(clip, language=language, first_token=len(tokens), tokens=len(ids)))
        tokens += ids
    return replace(clips, eval=made, train=made[:1], text_tokens=np.array(tokens, dtype=clips.text_tokens.dtype))


def figures(model: base.StudyModel, clips: Corpus, old_rows: int, count: int = CLIPS) -> Figures:
    """Of `model`, whose rows from `old_rows` on are new."""
    tokenizer = model.xtts.tokenizer
    spoken, learnt = english(clips, tokenizer, count), amharic(clips, tokenizer, count)
    sets = [evaluation_sets(model, part, 1, 1, 10) for part in (spoken, learnt)]
    evaluator = Evaluator(model, sets[0])
    of_english, of_amharic = (evaluator.losses(part.eval) for part in sets)
    with torch.no_grad():
        model.xtts.gpt.text_head.bias[old_rows:] = -1e9  # no share of the softmax
    old_only = evaluator.losses(sets[0].eval)
    return Figures(
        [spoken.tokens(clip).tolist() for clip in spoken.eval],
        *of_english,
        old_only[1],
        *of_amharic,
    )


def load_base(folder: Path) -> base.StudyModel:
    return base.load_model(base.training_config(folder, SECONDS, 11.6, 200))


def resized_by_stock(folder: Path, vocab: Path, scratch: Path) -> base.StudyModel:
    """The base of `folder` with the vocabulary `vocab`, as `GPTTrainer.__init__` resizes a `gpt_checkpoint`."""
    torch.save(base.gpt_weights(base.read_weights(folder / "model.pth")), scratch / "gpt.pth")
    config = base.training_config(folder, SECONDS, 11.6, 200)
    config.model_args.tokenizer_file = str(vocab)
    config.model_args.xtts_checkpoint = ""
    config.model_args.gpt_checkpoint = str(scratch / "gpt.pth")
    torch.manual_seed(1)
    model = base.StudyModel(config)
    model.xtts.tokenizer = Tokenizer(vocab)
    return model


def extended(
    folder: Path, scratch: Path, texts: Sequence[str], count: int
) -> tuple[vocabulary.Vocabulary, extension.Layout]:
    """The vocabulary of `folder` extended for Amharic `texts` by `count` merges, in `scratch`, and its rows."""
    old = vocabulary.read(folder / "vocab.json", "base.path")
    lacking = missing_tokens(old.tokenizer, texts, "am")
    path = scratch / "vocab.json"
    path.write_text(extended_vocabulary(old.path, lacking), encoding="utf-8")
    letters = Tokenizer(path)
    words = merges.count_words(filter(None, (preprocessed(letters, text, "am") for text in texts)))
    found = merges.learn(letters.tokenizer, words, count, old.ids)
    path.write_text(extended_vocabulary(old.path, lacking, found.pairs), encoding="utf-8")
    new = vocabulary.read(path, "base.path")
    parts = {token: merges.leaves(letters.tokenizer, token) for token in found.tokens}
    return new, extension.layout(old, new, parts)


def table(folder: Path, clips: Corpus, count: int = 1000, clips_each: int = CLIPS) -> dict[str, Figures]:
    """Figures by way of making the new rows; "before" is the base without any."""
    made: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        texts = [clip.text for clip in (*clips.train, *clips.eval)]
        model = load_base(folder)
        old_rows = model.xtts.gpt.text_embedding.num_embeddings
        made["before"] = figures(model, clips, old_rows, clips_each)
        new, rows = extended(folder, scratch, texts, count)
        for name in ("dvae.pth", "mel_stats.pth"):
            (scratch / name).symlink_to((folder / name).resolve())
        for init in get_args(Init):
            extension.write_model(folder, scratch, rows, "am", init, seed=1)
            made[init] = figures(load_base(scratch), clips, old_rows, clips_each)
        made["coqui's resize"] = figures(resized_by_stock(folder, new.path, scratch), clips, old_rows, clips_each)
        print(f"{old_rows} rows, {new.rows} after; ln {new.rows} = {math.log(new.rows):.3f}")
    return made


if __name__ == "__main__":
    from search.preparation.cache import cache_directory
    from search.preparation.prepare import prepare

    miniature = load(None, {})
    prepared = prepare(miniature, cache_directory(), lambda _: None)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else locate(miniature, cache_directory(), print)[1]
    for name, found in table(folder, corpus.load(Path(prepared.directory) / "corpus")).items():
        print(name, replace(found, english_tokens=[]))
