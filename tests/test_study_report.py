"""What a study's report says first, in each situation: which config, how sure, by how much, and what to do next."""

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from scipy.stats import ttest_rel

from search.confirmation import confirm as session
from search.confirmation import export
from search.confirmation.proof import Runs
from search.pages import document, proven
from search.pages.answer import options_of
from search.settings.settings import Settings
from search.trial import StopReason
from tests.reported import LOWER, POINT, RACE, founded, full_runs, material_of, said, searched, written
from tests.studies import FLAT, STEPPED, miniature, run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return miniature(tmp_path)


@pytest.fixture
def study(settings: Settings) -> optuna.Study:
    """In memory."""
    return founded(settings)


# By the search alone


def test_without_a_completed_trial_there_is_no_answer(settings: Settings, study: optuna.Study) -> None:
    text = written(material_of(settings, study))
    assert "There is no answer yet: no trial has completed." in text and "python study.py<" in text
    assert "<figure" not in text.partition("</nav>")[2] and "Trials: 0 finished (0 completed, 0 pruned)." in text
    run(study, FLAT, [4.9], StopReason.MEDIAN)
    found = said(material_of(settings, study), "--study x")
    assert found.config is None and found.next[0][0] == "python study.py --study x"
    assert found.told == ["1 trial has finished, but not to its end; 0 running."]


def test_where_all_diverged_the_rates_are_to_be_lowered(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.9], StopReason.DIVERGED)
    run(study, STEPPED, [4.9], StopReason.DIVERGED)
    found = said(material_of(settings, study))
    assert found.told[1].startswith("All of them diverged: the learning rates are too high")
    ((command, purpose),) = found.next
    assert command == "" and "lower the learning rates" in purpose and "another --study" in purpose
    run(study, FLAT, [4.9], StopReason.MEDIAN)
    found = said(material_of(settings, study))
    assert len(found.told) == 1 and found.next[0][0] == "python study.py"


def test_runs_that_were_cut_short_come_with_reasons_error_and_log(settings: Settings, study: optuna.Study) -> None:
    for reason in (StopReason.CRASHED, StopReason.OUT_OF_MEMORY, StopReason.OUT_OF_MEMORY):
        trial = study.ask()
        for name, value in {
            "stop_reason": str(reason),
            "owner": {"host": "gpu-1"},
            "run": {"evaluations": [], "record": None, "error": "no memory left <b>"},
        }.items():
            trial.set_user_attr(name, value)
        study.tell(trial, state=TrialState.FAIL)
    text = written(material_of(settings, study))
    assert "3 more were cut short (2 out_of_memory, 1 crashed)." in text
    (_, line) = said(material_of(settings, study)).told
    assert line == (
        "Cut short: 2 out_of_memory, 1 crashed. The last was trial 2 on gpu-1: no memory left <b>; its log is"
        f" {settings.directory}/trials/2/log.txt there."
    )
    assert "no memory left &lt;b&gt;" in text


def test_one_trial_is_enough_for_a_page_and_may_be_the_stock_recipe(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0], baseline="V0")
    text = written(material_of(settings, study))
    assert text.count("<figure") == 2  # the history and the curve
    assert "Too few trials to say which dimension matters: it takes 12 finished" in text
    assert "It is the stock recipe itself." in text and ">1.0000 below<" in text and "one run each" not in text
    assert "Trial 0, the last, is the best: more trials may find a better one." in text


