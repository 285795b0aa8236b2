"""What a study's report says first, in each situation: which config, how sure, by how much, and what to do next."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from scipy.stats import ttest_rel

from search.pages.answer import Answer, answer
from search.pages.next_steps import options_of
from search.settings.settings import Settings
from search.trial import StopReason
from tests.reported import RACE, V0, founded, full_runs, material_of, searched, written
from tests.studies import FLAT, STEPPED, miniature, run

Runs_ = dict[str, list[float]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return miniature(tmp_path)


@pytest.fixture
def study(settings: Settings) -> optuna.Study:
    """In memory."""
    return founded(settings)


def commands(found: Answer) -> list[str]:
    return [step.command for step in found.next]


# By the search alone


@pytest.mark.parametrize(
    ("reasons", "told", "command"),
    [
        ([], 1, "python study.py --study x"),
        ([StopReason.MEDIAN], 1, "python study.py --study x"),
        ([StopReason.DIVERGED] * 6, 2, ""),  # there is no command that would help
        ([StopReason.DIVERGED, StopReason.MEDIAN], 2, "python study.py --study x"),
    ],
)
def test_without_a_completed_trial_there_is_no_answer(
    settings: Settings, study: optuna.Study, reasons: list[StopReason], told: int, command: str
) -> None:
    for reason in reasons:
        run(study, FLAT, [4.9], reason)
    made = material_of(settings, study)
    found = answer(made, "--study x")
    assert (found.level, found.values, len(found.told), commands(found)) == ("warning", "", told, [command])
    assert "There is no answer yet" in written(made)


def test_an_unconfirmed_best_is_called_not_proven(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study)
    found = answer(made, "--study s")
    assert (found.level, found.headline) == (
        "warning", "The best config so far is trial 1: 3.0000 nats per audio token.",
    )  # fmt: skip
    assert found.sure.startswith("Not proven: one run with one seed, of 200 of the 1,000 optimizer steps")
    assert [(c.by, c.other) for c in found.compared] == [
        ("2.0000 below", "the untouched base, 5.0000"),
        ("1.0000 below", "the stock recipe (V0), 4.0000"),
    ]
    assert all("no interval" in c.sure for c in found.compared)
    assert made.best and found.words == made.space.from_params(made.best.trial.params).describe()
    assert '"lr": 0.0004' in found.values and "250" in found.values.partition("milestone_steps")[2]
    assert commands(found) == ["python study.py --study s", "python study.py confirm --study s"]
    over = settings.model_copy(update={"study": settings.study.model_copy(update={"trials": 3})})
    assert commands(answer(material_of(over, study), "")) == ["python study.py confirm"]


def test_what_does_not_beat_the_base_is_not_recommended(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [5.0], baseline="V0")  # as the base
    found = answer(material_of(settings, study), "")
    assert len(found.compared) == 1, "the stock recipe itself is the best"
    assert (found.level, found.words, found.values) == ("error", "", "")
    assert found.headline.startswith("Do not fine-tune") and commands(found) == ["", "python study.py --trials 21"]


# By the confirmation


def test_a_proven_winner_comes_with_interval_and_p(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    found = answer(material_of(settings, study, full_runs(RACE)), "--study s")
    assert (found.level, found.headline) == ("proven", "Use trial 1: it is better than the stock recipe.")
    assert found.of == "trial 1, mean 2.5783 of 3 full runs" and not any("as good" in line for line in found.told)
    stock, base = found.compared
    assert (stock.other, stock.by) == ("the stock recipe (V0), 2.6233", "0.0450 below")
    # Student's paired t-test at the first look, which spends two fifths of 5 %.
    p = ttest_rel(*RACE.values(), alternative="greater").pvalue / 0.4
    interval = ttest_rel(*RACE.values()).confidence_interval(0.96)
    assert stock.sure == f"96 % interval {interval.low:.4f} to {interval.high:.4f}, p {p:.2g}"
    assert (base.other, base.by) == ("the untouched base, 5.0000", "2.4217 below") and "interval" in base.sure
    best_config = f"{settings.directory}/best_config.json"
    assert commands(found) == [
        "python study.py export --study s", f"python study.py train {best_config} --output full",
    ]  # fmt: skip


SITUATIONS: dict[str, tuple[Runs_, str, str]] = {  # full runs, level, start of the headline
    "a difference that chance may make": (
        {"V0": V0, "trial 1": [2.59, 2.64, 2.599]},
        "warning",
        "Use the stock recipe",
    ),
    "the stock recipe wins": ({"V0": V0, "trial 1": [2.70, 2.76, 2.70]}, "warning", "Use the stock recipe (V0)"),
    "the stock recipe diverged": ({"V0": [2.6, math.nan], "trial 1": [2.4, 2.42, 2.43]}, "proven", "Use trial 1"),
    "every config diverged": ({"V0": [math.nan] * 2, "trial 1": [math.nan] * 2}, "error", "Do not fine-tune"),
    "above the base": ({"V0": [5.2, 5.3, 5.1], "trial 1": [5.0, 5.1, 4.9]}, "error", "Do not fine-tune"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_answer_is_the_confirmation_s(settings: Settings, study: optuna.Study, situation: str) -> None:
    searched(study)
    runs, level, headline = SITUATIONS[situation]
    made = material_of(settings, study, full_runs(runs))
    found, text = answer(made, ""), written(made)
    assert found.level == level and found.headline.startswith(headline) and found.headline in text
    assert bool(found.values) == any("train " in command for command in commands(found)) == (level != "error")
    if situation == "a difference that chance may make":
        assert '"lr": 0.001,' in found.values and float(found.compared[0].sure.partition(", p ")[2]) > 0.05
        assert commands(found)[-1] == "python study.py confirm --seeds 5"
        assert "These may be as good as trial 1: V0 (0.0137 above)." in found.told
    else:
        assert not any("--seeds" in command for command in commands(found))
    if situation == "the stock recipe diverged":
        assert found.compared[0].by == "diverged" and "There is no difference to the stock recipe (V0) to show" in text
    if situation == "every config diverged":
        assert found.compared == [] and "every config diverged" in found.told[0]


def test_a_confirmation_that_runs_proves_nothing(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study, full_runs({"V0": [2.6, 2.7], "trial 1": [2.4, 2.5]}, running=1))
    found = answer(made, "")
    assert found.sure.startswith("Not proven") and commands(found) == ["python study.py confirm"]
    assert "Confirmation: 6 runs finished, 1 running, 0 queued" in written(made)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_config_that_became_the_best_later_is_confirmed_next(
    settings: Settings, study: optuna.Study, is_new: bool
) -> None:
    """But not the stock recipe's, which ran in full, where its first trial was cut short."""
    searched(study)
    run(study, {**STEPPED, "lr": 3e-4} if is_new else FLAT, [2.9], baseline=None if is_new else "V0")
    runs = full_runs({"V0": [2.6, 2.63, 2.61], "trial 1": [2.4, 2.42, 2.43]})
    found = answer(material_of(settings, study, runs), "")
    assert any("Trial 3" in line for line in found.told) == is_new
    assert (commands(found)[0] == "python study.py confirm") == is_new


# Commands


def test_commands_repeat_the_options_without_secrets() -> None:
    given: dict[str, Any] = {
        "set_": (
            "training.epochs=3",
            "study.storage=postgresql://me:hush@host/db",
            "study.artifacts=s3://bucket?key=hush",
            'study.storage = "postgresql://host/db?password=hush"',
        ),
        "settings": Path("my study.toml"),
        "storage": "postgresql://me:hush@host/db",
        "study": "s",
    }
    options = options_of(given)
    assert "hush" not in options and "training.epochs=3" in options
    assert "--settings 'my study.toml' --storage 'postgresql://me:***@host/db' --study s" in options


def test_settings_of_another_study_are_said_at_once(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0])
    assert material_of(settings, study).differing == []
    other = settings.model_copy(update={"training": settings.training.model_copy(update={"batch_size": 8})})
    text = written(material_of(other, study))
    assert "batch_size: 4 there, 8 here" in text and text.index("batch_size: 4") < text.index('id="answer"')
