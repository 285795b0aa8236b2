"""The verdict of a confirmation, and the sentence that says it."""

import math
from dataclasses import replace
from typing import Any

import pytest

from search.confirmation.verdict import Estimate, Proof, sentence

ABOVE, BELOW, OPEN = Estimate(0.3, 0.1, 0.5), Estimate(-0.3, -0.5, -0.1), Estimate(0.3, -0.1, 0.7)
ENDLESS, UNKNOWN, DIVERGED = Estimate(math.inf), Estimate(0.3), Estimate(-math.inf)
ALONE = {"winner": "V0", "over_stock": None}


@pytest.mark.parametrize(
    ("given", "expected", "words"),
    [
        ({}, "better than the stock recipe", ["by 0.3000 nats per audio token (95 % interval 0.1000 to 0.5000)"]),
        ({"over_stock": ENDLESS}, "better than the stock recipe", ["the stock recipe (V0), which diverged"]),
        ({"over_stock": OPEN}, "no better than the stock recipe", ["(95 % interval -0.1000 to 0.7000)", "chance"]),
        ({"over_stock": UNKNOWN}, "no better than the stock recipe", ["no interval: too few runs"]),
        (ALONE, "no better than the stock recipe", ["V0 itself has the lowest mean"]),
        ({**ALONE, "configs": 1}, "no better than the stock recipe", ["only V0 itself ran"]),
        ({"over_base": OPEN}, "do not fine-tune", ["0.3000", "below the untouched base, which may be chance"]),
        ({"over_base": BELOW}, "do not fine-tune", ["0.3000", "above the untouched base (95 % interval -0.5000 to"]),
        ({"over_base": UNKNOWN}, "do not fine-tune", ["no interval: too few runs"]),
        ({**ALONE, "over_base": DIVERGED, "mean": math.inf}, "do not fine-tune", ["every config diverged"]),
    ],
)
def test_the_verdict_follows_from_the_intervals(given: dict[str, Any], expected: str, words: list[str]) -> None:
    proof = replace(Proof("trial 1", 2.2, ABOVE, ABOVE, level=0.95, configs=2, seeds=3), **given)
    text = sentence(proof)
    assert proof.verdict == expected
    assert text.lower().replace("trial 1 is ", "").startswith(expected) and all(part in text for part in words)
    if expected != "do not fine-tune":
        assert "3 seeds" in text and "0.3000 nats per audio token (95 % interval 0.1000 to 0.5000) below" in text
