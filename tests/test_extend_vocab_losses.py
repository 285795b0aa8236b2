"""What an extended base computes: English as before, Amharic near chance, where coqui's own resize is far from it."""

import math
from pathlib import Path
from typing import get_args

import pytest

from search.preparation import extension, vocabulary
from search.preparation.parentage import Init
from search.preparation.places import locate
from search.settings.settings import load
from search.training import corpus
from search.training.corpus import Corpus
from search.trial import Prepared
from tests.extension_figures import figures, load_base, resized_by_stock, table
from tests.extensions import moved_start


@pytest.fixture(scope="module")
def clips(prepared: Prepared) -> Corpus:
    return corpus.load(Path(prepared.directory) / "corpus")


@pytest.fixture(scope="module")
def folder(cache: Path) -> Path:
    return locate(load(None, {}), cache, lambda _: None)[1]


def test_english_is_computed_as_before_and_amharic_starts_near_chance(folder: Path, clips: Corpus) -> None:
    """The audio loss, and the text loss over the old tokens, are as before; the whole text loss is of a softmax with
    more tokens to choose from. The figures are in docs/vocabulary.md.
    """
    found = table(folder, clips, count=200)
    before, chance = found["before"], math.log(317)  # 5.76 nats of text
    for init in get_args(Init):
        assert found[init].english_tokens == before.english_tokens
        assert found[init].english_mel == pytest.approx(before.english_mel, abs=1e-5)
        assert found[init].english_text_old == pytest.approx(before.english_text_old, abs=1e-5)
    for init in ("matched", "mean", "parts"):
        assert before.english_text < found[init].english_text < before.english_text + 0.3
        assert math.isfinite(found[init].amharic_mel)
        assert chance < found[init].amharic_text < 1.5 * chance
    for init in ("stock", "coqui's resize"):
        assert found[init].english_text > 20
        assert found[init].amharic_text > 4 * chance


def test_a_moved_start_still_starts(folder: Path, clips: Corpus, tmp_path: Path) -> None:
    """START follows its row; by coqui's resize it takes the row that a new token was given."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "base").symlink_to(folder)
    moved_start(tmp_path / "sources", tmp_path / "vocab.json")
    rows = extension.layout(
        vocabulary.read(folder / "vocab.json", "base.path"), vocabulary.read(tmp_path / "vocab.json", "base.path")
    )
    extension.write_model(folder, tmp_path, rows, "am", "matched", 1)
    for name in ("dvae.pth", "mel_stats.pth"):
        (tmp_path / name).symlink_to(folder / name)
    model = load_base(tmp_path)
    assert model.xtts.gpt.start_text_token == 101
    before = figures(load_base(folder), clips, 98, 10)
    after = figures(model, clips, 102, 10)
    assert after.english_mel == pytest.approx(before.english_mel, abs=1e-5)
    stock = figures(resized_by_stock(folder, tmp_path / "vocab.json", tmp_path), clips, 102, 10)
    assert abs(stock.english_mel - before.english_mel) > 1e-3
