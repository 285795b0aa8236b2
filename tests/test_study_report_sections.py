"""What each section of a study's report makes of the trials."""

import base64
import math
import re
import warnings
from dataclasses import asdict
from html import unescape
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from search.confirmation.fidelity import FEWEST_TO_RANK
from search.pages import confirmation_figures, dimension_figures, document, importance, material, search_figures
from search.pages import sound as sound_of_report
from search.pages.dimensions import dimensions
from search.pages.sound import sound
from search.settings.settings import Settings
from search.study import artifacts, storage
from search.study import findings as report
from search.study import spoken as speech
from search.study.spoken import Sentence, Speech
from search.trial import StopReason
from tests import shown
from tests.reported import LOWER, RACE, founded, full_runs, material_of, searched, written
from tests.studies import FLAT, STEPPED, evaluations, miniature, run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return miniature(tmp_path)


@pytest.fixture
def study(settings: Settings) -> optuna.Study:
    """In memory."""
    return founded(settings)


# Importance


def rows_of(study: optuna.Study) -> list[report.Row]:
    return [report.Row(trial, evaluations([trial.value or 9.0]), None) for trial in study.get_trials(deepcopy=False)]


def objective(trial: optuna.Trial, weight: float) -> float:
    lr = trial.suggest_float("lr", 1e-5, 1e-3, log=True)
    decay = trial.suggest_float("weight_decay", 0.0, 1.0)
    layers = trial.suggest_int("frozen_layers", 0, 20)
    norm = trial.suggest_float("clip_norm", 0.1, 10) if trial.suggest_categorical("clip", [False, True]) else 0.0
    if trial.number % 3 == 2:
        raise optuna.TrialPruned
    return weight * abs(math.log10(lr) + 4) + (1 - weight) * math.sin(1e4 * (decay + norm + layers))


NAMES = ["lr", "weight_decay", "frozen_layers", "clip", "clip_norm"]


def random_study(weight: float, trials: int = 60) -> optuna.Study:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    study.optimize(lambda trial: objective(trial, weight), trials)
    return study


@pytest.mark.parametrize(("weight", "told"), [(0.99, ["lr"]), (0.0, [])])
def test_importance_is_told_from_chance(weight: float, told: list[str]) -> None:
    found = importance.importance(rows_of(random_study(weight)), NAMES)
    assert found is not None and found.told == told
    assert math.isclose(sum(found.shares.values()), 1) and found.judged == 60
    assert set(found.shares) == set(NAMES)


@pytest.mark.parametrize("weight", [0.99, 0.5, 0.0])
def test_importance_is_that_of_optuna(weight: float) -> None:
    """Of trials by rank, the pruned last; over log, linear, whole, categorical and conditional dimensions."""
    rows = rows_of(random_study(weight))
    found = importance.importance(rows, NAMES)
    assert found is not None and found.best == 10
    ordered = sorted(rows, key=lambda row: (row.trial.state == TrialState.PRUNED, row.trial.value or 0))
    ranked = optuna.create_study()
    for rank, row in enumerate(ordered):
        params, distributions = row.trial.params, row.trial.distributions
        ranked.add_trial(create_trial(value=float(rank), params=params, distributions=distributions))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=found.best / 60)
        theirs = get_param_importances(ranked, evaluator=evaluator, params=NAMES)
    assert found.shares == pytest.approx(theirs, abs=1e-12)
    assert list(found.shares) == list(theirs)


def test_chance_is_what_shuffled_ranks_come_to() -> None:
    """Where nothing matters, a dimension is told from chance about once in twenty."""
    told = 0
    for seed in range(12):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        study.optimize(lambda trial: objective(trial, 0.0), 60)
        found = importance.importance(rows_of(study), NAMES)
        assert found is not None
        told += len(found.told)
    assert told <= 8  # of 60; 3 on average


def test_importance_needs_trials_and_two_dimensions(settings: Settings, study: optuna.Study) -> None:
    assert importance.importance(rows_of(random_study(1.0, 11)), ["lr"]) is None
    assert importance.importance(rows_of(random_study(1.0, 12)), ["lr"]) is not None
    for i in range(12):  # of one dimension alone there is nothing to weigh
        only = {"lr": 1e-3 * (1 + i / 20)}
        found = evaluations([4.0 - i / 10])
        attributes = {"stop_reason": "finished", "run": {"evaluations": [asdict(e) for e in found], "record": None}}
        scale = {"lr": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)}
        value = found[0].mel_ce
        study.add_trial(create_trial(value=value, params=only, distributions=scale, user_attrs=attributes))
    text = written(material_of(settings, study))
    assert "Importance" not in text and text.count("<figure") == 3  # history, curves, one slice


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


# Figures of the search


