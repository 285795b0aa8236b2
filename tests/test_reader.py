"""Spaces in TOML: what is wrong with one is said with its source, key and value."""

import pytest

from space.reader import load_preset, parse
from tests.test_search_space import MINIMAL

BASELINE = MINIMAL + '[[baselines]]\nname = "V9"\nlr = 1e-4\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nonsense", "Expected '='"),
        (MINIMAL.replace("version = 1", "version = 2"), "version is 2: it must be 1"),
        ("lr = 3\nversion = 1", "lr is 3: it must be a table"),
        (MINIMAL.replace("1e-5", "0"), "lr.low is 0: it must be greater than 0"),
        (MINIMAL.replace("1e-5", "1"), "lr: low is 1.0, above high 0.001"),
        (MINIMAL.replace("value = 0", "low = 0\nhigh = 1\nlog = true"), "weight_decay: low is 0.0; a logarithmic"),
        (MINIMAL.replace("value = 0", "value = 0\nhigh = 1"), "weight_decay: give value, or low and high"),
        (MINIMAL + "[betas]\nvalue = 0.9", "unknown key betas; allowed are version, name, lr"),
        (MINIMAL + "[milestones]\nmax = 2", r"milestones.max is 2, and \[gamma\] is missing"),
        (MINIMAL + "[gamma]\nvalue = 0.5", r"milestones.max is 0, and \[gamma\] is given"),
        (MINIMAL + "[milestones]\nlow = 0.9\nhigh = 0.1", "milestones: low is 0.9, not below high 0.1"),
        (BASELINE, "baselines.0.weight_decay is missing"),
        (
            BASELINE + "weight_decay = 0.0\nlr_decay = 1",
            "unknown key baselines.0.lr_decay; allowed are lr, weight_decay",
        ),
    ],
)
def test_a_bad_space_is_refused_with_source_key_and_value(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=f"^space.toml: {named}"):
        parse(text, "space.toml")


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"space\.preset is 'huge'; allowed are xtts-v2, miniature"):
        load_preset("huge")