def test_an_unconfirmed_best_is_called_not_proven(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    found = said(material_of(settings, study), "--study s")
    assert (found.level, found.headline) == (
        "warning",
        "The best config so far is trial 1: 3.0000 nats per audio token.",
    )
    assert found.sure == "Not proven: one run with one seed, of 200 of the 1,000 optimizer steps of a full run."
    assert found.of == "trial 1, 3.0000" and found.told == []
    assert [(c.by, c.other) for c in found.compared] == [
        ("2.0000 below", "the untouched base, 5.0000"),
        ("1.0000 below", "the stock recipe (V0), 4.0000"),
    ]
    assert all("no interval" in c.sure for c in found.compared)
    assert found.config is not None
    assert found.config.words == (
        "Learning rate 0.0004; weight decay 0.02; the rate times 0.5 after 25% (step 250) and 50% (step 500) of the"
        " full run's 1,000 optimizer steps; gradients clipped at an L2 norm of 2."
    )
    assert '"lr": 0.0004' in found.config.values and '"milestone_steps": [250, 500]' in found.config.values


def test_a_search_that_is_not_over_goes_on_before_it_is_confirmed(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    confirm = ("python study.py confirm --study s", "proves it: full runs, several seeds")
    assert said(material_of(settings, study), "--study s").next == [
        ("python study.py --study s", "goes on with the search, to 40 finished trials"),
        confirm,
    ]
    over = settings.model_copy(update={"study": settings.study.model_copy(update={"trials": 3})})
    assert said(material_of(over, study), "--study s").next == [confirm]


def test_what_speaks_against_the_best_stands_in_the_answer(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0, 3.9], StopReason.MEDIAN, "V0")
    run(study, {**FLAT, "lr": 1e-2}, [3.0], inert=["weight_decay: too small"])
    found = said(material_of(settings, study))
    assert found.told == [
        "Warning: lr 0.01 lies at the edge of 4e-05 to 0.01; widen the range.",
        "Did not act in trial 1: weight_decay: too small",
    ]
    assert found.compared[1].sure == "one run each, no interval; that was stopped (median)"
    assert "stock recipe (V0), pruned by the median, 3.9000" in written(material_of(settings, study))


def test_what_does_not_beat_the_base_is_not_recommended(settings: Settings, study: optuna.Study) -> None:
    run(study, STEPPED, [5.0])  # as the base
    found = said(material_of(settings, study))
    assert found.level == "error" and found.headline.startswith("Do not fine-tune")
    assert found.config is None and not any("train " in command for command, _ in found.next)
    assert found.next[1][0] == "python study.py --trials 21"


def test_the_two_knobs_beyond_coqui_are_in_the_words(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study)
    assert proven.described(made, "x", replace(POINT, new_rows_lr_factor=3.0, frozen_layers=2)).words.endswith(
        "clipped at an L2 norm of 2; new vocabulary rows at 3 times the rate; the first 2 layers not trained."
    )


# By the confirmation


def test_a_proven_winner_comes_with_interval_and_p(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study, full_runs(RACE))
    found = said(made, "--study s")
    assert (found.level, found.headline) == ("proven", "Use trial 1: it is better than the stock recipe.")
    assert found.sure == "Proven by full runs: 2 configs, up to 3 seeds each, 1,000 optimizer steps."
    assert found.of == "trial 1, mean 2.5783 of 3 full runs" and found.told == []
    stock, base = found.compared
    assert (stock.other, stock.by) == ("the stock recipe (V0), 2.6233", "0.0450 below")
    # Of two configs it is Student's paired t-test, for two looks at the data.
    p = 2 * ttest_rel(*RACE.values(), alternative="greater").pvalue
    assert p == pytest.approx(0.035, abs=0.001)
    interval = ttest_rel(*RACE.values()).confidence_interval(0.95)
    assert stock.sure == f"95 % interval {interval.low:.4f} to {interval.high:.4f}, p {p:.2g}"
    assert (base.other, base.by) == ("the untouched base, 5.0000", "2.4217 below") and "interval" in base.sure
    assert [command for command, _ in found.next] == [
        "python study.py export --study s",
        f"python study.py train {settings.directory}/best_config.json --output full",
    ]
    text = written(made)
    assert "Full runs of the confirmation. Full runs. trial 1: mean 2.5783 of 3 seeds; V0: mean 2.6233 of 3" in text
    assert "below the stock recipe (V0) by," in text and "Where an interval lies right of 0" in text
    assert ">By how much: trial 1, mean 2.5783 of 3 full runs<" in text


def test_a_lower_rate_that_wins_is_explained_and_still_lower_ones_are_next(
    settings: Settings, study: optuna.Study
) -> None:
    searched(study)
    made = material_of(settings, study, full_runs(LOWER))
    found = said(made)
    assert found.headline == "Use trial 1 at 0.25 x lr: it is better than the stock recipe."
    assert found.told == [
        "Trial 1 at 0.25 x lr: its config with 0.25 times the learning rate that the search found, 0.0004. Short runs"
        " favour rates that are too high for a full run."
    ]
    assert found.config is not None and found.config.words.startswith("Learning rate 0.0001; weight decay 0.02;")
    assert found.next[-1] == (
        "python study.py confirm --set 'confirm.lower_rates=[0.125, 0.0625]'",
        "tries lower rates still: the lowest of the race is clearly best",
    )
    text = written(made)
    for name in LOWER:
        assert f">{name}</text>" in text  # in the figure


@pytest.mark.parametrize(
    "runs",
    [
        {**LOWER, "trial 1 at 0.25 x lr": [2.495, 2.565, 2.50]},  # not told from twice the rate
        {**LOWER, "trial 1 at 0.5 x lr": [2.45, 2.511, 2.463], "trial 1 at 0.25 x lr": [2.5, 2.563, 2.512]},
        {"V0": LOWER["V0"], "trial 1": LOWER["trial 1"]},
        {  # the lowest is better than the one above it, and yet not the winner
            "V0": [2.60, 2.66, 2.61],
            "trial 1": [2.55, 2.612, 2.561],
            "trial 1 at 0.5 x lr": [2.40, 2.461, 2.412],
            "trial 1 at 0.25 x lr": [2.50, 2.561, 2.511],
            "trial 1 at 0.125 x lr": [2.45, 2.512, 2.461],
        },
    ],
)
def test_lower_rates_are_not_next_where_the_lowest_is_not_clearly_best(
    settings: Settings, study: optuna.Study, runs: dict[str, list[float]]
) -> None:
    searched(study)
    made = material_of(settings, study, full_runs(runs))
    found = said(made)
    assert found.level == "proven" and not any("confirm.lower_rates" in command for command, _ in found.next)


def test_configs_that_are_not_told_from_the_winner_are_named(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study, full_runs({**LOWER, "trial 1 at 0.25 x lr": [2.495, 2.565, 2.50]}))
    assert said(made).told[1] == (
        "Not told from trial 1 at 0.25 x lr by these runs: trial 1 at 0.5 x lr (0.0050 above)."
    )


def test_a_difference_that_chance_may_make_recommends_the_stock_recipe(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study, full_runs({"V0": [2.60, 2.66, 2.61], "trial 1": [2.59, 2.66, 2.60]}))
    found = said(made)
    assert found.level == "warning" and found.headline.startswith("Use the stock recipe (V0): no config is proven")
    assert found.sure.startswith("Not proven better by full runs") and found.of.startswith("trial 1, mean 2.6167 of")
    assert float(found.compared[0].sure.partition(", p ")[2]) > 0.05
    assert found.config is not None and '"lr": 0.001,' in found.config.values
    assert found.next[-1] == ("python study.py confirm --seeds 5", "may tell trial 1 from the stock recipe")


def test_the_stock_recipe_may_win(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study, full_runs({"V0": [2.60, 2.66, 2.61], "trial 1": [2.70, 2.76, 2.70]}))
    found = said(made)
    assert found.told == ["The stock recipe itself has the lowest mean."]
    assert [c.other for c in found.compared] == ["the untouched base, 5.0000"]
    assert not any("--seeds" in command for command, _ in found.next)


def test_a_stock_recipe_that_diverged_leaves_no_difference_to_show(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study, full_runs({"V0": [2.6, math.nan, 2.6], "trial 1": [2.4, 2.42, 2.43]}))
    found = said(made)
    assert found.level == "proven"
    assert (found.compared[0].by, found.compared[0].sure) == ("diverged", "it diverged in a full run")
    text = written(made)
    assert "There is no difference to the stock recipe (V0) to show" in text
    assert "below the stock recipe (V0) by" not in text and "right of 0" not in text


def test_where_every_config_diverged_the_page_says_so(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study, full_runs({"V0": [math.nan, math.nan], "trial 1": [math.nan, math.nan]}))
    found = said(made)
    assert found.level == "error" and found.told == ["Do not fine-tune: every config diverged."]
    text = written(made)
    assert 'aria-label="Confirmation"' in text and "Full runs of the confirmation" not in text


def test_a_confirmation_may_say_not_to_fine_tune(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study, full_runs({"V0": [5.2, 5.3, 5.1], "trial 1": [5.0, 5.1, 4.9]}))
    found = said(made)
    assert found.level == "error" and found.config is None
    ((command, purpose),) = found.next
    assert command == "" and purpose.startswith("Use the base as it is")


def test_a_confirmation_that_runs_proves_nothing(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    runs = full_runs({"V0": [2.6, 2.7], "trial 1": [2.4, 2.5], "audited": [2.9]}, running=1)
    made = material_of(settings, study, runs)
    found = said(made)
    assert found.sure.startswith("Not proven")
    assert found.next == [("python study.py confirm", "continues the confirmation")]
    assert document.progress(made) == (
        "A confirmation of 2 configs is not over: 5 runs have ended, 1 are running, 0 are queued. It proves nothing"
        " yet."
    )


def test_more_seeds_are_not_asked_for_than_there_may_be(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    for seeds, wanted in ((19, "python study.py confirm --seeds 20"), (20, None)):
        values = [2.6 + 0.03 * (i % 3) for i in range(seeds)]
        runs = {"V0": values, "trial 1": [value - (0.001 if i % 2 else -0.0005) for i, value in enumerate(values)]}
        found = said(material_of(settings, study, full_runs(runs, seeds=seeds), seeds=seeds))
        assert found.headline.startswith("Use the stock recipe (V0)")
        assert [command for command, _ in found.next if "--seeds" in command] == ([wanted] if wanted else [])


def test_a_file_of_an_older_confirmation_is_written_anew_first(
    settings: Settings, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(study)
    made = material_of(settings, study, full_runs(RACE))
    older = session.result(Runs(full_runs(RACE)[:4], [1, 2], 1000), made.findings, settings)
    for there, count in ((made.confirmation, 1), (older, 2), (None, 2)):
        monkeypatch.setattr(export, "confirmation_at", lambda *_, there=there: there)
        assert len(said(made).next) == count


def test_a_recipe_that_ran_in_full_is_not_late(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = full_runs({"V0": [2.6, 2.63, 2.61], "trial 1": [2.4, 2.42, 2.43]})
    run(study, FLAT, [2.8], baseline="V0")  # its first trial of the search was cut short, say
    found = said(material_of(settings, study, made))
    assert not any("has not run in full" in line for line in found.told)
    assert found.next[0][0] != "python study.py confirm"


def test_a_trial_that_became_the_best_later_is_confirmed_next(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    run(study, {**STEPPED, "lr": 3e-4}, [2.9])
    found = said(material_of(settings, study, full_runs({"V0": [2.6, 2.63, 2.61], "trial 1": [2.4, 2.42, 2.43]})))
    assert found.told == ["Trial 3, now the best of the search, has not run in full."]
    assert found.next[0] == ("python study.py confirm", "runs trial 3 in full, too")
    assert found.next[-1][0].startswith("python study.py train ")


# Commands


def test_commands_repeat_the_options_without_secrets() -> None:
    given = {
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
    assert "The settings given here are not those of the study." in text
    assert "batch_size: 4 there, 8 here" in text and text.index("batch_size: 4") < text.index('id="answer"')
