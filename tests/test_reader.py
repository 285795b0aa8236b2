"""Spaces in TOML: what is wrong with one is said with its source, key and value."""

import pytest

from space.reader import load_preset, parse
from tests.test_search_space import MINIMAL


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nonsense", "Expected '='"),
        ("version = 2", "version is 2; .* version 1"),
        ("version = 1", "lr is missing"),
        ("version = 1\nlr = 3", "lr is 3; it must be a table with low, high"),
        (MINIMAL.replace("high = 1e-3", ""), "lr.high is None"),
        (MINIMAL.replace("1e-5", "0"), "lr.low is 0; .* above 0"),
        (MINIMAL.replace("1e-5", '"small"'), "lr.low is 'small'"),
        (MINIMAL.replace("1e-5", "1"), "lr.low is 1, above lr.high 0.001"),
        (MINIMAL.replace("value = 0", "low = 0\nhigh = 1\nlog = true"), "weight_decay.low is 0; a logarithmic range"),
        (MINIMAL.replace("value = 0", "value = -0.1"), "weight_decay.low is -0.1; .* 0 or above"),
        (MINIMAL.replace("value = 0", "mean = 0"), "unknown key weight_decay.mean; allowed are low, high, log, value"),
        (MINIMAL + "[betas]\nvalue = 0.9", "unknown key 'betas'; allowed are version, name, lr"),
        (MINIMAL + "[milestones]\nmax = 2", "gamma is missing; milestones change nothing without it"),
        (MINIMAL + "[gamma]\nvalue = 0.5", "gamma is given, but milestones.max is 0"),
        (MINIMAL + "[milestones]\nmax = 2\n[gamma]\nvalue = 1", "gamma.low is 1; .* above 0 and below 1"),
        (MINIMAL + "[milestones]\nmax = 1.5\n[gamma]\nvalue = 0.5", "milestones.max is 1.5"),
        (MINIMAL + "[milestones]\nlow = 'early'", "milestones.low and high are 'early' and 0.9"),
        (MINIMAL + "[milestones]\nlow = 0.9\nhigh = 0.1", "milestones.low and high are 0.9 and 0.1"),
        (MINIMAL + "[milestones]\ncount = 1", "unknown key milestones.count; allowed are max, low, high"),
        ("clip_norm = 3\n" + MINIMAL, "clip_norm is 3; it must be a table"),
        (MINIMAL + "[clip_norm]\nvalue = 1\noff = 'no'", "clip_norm.off is 'no'; it must be true or false"),
        (MINIMAL + "[new_rows_lr_factor]\nlow = 0\nhigh = 1", "new_rows_lr_factor.low is 0; .* above 0"),
        (
            MINIMAL + "[frozen_layers]\nlow = 0\nhigh = 1.5",
            "frozen_layers.high is 1.5; it must be a whole number, 0 or",
        ),
        (MINIMAL + "[frozen_layers]\nvalue = -1", "frozen_layers.low is -1; it must be a whole number, 0 or above"),
        (MINIMAL + "[frozen_layers]\nlow = 4\nhigh = 3", "frozen_layers.low is 4, above frozen_layers.high 3"),
        (MINIMAL + "[frozen_layers]\nvalue = 4\nhigh = 3", "frozen_layers has a value and a range"),
        (
            MINIMAL + "[frozen_layers]\nvalue = 4\nlog = true",
            "unknown key frozen_layers.log; allowed are low, high, value",
        ),
        (
            MINIMAL + '[[baselines]]\nname = "V9"\nlr = 1e-4\nweight_decay = 0.0\nfrozen_layers = 1.5',
            "baseline .*'V9'.* frozen_layers is 1.5; it must be a whole number",
        ),
        ("baselines = 3\n" + MINIMAL, "baselines are 3; .* table"),
        (MINIMAL + "[[baselines]]\nlr = 1e-4\nweight_decay = 0.0", "baseline .* has no name"),
        (MINIMAL + '[[baselines]]\nname = "V9"\nlr = 0.0\nweight_decay = 0.0', "baseline .*'V9'.* lr is 0.0"),
        (MINIMAL + '[[baselines]]\nname = "V9"\nlr = 1e-4', "baseline .*'V9'.* lr and weight_decay are needed"),
        (
            MINIMAL + '[[baselines]]\nname = "V9"\nlr = 1e-4\nweight_decay = 0.0\nbeta = 1',
            "baseline .*'V9'.* allowed are name, lr, weight_decay",
        ),
    ],
)
def test_a_bad_space_is_refused_with_source_key_and_value(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)^space.toml: {named}"):
        parse(text, "space.toml")


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"space\.preset is 'huge'; allowed are xtts-v2, miniature"):
        load_preset("huge")
