"""What a confirmation shows: its table, its sentences, and how far it is."""

import io
import math
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from search.confirmation.candidates import Candidate as Racing
from search.confirmation.proof import Runs
from search.confirmation.race import Estimate, Fit
from search.confirmation.verdict import sentence, verdict
from search.settings.best_config import Audit, AuditedTrial, Candidate, Confirmation, Fidelity, FullRun, Knobs
from search.show import confirmation_tables as report
from space.hyperparameters import Hyperparameters
from tests.studies import BASE
from tests.test_export import STOCK, confirmation_of

FIDELITY = Fidelity(configs=6, tau=0.47, low=-0.3, high=0.9, p_value=0.27, top=3, top_overlap=2, advice=None)
AUDIT = Audit(
    trials=[AuditedTrial(trial=5, pruned_at=40, pruned_value=4.8, truncated=2.6, full=None)],
    regret=0.7,
    full_regret=None,
)


def shown(show: Any, *arguments: Any, width: int = 200) -> list[str]:
    screen = io.StringIO()
    show(*arguments, Console(file=screen, width=width, soft_wrap=True))
    return screen.getvalue().splitlines()


def config(name: str, mean: float | None, *values: float | None, **given: Any) -> Candidate:
    runs = [FullRun(trial=i, seed=i, value=v, best_step=9, stop_reason="finished") for i, v in enumerate(values, 1)]
    fields = {"trial": None, "truncated": None, "dropped_after": None, **given}
    return Candidate(name=name, hyperparameters=Knobs(**STOCK.to_dict()), runs=runs, mean=mean, **fields)


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
    lines = shown(report.show, found, BASE)
    assert lines[0].strip() == "Confirmation of miniature, full runs"
    assert lines[1].split() == "config mean short run seeds lowest evaluation of each seed parameters".split()
    rows = [line.split("  lr ")[0].split() for line in lines[2:6]]
    assert rows == [
        "trial 1 2.1000 3.3000 3 2.0000 2.1000 2.2000 lowest mean".split(),
        "V0 2.3000 3.6000 2 2.2000 2.4000 exported, out after 2 seeds".split(),
        "[odd] diverged - 2 2.0000 diverged".split(),
        "trial 9 - - 0".split(),  # none of its runs came to an end
    ]
    assert all("lr 1.00e-03" in line for line in lines[2:6])
    assert lines[6].split() == "base 5.0000 untouched base model".split()
    assert lines[7:] == ["The winner's mean is lower.", "Intervals: by hand.", *report.lines(found)[1:]]


@pytest.mark.parametrize("width", [80, 100, 119])
@pytest.mark.parametrize("seeds", [3, 5])
def test_a_narrow_terminal_shows_every_name_mean_and_value(width: int, seeds: int) -> None:
    values = [2.0 + seed / 10 for seed in range(seeds)]
    found = made(
        config("trial 17 at 0.25 x lr", 2.1, *values, trial=17, truncated=3.3),
        config("trial 17", 2.3, *values[:2], trial=17, truncated=3.3, dropped_after=2),
    )
    lines = shown(lambda console: console.print(report._table(found, BASE, width)), width=width)
    words = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= width and "…" not in words
    for name, mean in (("trial 17 at 0.25 x lr", "2.1000"), ("trial 17", "2.3000"), ("base", "5.0000")):
        assert any(line.startswith(name) and mean in line[len(name) :].split()[:1] for line in lines)
    for part in (*(f"{value:.4f}" for value in values), "lowest mean, exported", "out after 2 seeds"):
        assert all(word in words for word in part.split())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"seed_sd": None}, []),
        (
            {},
            [
                "Seed noise: runs of one config differ by 0.1000 nats per audio token (standard deviation, 4 degrees of"
                " freedom). pruning.min_delta = 0.1 ignores smaller rises."
            ],
        ),
        (
            {"seed_sd": None, "fidelity": FIDELITY},
            [
                "Short and full runs rank 6 configs with Kendall's tau 0.47 (95 % interval -0.30 to 0.90, p 0.27); 2 of"
                " the 3 best of one are among the 3 best of the other. Chance may order so few configs like that; a"
                " larger --audit adds to them."
            ],
        ),
        (
            {"seed_sd": None, "fidelity": FIDELITY.model_copy(update={"configs": 9, "p_value": 0.04})},
            [
                "Short and full runs rank 9 configs with Kendall's tau 0.47 (95 % interval -0.30 to 0.90, p 0.04); 2 of"
                " the 3 best of one are among the 3 best of the other."
            ],
        ),
        (
            {"seed_sd": None, "fidelity": FIDELITY.model_copy(update={"configs": 3, "advice": "lengthen the trials"})},
            ["Short and full runs: 3 configs are too few to rank; a larger --audit adds to them."],
        ),
        (
            {"seed_sd": None, "fidelity": FIDELITY.model_copy(update={"tau": None})},
            ["Short and full runs: 6 configs cannot be ranked, their values are the same."],
        ),
        (
            {"seed_sd": None, "audit": AUDIT},
            [
                "Audit of pruning: trial 5 (4.8000 when pruned at step 40, 2.6000 at the trials' end, not known in"
                " full).",
                "Regret of pruning them: 0.7000 against the search's best trial, not known against the winner,"
                " in full at the same seed; 0 is nothing lost.",
            ],
        ),
    ],
)
def test_noise_fidelity_and_audit_in_sentences(given: dict[str, Any], expected: list[str]) -> None:
    assert report.lines(made(config("V0", 2.3, 2.3), **given))[1:] == expected


