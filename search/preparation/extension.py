"""A base with a longer vocabulary: every token that was there keeps its rows bit for bit, new ones get new rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from search.preparation import parentage, vocabulary
from search.preparation.parentage import Init
from search.preparation.vocabulary import Vocabulary
from search.training import base
from search.training.new_rows import TENSORS
from search.training.tokenizer import extended_vocabulary


@dataclass(frozen=True)
class Layout:
    """Where the rows of a vocabulary come from."""

    sources: list[int | None]  # by new id: the old id whose row it takes, or None for a new row
    parts: Mapping[int, Sequence[int]] = field(default_factory=dict)  # new id: ids of the tokens that it is made of

    @property
    def new(self) -> list[int]:
        """Ids of the new rows."""
        return [i for i, source in enumerate(self.sources) if source is None]


def layout(old: Vocabulary, new: Vocabulary, parts: Mapping[str, Sequence[str]] | None = None) -> Layout:
    """Rows follow the strings of their tokens, so that a token may have moved. `old` may have holes; they stay rows."""
    kept = {hole: hole for hole in old.holes & new.holes}
    kept |= {index: old.ids[token] for token, index in new.ids.items() if token in old.ids}
    sources = [kept.get(i) for i in range(new.rows)]
    made_of = {new.ids[token]: [new.ids[part] for part in made] for token, made in (parts or {}).items() if made}
    return Layout(sources, made_of)


def extend(directory: Path, added: list[str], language: str, seed: int, target: Path) -> list[int]:
    """Writes the base of `directory` to the new folder `target`, with the tokens `added` appended to its vocabulary.

    Every old id and row is kept; START and STOP stay where they are. New rows are `matched`, seeded. The
    other files are links. Returns the ids of all rows that were never trained, those of the base's own extension too.
    """
    target.mkdir(parents=True)
    (target / "vocab.json").write_text(extended_vocabulary(directory / "vocab.json", added), encoding="utf-8")
    old = vocabulary.read(directory / "vocab.json", "base.path")
    rows = layout(old, vocabulary.read(target / "vocab.json", "base.path"))
    write_model(directory, target, rows, language, "matched", seed)
    for name in ("dvae.pth", "mel_stats.pth", *base.COMPANIONS):
        if (directory / name).exists():
            (target / name).symlink_to((directory / name).resolve())
    return untrained(directory, rows)


def untrained(directory: Path, rows: Layout) -> list[int]:
    """Ids in the new vocabulary of the rows that were never trained: new ones, and new ones of the base itself."""
    before = set(parentage.new_rows(directory))
    return [i for i, source in enumerate(rows.sources) if source is None or source in before]


def write_model(directory: Path, target: Path, rows: Layout, language: str, init: Init, seed: int) -> None:
    """model.pth and config.json of the base in `directory` into `target`, which has the new vocab.json."""
    weights = base.read_weights(directory / "model.pth")
    generator = torch.Generator().manual_seed(seed)
    for name in TENSORS:
        weights[f"gpt.{name}"] = extended_rows(weights[f"gpt.{name}"], rows, init, generator)
    with open(target / "model.pth", "wb") as file:  # a file of Python's: a full disk is an OSError behind torch's own
        torch.save({"model": weights}, file)
    content = base.config_values(directory)
    ids = vocabulary.read(target / "vocab.json", "base.path").ids
    content["model_args"].update(
        gpt_number_text_tokens=len(rows.sources), gpt_start_text_token=ids["[START]"], gpt_stop_text_token=ids["[STOP]"]
    )
    languages = content.get("languages") or []
    content["languages"] = [*languages, *([] if language in languages else [language])]
    (target / "config.json").write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")


def extended_rows(old: torch.Tensor, rows: Layout, init: Init, generator: torch.Generator) -> torch.Tensor:
    """`old` (tokens, channels), or a bias (tokens,), as `rows` says: old rows bit for bit, new ones by `init`.

    matched: normal, with each column's mean and standard deviation over the old rows; a bias is the old mean. Stock's
    N(0, 1) is far louder than trained rows.
    stock: N(0, 1), a bias 0 (`GPTTrainer.__init__`).
    mean: the mean of the old rows.
    parts: the mean of the rows of the tokens that the new one is made of; matched for what is made of nothing.
    """
    made = old.new_empty(len(rows.sources), *old.shape[1:])
    kept = [i for i, source in enumerate(rows.sources) if source is not None]
    made[kept] = old[[source for source in rows.sources if source is not None]]
    known = old.double()
    mean, spread = known.mean(0), known.std(0)
    if init == "stock":
        mean, spread = torch.zeros_like(mean), torch.ones_like(spread)
    if init == "mean" or old.ndim == 1:
        spread = torch.zeros_like(spread)
    noise = torch.randn(len(rows.new), *old.shape[1:], generator=generator)
    made[rows.new] = (mean + spread * noise.double()).to(old.dtype)
    if init == "parts":
        for index, parts in rows.parts.items():
            made[index] = made[list(parts)].double().mean(0).to(old.dtype)
    return made
