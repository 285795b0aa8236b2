"""What a study's report says in each situation: the answer first, and what each section makes of the trials."""

import base64
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from scipy.stats import ttest_rel

from search import artifacts, report, speech, storage, study_report
from search.confirmation.candidates import Candidate
from search.settings import Settings
from search.speech import Sentence, Speech
from search.study_report import answer, document, importance, material
from search.study_report.dimensions import dimensions
from search.study_report.sound import sound
from search.trial import StopReason
from space.hyperparameters import Hyperparameters
from tests import shown
from tests.studies import FLAT, STEPPED, evaluations, miniature, new_study, run

STOCK = Hyperparameters(1e-3, 0.01)
FLAT_AUDITED = Hyperparameters(5e-3, 0.01)
RACE = {"V0": [2.60, 2.66, 2.61], "trial 1": [2.57, 2.60, 2.565]}
POINT = Hyperparameters(4e-4, 0.02, (0.25, 0.5), 0.5, 2.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return miniature(tmp_path)


@pytest.fixture
def study(settings: Settings) -> optuna.Study:
    return new_study(settings)


def written(settings: Settings, options: str = "") -> str:
    return study_report.write(settings, None, options).read_text(encoding="utf-8")


def said(settings: Settings, options: str = "") -> answer.Answer:
    return answer.answer(material.read(settings), options)


def confirm(settings: Settings, runs: dict[str, list[float]], running: bool = False, spoke: Any = None) -> None:
    """A confirmation: the lowest evaluations of full runs, by config, in the order of the seeds 1, 2, 3."""
    name = f"{settings.study.name}.confirm"
    made = optuna.create_study(study_name=name, storage=storage.open_storage(settings.storage_url))
    for key, value in {"fingerprint": {"confirms": settings.study.name}, "full_horizon": 1000, "seeds": 3}.items():
        made.set_user_attr(key, value)
    for config, values in runs.items():
        pruned = config.startswith("audited")
        trial = 1 if config == "trial 1" else None
        candidate = Candidate(config, STOCK if config == "V0" else POINT, trial, None if pruned else 3.0)
        if pruned:
            candidate = Candidate("trial 2", FLAT_AUDITED, 2, None, 80, 4.2)
        for seed, value in enumerate(values, 1):
            found = evaluations([5.0, value])
            attributes = {
                "candidate": candidate.to_dict(),
                "seed": seed,
                "length": "truncated" if config == "audited" else "full",
                "stop_reason": "finished",
                "run": {"evaluations": [asdict(e) for e in found], "record": None, "error": None},
                **({speech.ATTRIBUTE: spoke} if spoke else {}),
            }
            made.add_trial(create_trial(state=TrialState.COMPLETE, value=value, user_attrs=attributes))
    if running:
        made.ask().set_user_attr("candidate", Candidate("V0", STOCK).to_dict())
        last = made.get_trials()[-1]
        for key, value in {"seed": 3, "length": "full"}.items():
            made._storage.set_trial_user_attr(last._trial_id, key, value)


def searched(study: optuna.Study) -> None:
    run(study, FLAT, [4.5, 4.0], baseline="V0")
    run(study, STEPPED, [4.0, 3.0])
    run(study, {**FLAT, "lr": 5e-3}, [4.9, 4.6, 4.4, 4.2], StopReason.MEDIAN)


# The answer


def test_without_a_completed_trial_there_is_no_answer(settings: Settings, study: optuna.Study) -> None:
    text = written(settings)
    assert "There is no answer yet: no trial has completed." in text and "python study.py<" in text
    assert "<figure" not in text.partition("</nav>")[2] and "0 completed" in text
    run(study, FLAT, [4.9], StopReason.MEDIAN)
    found = said(settings, "--study x")
    assert found.config is None and found.next[0][0] == "python study.py --study x"
    assert found.told[0].startswith("1 trial has finished, but not to its end; 0 are running.")


def test_one_trial_is_enough_for_a_page_and_may_be_the_stock_recipe(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0], baseline="V0")
    text = written(settings)
    assert text.count("<figure") == 2  # the history and the curve
    assert "Too few trials to say which dimension matters: it takes 12 finished" in text
    assert "It is the stock recipe itself." in text and ">1.0000 below<" in text and "one run each" not in text


