"""What an extended base computes: English as before, Amharic near chance, where coqui's own resize is far from it."""

import math
from pathlib import Path
from typing import get_args

import pytest

from search.preparation.parentage import Init
from search.preparation.places import locate
from search.settings.settings import load
from search.training import corpus
from search.trial import Prepared
from tests.extension_figures import table


def test_english_is_computed_as_before_and_amharic_starts_near_chance(prepared: Prepared, cache: Path) -> None:
    """The audio loss, and the text loss over the old tokens, are as before; the whole text loss is of a softmax with
    more tokens to choose from. The figures are in docs/vocabulary.md.
    """
    clips = corpus.load(Path(prepared.directory) / "corpus")
    found = table(locate(load(None, {}), cache, lambda _: None)[1], clips, count=200, clips_each=6)
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
