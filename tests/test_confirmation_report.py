"""What a confirmation says: its verdict, its table, its sentences, and how far it is."""

import io
import math
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from search.confirmation.verdict import Estimate, Proof, sentence, verdict
from search.settings.best_config import Candidate, Confirmation, FullRun
from search.show import confirmation_tables
from tests.studies import BASE
from tests.test_export import STOCK, confirmation_of


def shown(show: Any, *arguments: Any, width: int = 200) -> list[str]:
    screen = io.StringIO()
    show(*arguments, Console(file=screen, width=width, soft_wrap=width == 200))
    return screen.getvalue().splitlines()


def config(name: str, mean: float | None, *values: float | None, **given: Any) -> Candidate:
    runs = [FullRun(trial=i, seed=i, value=v, best_step=9, stop_reason="finished") for i, v in enumerate(values, 1)]
    fields = {"trial": None, "truncated": None, "dropped_after": None, **given}
    return Candidate(name=name, hyperparameters=STOCK, runs=runs, mean=mean, **fields)


def made(*configs: Candidate, **given: Any) -> Confirmation:
    fields = {"winner": configs[0].name, "exported": configs[0].name, "candidates": list(configs), **given}
    return confirmation_of(("trial 1", 1, STOCK)).model_copy(update=fields)


def test_the_configs_stand_in_the_order_of_their_means_above_the_base() -> None:
    found = made(
        config("V0", 2.3, 2.2, 2.4, trial=0, truncated=3.6, dropped_after=2),
        config("[odd]", None, 2.0, None),
        config("trial 9", None),
        config("trial 1", 2.1, 2.0, 2.1, 2.2, truncated=3.3),
        winner="trial 1",
        exported="V0",
    )
    lines = shown(confirmation_tables.show, found, BASE)
    assert lines[0].strip().startswith("Confirmation of miniature")
    assert [line.split("  lr ")[0].split() for line in lines[2:6]] == [
        "trial 1 2.1000 3.3000 2.0000 2.1000 2.2000 lowest mean".split(),
        "V0 2.3000 3.6000 2.2000 2.4000 exported, out after 2 seeds".split(),
        "[odd] diverged - 2.0000 diverged".split(),
        "trial 9 - -".split(),  # none of its runs came to an end
    ]
    words = STOCK.describe().split()
    assert all(line.split()[-len(words) :] == words for line in lines[2:6])
    assert lines[6].split() == "base 5.0000 untouched base model".split()
    assert lines[7:] == [found.text, *confirmation_tables.lines(found)]


# The verdict

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
    assert verdict(proof.over_base, proof.over_stock) == expected
    assert text.lower().replace("trial 1 is ", "").startswith(expected) and all(part in text for part in words)
    if expected != "do not fine-tune":
        assert "3 seeds" in text and "0.3000 nats per audio token (95 % interval 0.1000 to 0.5000) below" in text