def test_few_trials_get_no_median_and_no_dimensions(settings: Settings, study: optuna.Study) -> None:
    for i in range(4):
        run(study, FLAT, [4.0 - i / 10])
    assert ">median<" not in search_figures.curves(material_of(settings, study)).svg
    assert 'id="slices"' not in written(material_of(settings, study))
    run(study, STEPPED, [4.2], StopReason.MEDIAN)
    run(study, STEPPED, [4.2])
    made = material_of(settings, study)
    assert ">median<" in search_figures.curves(made).svg
    text = written(made)
    assert 'id="slices"' in text
    key = dimension_figures.key(made)
    assert ">finished<" in key and ">pruned by the median<" in key and ">the best<" in key
    assert "diverged" not in key and "ended otherwise" not in key  # none of them did


def test_the_history_says_how_long_ago_the_best_was_found(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0], attributes={"repeat": 0})
    run(study, FLAT, [3.0], attributes={"repeat": 1})  # by luck: it does not compete
    run(study, STEPPED, [3.5])
    picture = search_figures.history(material_of(settings, study))
    assert ">best so far, 3.5000<" in picture.svg and picture.gist.endswith(
        "The best is trial 2 with 3.5000; the base has 5.0000."
    )
    repeats = "1 repeat of the stock recipe with other seeds is drawn, but cannot be the best."
    assert picture.caption == f"Trial 2, the last, is the best: more trials may find a better one. {repeats}"
    run(study, FLAT, [3.6], StopReason.MEDIAN)
    assert search_figures.history(material_of(settings, study)).caption == (
        "Trial 2 is the best; 1 trial has finished since. A pruned trial stands at its lowest evaluation before it was"
        f" pruned. {repeats}"
    )
    assert document.best_title(material_of(settings, study)) == (
        "The best 2 of 2 completed trials, besides 1 repeat of the stock recipe"
    )


def test_the_curves_say_how_many_runs_were_still_falling(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0, 3.5, 3.4])
    run(study, FLAT, [4.0, 3.5, 3.6])
    run(study, FLAT, [4.0, 3.5, 3.6, 3.7], StopReason.TWO_INCREASES)
    caption = search_figures.curves(material_of(settings, study)).caption
    assert caption.startswith("1 of 2 trials that ran to their end were lowest there, and still falling.")


def test_a_map_is_of_continuous_dimensions(settings: Settings, study: optuna.Study) -> None:
    at = {"milestone_1": 0.3, "milestone_2_of_rest": 0.4, "milestone_3_of_rest": 0.4}
    for i in range(12):
        count = i % 4
        milestones = {**dict(list(at.items())[:count]), **({"gamma": 0.5} if count else {}), "n_milestones": count}
        run(study, {**FLAT, **milestones, "lr": 1e-4 * (i + 1), "weight_decay": 0.01 * (i + 1)}, [4.0 - i / 100])
    made = material_of(settings, study)
    known = dimensions(made.judged)
    names = ["n_milestones", "weight_decay", "clip", "lr"]
    two = dimension_figures.best_two(made, names, known)
    assert two is not None and [each.name for each in two] == ["weight_decay", "lr"]
    assert dimension_figures.best_two(made, ["n_milestones", "lr"], known) is None


# Sections


def test_edges_of_ranges_are_warned_of(settings: Settings, study: optuna.Study) -> None:
    for lr in (1e-2, 9.9e-3, 9.95e-3):
        run(study, {**FLAT, "lr": lr}, [4.0 + lr])
    run(study, FLAT, [3.0])
    told = document.boundaries(material_of(settings, study))
    assert told == ["lr: 3 of the 4 best trials lie at an edge of its range, though not the best one."]
    run(study, {**FLAT, "lr": 1e-2}, [2.0])
    (line,) = document.boundaries(material_of(settings, study))
    assert line.startswith("lr 0.01 lies at the edge of 4e-05 to 0.01: the best value may lie outside")


def test_noise_of_the_repeats_says_which_order_means_nothing(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0], baseline="V0", attributes={"repeat": 0})
    run(study, FLAT, [4.1], attributes={"repeat": 1})
    run(study, STEPPED, [3.95])
    (line,) = document.noise(material_of(settings, study))
    assert line.startswith("By chance alone, 2 short runs of the stock recipe differ by 0.0707 nats per audio token")
    assert line.endswith("2 trials, the best included, lie within twice that of the best: their order is not proven.")


def test_evaluations_that_are_not_finite_hurt_nothing(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [math.nan], StopReason.DIVERGED)
    run(study, FLAT, [4.0, math.nan], StopReason.DIVERGED)
    run(study, FLAT, [4.0, 3.9])
    text = written(material_of(settings, study))
    assert "1 finished without a finite evaluation" in text and not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_what_cannot_be_read_is_said(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0])
    made = material_of(settings, study)
    assert "cannot read" not in document.counts(made)
    study.add_trial(create_trial(state=TrialState.PRUNED, user_attrs={"run": {"evaluations": [{"loss": 3.0}]}}))
    made = material_of(settings, study)
    assert document.counts(made).endswith("Of 1 something is recorded that this release cannot read.")