@pytest.mark.parametrize(("lost", "is_chance"), [(0.0, False), (0.1, True), (0.2, True), (0.21, False)])
def test_a_regret_within_twice_the_noise_may_be_chance(lost: float, is_chance: bool) -> None:
    audit = AUDIT.model_copy(update={"full_regret": lost})
    line = report.lines(made(config("V0", 2.3), audit=audit, seed_sd=0.1))[-1]
    assert line.endswith("chance may make it.") == is_chance


def test_advice_follows_a_poor_agreement() -> None:
    fidelity = FIDELITY.model_copy(update={"advice": "short runs rank 6 configs poorly"})
    assert report.lines(made(config("V0", 2.3), fidelity=fidelity))[-1] == "Short runs rank 6 configs poorly."


# Progress


def runs_of(*trials: tuple[str, int, TrialState, float | None]) -> Runs:
    """Of (candidate, seed, state, value)."""
    made = [
        optuna.trial.create_trial(
            state=state,
            value=value,
            user_attrs={"candidate": Racing(name, STOCK).to_dict(), "seed": seed, "length": "full"},
        )
        for name, seed, state, value in trials
    ]
    return Runs(made, [1, 2, 3], 1000)


def test_progress_counts_the_runs_and_shows_their_values() -> None:
    complete, running = TrialState.COMPLETE, TrialState.RUNNING
    runs = runs_of(
        ("V0", 2, complete, 2.2),
        ("V0", 1, complete, 2.1),
        ("[/odd]", 1, TrialState.PRUNED, None),
        ("trial 1", 1, TrialState.FAIL, None),
        ("trial 1", 2, running, None),
        ("trial 1", 1, TrialState.WAITING, None),
    )
    assert shown(report.show_progress, runs) == [
        "Confirmation: 3 runs finished, 1 running, 1 queued; study.py confirm joins it.",
        "  V0: 2.1000  2.2000",
        "  [/odd]: diverged",
        "  trial 1: no full run has ended yet",
    ]


# The verdict

ABOVE, BELOW, OPEN, NONE = Estimate(0.3, 0.1, 0.5), Estimate(-0.3, -0.5, -0.1), Estimate(0.3, -0.1, 0.7), None
ENDLESS, UNKNOWN = Estimate(math.inf, None, None), Estimate(0.3, None, None)