def test_an_unconfirmed_best_is_called_not_proven(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    found = said(settings, "--study s")
    assert (found.level, found.headline) == (
        "warning",
        "The best config so far is trial 1: 3.0000 nats per audio token.",
    )
    assert found.sure == "Not proven: one seed, and 200 of the 1,000 optimizer steps of a full run."
    assert [(c.by, c.other) for c in found.compared] == [
        ("2.0000 below", "the untouched base"),
        ("1.0000 below", "the stock recipe (V0)"),
    ]
    assert all("no interval" in c.sure for c in found.compared)
    assert found.next == [("python study.py confirm --study s", "proves it: full runs, several seeds")]
    assert found.config is not None
    assert found.config.words == (
        "Learning rate 0.0004; weight decay 0.02; the rate times 0.5 after 25% (step 250) and 50% (step 500) of the"
        " full run's 1,000 optimizer steps; gradients clipped at an L2 norm of 2."
    )
    assert '"lr": 0.0004' in found.config.values and '"milestone_steps": [250, 500]' in found.config.values


def test_what_does_not_beat_the_base_is_not_recommended(settings: Settings, study: optuna.Study) -> None:
    run(study, STEPPED, [5.0])  # as the base
    found = said(settings)
    assert found.level == "error" and found.headline.startswith("Do not fine-tune")
    assert found.config is None and not any("train " in command for command, _ in found.next)


def test_a_proven_winner_comes_with_interval_and_p(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    confirm(settings, RACE)
    found = said(settings, "--study s")
    assert (found.level, found.headline) == ("proven", "Use trial 1: it is better than the stock recipe.")
    assert found.sure == "By full runs: 2 configs, up to 3 seeds each, 1,000 optimizer steps."
    stock, base = found.compared
    assert (stock.other, stock.by) == ("the stock recipe (V0)", "0.0450 below")
    # Of two configs it is Student's paired t-test, for two looks at the data.
    p = 2 * ttest_rel(*RACE.values(), alternative="greater").pvalue
    assert p == pytest.approx(0.035, abs=0.001)
    assert stock.sure == f"95 % interval 0.0077 to 0.0823, p {p:.2g}"
    assert base.by == "2.4217 below" and "interval" in base.sure
    assert [command for command, _ in found.next] == [
        "python study.py export --study s",
        f"python study.py train {settings.directory}/best_config.json --output full",
    ]
    text = written(settings)
    assert "Full runs of the confirmation. Full runs. trial 1: mean 2.5783 of 3 seeds; V0: mean 2.6233 of 3" in text
    assert "below the stock recipe (V0) by," in text and 'id="fidelity"' in text


def test_a_difference_that_chance_may_make_recommends_the_stock_recipe(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    confirm(settings, {"V0": [2.60, 2.66, 2.61], "trial 1": [2.59, 2.66, 2.60]})
    found = said(settings)
    assert found.level == "warning" and found.headline.startswith("Use the stock recipe (V0): no config is proven")
    assert float(found.compared[0].sure.partition(", p ")[2]) > 0.05
    assert found.config is not None and '"lr": 0.001,' in found.config.values


def test_a_confirmation_may_say_not_to_fine_tune(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    confirm(settings, {"V0": [5.2, 5.3, 5.1], "trial 1": [5.0, 5.1, 4.9]})
    found = said(settings)
    assert found.level == "error" and found.config is None and found.next == [("", "Use the base as it is.")]


def test_a_confirmation_that_runs_proves_nothing(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    confirm(settings, {"V0": [2.6, 2.7], "trial 1": [2.4, 2.5]}, running=True)
    found = said(settings)
    assert found.sure.startswith("Not proven") and found.next[0][1] == "continues the confirmation"
    progress = document.progress(material.read(settings))
    assert progress is not None and progress.startswith("A confirmation is not over: 4 runs have completed, of 2 con")


def test_a_best_trial_that_the_confirmation_lacks_is_named(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    confirm(settings, {"V0": [2.6, 2.63, 2.61], "trial 1": [2.4, 2.42, 2.43]})
    run(study, {**STEPPED, "lr": 3e-4}, [2.9])
    assert "Trial 3, now the best of the search, is not in the confirmation" in said(settings).told[1]


def test_audit_and_regret_stand_beside_the_savings(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    confirm(
        settings,
        {"V0": [2.6, 2.63, 2.61], "trial 1": [2.4, 2.42, 2.43], "audited": [2.9], "audited in full": [2.5]},
    )
    text = written(settings)
    assert "What pruning saved, and what it lost" in text and "Regret of pruning them: 0.1000" in text
    assert re.search(r">2</td><td[^>]*>80</td><td[^>]*>4.2000</td><td[^>]*>2.9000</td><td[^>]*>2.5000<", text)
    assert "160 optimizer steps were trained, of 600 without pruning: 73% saved." in text
    assert ">trial 2</text>" in text  # in the figure of short against full runs


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
    options = answer.options_of(given)
    assert "hush" not in options and "training.epochs=3" in options
    assert "--settings 'my study.toml' --storage 'postgresql://me:***@host/db' --study s" in options


def test_settings_of_another_study_are_said_at_once(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0])
    assert material.read(settings).differing == []
    other = settings.model_copy(update={"training": settings.training.model_copy(update={"batch_size": 8})})
    text = written(other)
    assert "The settings given here are not those of the study." in text
    assert "batch_size: 4 there, 8 here" in text and text.index("batch_size: 4") < text.index('id="answer"')


# Importance


def rows_of(study: optuna.Study) -> list[report.Row]:
    return [report.Row(trial, evaluations([trial.value or 9.0]), None) for trial in study.get_trials(deepcopy=False)]


def objective(trial: optuna.Trial, weight: float) -> float:
    lr = trial.suggest_float("lr", 1e-5, 1e-3, log=True)
    decay = trial.suggest_float("weight_decay", 0.0, 1.0)
    norm = trial.suggest_float("clip_norm", 0.1, 10) if trial.suggest_categorical("clip", [False, True]) else 0.0
    if trial.number % 3 == 2:
        raise optuna.TrialPruned
    return weight * abs(math.log10(lr) + 4) + (1 - weight) * math.sin(1e4 * (decay + norm))


@pytest.mark.parametrize(("weight", "told"), [(0.99, ["lr"]), (0.0, [])])
def test_importance_is_told_from_chance(weight: float, told: list[str]) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    study.optimize(lambda trial: objective(trial, weight), 60)
    found = importance.importance(rows_of(study), ["lr", "weight_decay", "clip", "clip_norm"])
    assert found is not None and found.told == told
    assert math.isclose(sum(found.shares.values()), 1) and found.judged == 60
    assert set(found.shares) == {"lr", "weight_decay", "clip", "clip_norm"}


def test_importance_needs_trials() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    study.optimize(lambda trial: objective(trial, 1.0), 11)
    assert importance.importance(rows_of(study), ["lr"]) is None
    study.optimize(lambda trial: objective(trial, 1.0), 1)
    assert importance.importance(rows_of(study), ["lr"]) is not None


def test_dimensions_keep_scale_and_choices(study: optuna.Study) -> None:
    run(study, STEPPED, [4.0])
    run(study, FLAT, [4.1])
    known = {each.name: each for each in dimensions(report.read(study).rows)}
    assert list(known) == [
        "lr", "weight_decay", "n_milestones", "milestone_1", "milestone_2_of_rest", "gamma", "clip", "clip_norm",
    ]  # fmt: skip
    assert known["lr"].log and not known["gamma"].log
    assert known["clip"].ticks() == [(0.0, "off"), (1.0, "on")] and known["clip"].place(True) == 1
    assert known["n_milestones"].ticks() == [(0.0, "0"), (1.0, "1"), (2.0, "2"), (3.0, "3")]


# Sections


def test_edges_of_ranges_are_warned_of(settings: Settings, study: optuna.Study) -> None:
    for lr in (1e-2, 9.9e-3, 9.95e-3):
        run(study, {**FLAT, "lr": lr}, [4.0 + lr])
    run(study, FLAT, [3.0])
    told = document.boundaries(material.read(settings))
    assert told == ["lr: 3 of the 4 best trials lie at an edge of its range, though not the best one."]
    run(study, {**FLAT, "lr": 1e-2}, [2.0])
    (line,) = document.boundaries(material.read(settings))
    assert line.startswith("lr 0.01 lies at the edge of 4e-05 to 0.01: the best value may lie outside")


def test_noise_of_the_repeats_says_which_order_means_nothing(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0], baseline="V0", attributes={"repeat": 0})
    run(study, FLAT, [4.1], attributes={"repeat": 1})
    run(study, STEPPED, [3.95])
    (line,) = document.noise(material.read(settings))
    assert line.startswith("By chance alone, 2 short runs of the stock recipe differ by 0.0707 nats per audio token")
    assert line.endswith("2 trials, the best included, lie within twice that of the best: their order is not proven.")


def test_evaluations_that_are_not_finite_hurt_nothing(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [math.nan], StopReason.DIVERGED)
    run(study, FLAT, [4.0, math.nan], StopReason.DIVERGED)
    run(study, FLAT, [4.0, 3.9])
    text = written(settings)
    assert "1 finished without a finite evaluation" in text and not re.search(r"\bnan\b", text, re.IGNORECASE)


# Sound


def test_sound_is_in_the_page_byte_for_byte(tmp_path: Path) -> None:
    settings = shown.study(tmp_path, trials=8)
    text = written(settings)
    uris = re.findall(r'src="data:audio/wav;base64,([^"]*)"', text)
    store = artifacts.open_store(settings, make=False)
    kept = {path.read_bytes() for path in (settings.directory / "artifacts").iterdir() if path.is_file()}
    assert {base64.b64decode(uri) for uri in uris} == kept and len(kept) == 15
    assert "did not stop by itself" in text and ">0.92<" in text and ">0.05<" in text
    best = report.read(storage.load_study(settings)).completed[0]
    assert best.speech is not None
    store.remove(best.speech.artifacts["1-spoken.wav"])
    heard = sound(material.read(settings)).heard
    clips = [clip for each in heard for clip in (each.recorded, each.reference, *(t.clip for t in each.takes))]
    assert [(c.name, c.why) for c in clips if c.uri is None] == [
        ("1-spoken.wav", "not in the artifact store that this machine reads")
    ]
    assert len(clips) == len(uris)


def test_one_recording_is_there_once_beside_all_that_spoke_it(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    store = artifacts.open_store(settings)
    for name in ("r.wav", "f.wav", "s.wav"):
        (settings.directory / name).write_bytes(shown.tone(0.1, 200 + ord(name[0])))
    known = artifacts.upload(store, [settings.directory / name for name in ("r.wav", "f.wav", "s.wav")])
    sentence = Sentence("ሰላም", "s1", "s.wav", "r.wav", "f.wav", 0.1, False, 0.5, 0.9)
    spoke = Speech(60, [sentence], None, known).to_dict()
    confirm(settings, {"V0": [2.6, 2.63, 2.61], "trial 1": [2.4, 2.42, 2.43]}, spoke=spoke)
    made = sound(material.read(settings))
    assert [take.who for take in made.heard[0].takes] == ["trial 1, full run, seed 1", "V0, full run, seed 1"]
    assert len(made.heard) == 1 and len(made.quality) == 6


def test_a_store_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    settings = shown.study(tmp_path, trials=5, speaks=1)
    broken = settings.study.model_copy(update={"artifacts": "s3://bucket/with/a/path?key=hush"})
    made = material.read(settings.model_copy(update={"study": broken}))
    found = sound(made)
    assert found.problem and found.problem.startswith("study.artifacts is") and found.heard == []
    assert len(found.quality) == 1
    assert "hush" not in found.problem + str(document.provenance(made))
