"""A vocabulary extended on a base of XTTS-v2's size: `make test-full`."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search.preparation import parentage
from search.preparation.places import locate
from search.preparation.prepare import prepare
from search.settings.settings import load
from search.training import base, corpus
from search.training.new_rows import TENSORS
from search.training.tokenizer import Tokenizer
from tests.extension_figures import figures, load_base, resized_by_stock
from tests.full_size import TOKENS, write_full_size_base
from tests.test_full_size import run

pytestmark = pytest.mark.full

CLIPS = 2


@pytest.fixture(scope="module")
def folder(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, of full size with random weights, and `new`, with 1,000 merges of the miniature's Amharic asked for."""
    folder = tmp_path_factory.mktemp("full")
    root, miniature = locate(load(None, {}), cache, lambda _: None)
    (folder / "base").mkdir()
    write_full_size_base(miniature, folder / "base")
    (folder / "study.toml").write_text(
        f'[data]\npath = "{root}"\neval = "eval.csv"\nlanguage = "am"\n[base]\npath = "base"\n'
    )
    return folder


@pytest.mark.timeout(600)
def test_the_command_fits_into_memory(folder: Path) -> None:
    _, memory, _ = run(folder, "extend-vocab", "--output", "new")
    assert memory < 13e9
    assert (folder / "new" / "model.pth").stat().st_size > 0
    old, new = (Tokenizer(folder / name / "vocab.json").tokenizer.get_vocab() for name in ("base", "new"))
    assert {token: new[token] for token in old} == old
    assert parentage.new_rows(folder / "new") == list(range(TOKENS, len(new)))
    before, after = base.read_weights(folder / "base" / "model.pth"), base.read_weights(folder / "new" / "model.pth")
    for name in TENSORS:
        assert torch.equal(after[f"gpt.{name}"][:TOKENS], before[f"gpt.{name}"])


@pytest.mark.timeout(600)
def test_english_is_computed_as_before(folder: Path, cache: Path, tmp_path: Path) -> None:
    """Beside coqui's own resize. Amharic text is near chance, ln of the vocabulary's size."""
    prepared = prepare(load(None, {}), cache, lambda _: None)
    clips = corpus.load(Path(prepared.directory) / "corpus")
    before, after = (figures(load_base(folder / name), clips, TOKENS, CLIPS) for name in ("base", "new"))
    resized = resized_by_stock(folder / "base", folder / "new" / "vocab.json", tmp_path)
    stock = figures(resized, clips, TOKENS, CLIPS)
    rows = Tokenizer(folder / "new" / "vocab.json").get_number_tokens()
    for of in (before, after, stock):
        print(replace(of, english_tokens=[]))
    print(f"{rows} rows; ln {rows} = {math.log(rows):.3f}")
    assert before.english_tokens == after.english_tokens
    assert after.english_mel == pytest.approx(before.english_mel, abs=1e-4)
    assert after.english_text_old == pytest.approx(before.english_text_old, abs=1e-4)
    assert math.isfinite(after.amharic_mel)
    assert after.amharic_text == pytest.approx(math.log(rows), rel=0.3)
    assert stock.amharic_text > 1.5 * after.amharic_text