@pytest.mark.parametrize(
    ("over_base", "over_stock", "expected"),
    [
        (ABOVE, ABOVE, "better than the stock recipe"),
        (ABOVE, ENDLESS, "better than the stock recipe"),  # it diverged
        (ABOVE, OPEN, "no better than the stock recipe"),
        (ABOVE, UNKNOWN, "no better than the stock recipe"),
        (ABOVE, NONE, "no better than the stock recipe"),
        (OPEN, ABOVE, "do not fine-tune"),
        (BELOW, ABOVE, "do not fine-tune"),
        (UNKNOWN, ABOVE, "do not fine-tune"),
        (Estimate(-math.inf, None, None), NONE, "do not fine-tune"),
    ],
)
def test_the_verdict_follows_from_the_intervals(
    over_base: Estimate, over_stock: Estimate | None, expected: str
) -> None:
    assert verdict(over_base, over_stock) == expected


VALUES = {"V0": {1: 2.3, 2: 2.4, 3: 2.2}, "trial 1": {1: 2.2, 2: 2.3, 3: 2.1}}


@pytest.mark.parametrize(
    ("values", "winner", "over_stock", "over_base", "text"),
    [
        (
            VALUES,
            "trial 1",
            ABOVE,
            ABOVE,
            "Trial 1 is better than the stock recipe (V0), by 0.3000 nats per audio token (95 % interval 0.1000 to"
            " 0.5000); it is 0.3000 nats per audio token (95 % interval 0.1000 to 0.5000) below the untouched base."
            " 3 seeds.",
        ),
        (
            VALUES,
            "trial 1",
            ENDLESS,
            ABOVE,
            "Trial 1 is better than the stock recipe (V0), which diverged; it is 0.3000 nats per audio token (95 %"
            " interval 0.1000 to 0.5000) below the untouched base. 3 seeds.",
        ),
        (
            VALUES,
            "trial 1",
            OPEN,
            ABOVE,
            "No better than the stock recipe (V0): trial 1 is 0.3000 nats per audio token (95 % interval -0.1000 to"
            " 0.7000) below it, which 3 seeds do not tell from chance; it is 0.3000 nats per audio token (95 % interval"
            " 0.1000 to 0.5000) below the untouched base.",
        ),
        (
            VALUES,
            "V0",
            NONE,
            ABOVE,
            "No better than the stock recipe: V0 itself has the lowest mean, 0.3000 nats per audio token (95 % interval"
            " 0.1000 to 0.5000) below the untouched base. 3 seeds.",
        ),
        (
            {"V0": VALUES["V0"]},
            "V0",
            NONE,
            ABOVE,
            "No better than the stock recipe: only V0 itself ran, 0.3000 nats per audio token (95 % interval 0.1000 to"
            " 0.5000) below the untouched base. 3 seeds.",
        ),
        (
            VALUES,
            "trial 1",
            ABOVE,
            BELOW,
            "Do not fine-tune: trial 1, the best config, is at 2.2000, 0.3000 nats per audio token above the untouched"
            " base (95 % interval -0.5000 to -0.1000).",
        ),
        (
            VALUES,
            "trial 1",
            ABOVE,
            UNKNOWN,
            "Do not fine-tune: trial 1, the best config, is at 2.2000, 0.3000 nats per audio token below the untouched"
            " base, which is not told from chance (no interval: too few runs).",
        ),
        (
            {"V0": {1: math.inf}, "trial 1": {1: math.inf}},
            "V0",
            NONE,
            Estimate(-math.inf, None, None),
            "Do not fine-tune: every config diverged.",
        ),
    ],
)
def test_the_verdict_in_words(
    values: dict[str, dict[int, float]], winner: str, over_stock: Estimate | None, over_base: Estimate, text: str
) -> None:
    said = sentence(verdict(over_base, over_stock), Fit(values, 2), winner, "V0", over_stock, over_base, 3)
    assert said == text


def test_a_config_without_a_name_is_no_error() -> None:
    said = sentence("better than the stock recipe", Fit({"": {1: 2.0}}, 2), "", "V0", ABOVE, ABOVE, 3)
    assert said.startswith(" is better")


def test_a_point_in_the_table_is_the_config_s() -> None:
    point = Hyperparameters(4e-4, 0.02, (0.25, 0.5), 0.5, 2.0)
    candidate = config("trial 1", 2.1, 2.1).model_copy(update={"hyperparameters": Knobs(**point.to_dict())})
    assert any(point.describe() in line for line in shown(report.show, made(candidate), BASE))