# Sections of the confirmation


def test_audit_and_regret_stand_beside_the_savings(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    audits = {"audited": [2.9], "audited in full": [2.5]}
    text = written(
        material_of(settings, study, full_runs({"V0": [2.6, 2.63, 2.61], "trial 1": [2.4, 2.42, 2.43], **audits}))
    )
    assert "What pruning saved, and what it lost" in text and "Regret of pruning them: 0.1000" in text
    assert re.search(r">2</td><td[^>]*>80</td><td[^>]*>4.2000</td><td[^>]*>2.9000</td><td[^>]*>2.5000<", text)
    assert "160 optimizer steps were trained, of 600 without pruning: 73% saved." in text


def test_a_few_configs_are_too_few_to_be_ranked(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    made = material_of(settings, study, full_runs({**LOWER, "audited": [2.9], "audited in full": [2.5]}))
    assert made.confirmation and made.runs
    assert confirmation_figures.fidelity(made.confirmation, made.runs) is None
    text = written(made)
    assert "Short and full runs: 3 configs are too few to rank; a larger --audit adds to them." in text
    assert "Kendall" not in text and "Short against full runs." not in text


def test_short_and_full_runs_are_compared_where_both_are_known(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    configs = {"another": [2.70, 2.75, 2.71], **LOWER, "audited": [2.9], "audited in full": [2.5]}
    made = material_of(settings, study, full_runs(configs))
    assert made.confirmation and made.confirmation.fidelity and made.runs
    assert made.confirmation.fidelity.configs == FEWEST_TO_RANK
    short = {"V0": 4.0, "trial 1": 3.0, "another": 3.0, "trial 2": 2.9}
    full = {c.name: c.mean for c in made.confirmation.candidates} | {"trial 2": 2.5}
    pairs = [(a, b) for i, a in enumerate(short) for b in list(short)[:i]]
    orders = [(short[a] - short[b]) * ((full[a] or 0) - (full[b] or 0)) for a, b in pairs]
    ties = sum(short[a] == short[b] for a, b in pairs)
    concordance = sum(order > 0 for order in orders) - sum(order < 0 for order in orders)
    tau = concordance / math.sqrt(len(pairs) * (len(pairs) - ties))  # Kendall's b
    text = unescape(written(made))
    assert f"rank 4 configs with Kendall's tau {tau:.2f} (" in text and tau != 0
    assert "Chance may order so few configs like that" in text
    assert "Configs that had no short run, such as a trial's at a lower rate, are not here." in text
    picture = confirmation_figures.fidelity(made.confirmation, made.runs)
    assert picture is not None
    for name in short:
        assert f">{name}</text>" in picture.svg
    assert "x lr" not in picture.svg


# Sound


def test_sound_is_in_the_page_byte_for_byte(tmp_path: Path) -> None:
    settings = shown.study(tmp_path, trials=8)
    made = material.read(settings)
    text = written(made)
    uris = re.findall(r'src="data:audio/wav;base64,([^"]*)"', text)
    store = artifacts.open_store(settings, make=False)
    kept = {path.read_bytes() for path in (settings.directory / "artifacts").iterdir() if path.is_file()}
    assert {base64.b64decode(uri) for uri in uris} == kept and len(kept) == 15
    assert "(did not stop by itself)" in text and ">1 of 2<" in text and ">0.92<" in text and ">0.05<" in text
    assert "CER is the character error rate of whisper-am" in text
    best = made.best
    assert best is not None and best.speech is not None
    store.remove(best.speech.artifacts["1-spoken.wav"])
    heard = sound(made).heard
    clips = [clip for each in heard for clip in (each.recorded, each.reference, *(t.clip for t in each.takes))]
    assert [(c.name, c.why) for c in clips if c.uri is None] == [
        ("1-spoken.wav", "not in the artifact store that this machine reads")
    ]
    assert len(clips) == len(uris)
    (settings.directory / "artifacts" / best.speech.artifacts["1-spoken.wav"]).mkdir()
    [silent] = [t.clip for each in sound(made).heard for t in each.takes if t.clip.uri is None]
    assert silent.why == "not read from the artifact store: Is a directory", "and it is not called gone"


def spoken(settings: Settings, similarity: float = 0.5) -> dict[str, Any]:
    store = artifacts.open_store(settings)
    for name in ("r.wav", "f.wav", "s.wav"):
        (settings.directory / name).write_bytes(shown.tone(0.1, 200 + ord(name[0])))
    known = artifacts.upload(store, [settings.directory / name for name in ("r.wav", "f.wav", "s.wav")])
    sentence = Sentence("ሰላም", "s1", "s.wav", "r.wav", "f.wav", 0.1, False, similarity, 0.9)
    return Speech(60, [sentence], None, known).to_dict()


def test_one_recording_is_there_once_beside_all_that_spoke_it(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    configs = {"V0": [2.6, 2.63, 2.61], "trial 1": [2.4, 2.42, 2.43], "audited in full": [2.5]}
    runs = full_runs(configs, spoke=spoken(settings))
    runs[0].set_user_attr(speech.ATTRIBUTE, spoken(settings, 0.8))
    made = sound(material_of(settings, study, runs))
    # An audited trial is no candidate: nobody needs to hear it.
    assert [take.who for take in made.heard[0].takes] == ["trial 1, full run, seed 1", "V0, full run, seed 1"]
    assert len(made.heard) == 1
    assert [(q.who, q.mean("similarity"), q.mean("cer")) for q in made.quality] == [
        ("trial 1, 3 full runs", 0.5, None),
        ("V0, 3 full runs", pytest.approx(0.6), None),
    ]
    text = written(material_of(settings, study, runs))
    assert (
        ">CER<" not in text and "There is no character error rate: no recogniser listened (speech.recogniser)." in text
    )


def test_of_many_configs_the_best_three_and_the_stock_recipe_are_heard(settings: Settings, study: optuna.Study) -> None:
    searched(study)
    configs = {**LOWER, **{f"x{i}": [2.58 + i / 100, 2.64, 2.59] for i in range(3)}}
    made = sound(material_of(settings, study, full_runs(configs, spoke=spoken(settings))))
    heard = [take.who.partition(",")[0] for take in made.heard[0].takes]
    assert heard == ["trial 1 at 0.25 x lr", "trial 1 at 0.5 x lr", "trial 1", "V0"]
    assert len(made.quality) == 7


def test_of_many_trials_the_best_three_are_heard(settings: Settings, study: optuna.Study) -> None:
    for i in range(4):
        run(study, FLAT, [4.0 - i / 10], attributes={speech.ATTRIBUTE: spoken(settings)})
    made = sound(material_of(settings, study))
    assert [take.who for take in made.heard[0].takes] == ["trial 3", "trial 2", "trial 1"]
    assert [each.who for each in made.quality] == ["trial 3", "trial 2", "trial 1", "trial 0"]


def test_a_page_holds_each_file_once_and_so_much_sound(
    settings: Settings, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        run(study, FLAT, [4.0 - i / 10], attributes={speech.ATTRIBUTE: spoken(settings)})
    made = material_of(settings, study)
    size = len(shown.tone(0.1, 200))
    for room, missing in ((3 * size, 0), (3 * size - 1, 3)):  # the three trials spoke the same file
        monkeypatch.setattr(sound_of_report, "LARGEST", room)
        (heard,) = sound(made).heard
        gone = [take.clip for take in heard.takes if take.clip.uri is None]
        assert len(gone) == missing and heard.recorded.uri and heard.reference.uri
        assert all(clip.why.startswith("left out: the page has") for clip in gone)


def test_a_page_holds_no_password(settings: Settings, study: optuna.Study) -> None:
    run(study, FLAT, [4.0])
    stored = settings.study.model_copy(update={"storage": "postgresql://me:hush@host/db"})
    made = material_of(settings.model_copy(update={"study": stored}), study)
    assert ("storage", "postgresql://me:***@host/db") in document.provenance(made)
    assert ("seed", "1") in document.provenance(made)  # of the fingerprint, under a heading of its own


def test_a_store_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    settings = shown.study(tmp_path, trials=5, speaks=1)
    broken = settings.study.model_copy(update={"artifacts": "s3://bucket/with/a/path?key=hush"})
    made = material.read(settings.model_copy(update={"study": broken}))
    found = sound(made)
    assert found.problem and found.problem.startswith("study.artifacts is") and found.heard == []
    assert len(found.quality) == 1
    assert "hush" not in found.problem + str(document.provenance(made))


def test_a_confirmed_study_of_a_database_is_read_whole(tmp_path: Path) -> None:
    settings = miniature(tmp_path)
    study = storage.open_storage(settings.storage_url)
    founded_there = optuna.create_study(study_name=settings.study.name, storage=study)
    for name, value in founded(settings).user_attrs.items():
        founded_there.set_user_attr(name, value)
    searched(founded_there)
    confirmation = optuna.create_study(study_name=f"{settings.study.name}.confirm", storage=study)
    for name, value in {"fingerprint": {"confirms": settings.study.name}, "full_horizon": 1000, "seeds": 3}.items():
        confirmation.set_user_attr(name, value)
    confirmation.add_trials(full_runs(RACE))
    made = material.read(settings)
    assert made.confirmation is not None and made.confirmation.winner == "trial 1"
    assert made.full_horizon == 1000 and len(made.judged) == 3
